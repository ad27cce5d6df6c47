"""Prompts by name, and the one that a checkpoint was trained with, told from its own signs."""

import re
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlavaConfig, LlavaNextConfig, MistralConfig

from pidflow.config.configuration import configuration
from pidflow.errors import ConfigError
from pidflow.models.prompts import LETTER, NAMES, SINGLE_WORD, TEMPLATES, checked_template, prompt_of, recognised
from pidflow.models.standin.architecture import PROMPT, build_processor

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
# As the converted checkpoints on the hub write them.
VICUNA_CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ content['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
MISTRAL_CHAT = (
    "{% for message in messages %}[INST] {% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<image>\n' }}{% else %}{{ content['text'] }}{% endif %}{% endfor %} [/INST]{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ content['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT_ONLY = "{% for message in messages %}{{ '<s>User: ' + message['content'] + ' Reply:' }}{% endfor %}"


def checkpoint(*, text=None, name="", chat=None, tokenizer_chat=None, words=(), family=LlavaConfig):
    """Processor and configuration of a checkpoint with such signs."""
    processor = build_processor()
    processor.chat_template, processor.tokenizer.chat_template = chat, tokenizer_chat
    processor.tokenizer.add_special_tokens({"additional_special_tokens": list(words)})
    config = family(text_config=text or LlamaConfig(num_hidden_layers=1))
    config.text_config._name_or_path = name
    return {"processor": processor, "config": config}


@pytest.mark.parametrize(
    ("signs", "name"),
    [
        ({"name": "lmsys/vicuna-7b-v1.5"}, "vicuna"),
        ({"name": "lmsys/vicuna-13b-v1.5", "family": LlavaNextConfig}, "vicuna"),
        ({"name": "mistralai/Mistral-7B-Instruct-v0.2", "text": MistralConfig()}, "mistral"),
        ({"text": MistralConfig(), "family": LlavaNextConfig}, "mistral"),
        ({"name": "meta-llama/Meta-Llama-3-8B-Instruct"}, "llama-3"),
        ({"words": ["<|start_header_id|>"]}, "llama-3"),
        ({"chat": VICUNA_CHAT}, "vicuna"),
        ({"chat": VICUNA_CHAT, "text": MistralConfig()}, "vicuna"),  # BakLLaVA: Vicuna's turns over Mistral
        ({"chat": MISTRAL_CHAT, "name": "lmsys/vicuna-7b"}, "mistral"),
        ({"tokenizer_chat": MISTRAL_CHAT}, "mistral"),
        ({"chat": {"default": VICUNA_CHAT, "tool": CHATML}}, "vicuna"),
        ({"chat": CHATML}, "chat-template"),
        ({"chat": "<<SYS>>" + MISTRAL_CHAT}, "chat-template"),
    ],
)
def test_a_checkpoint_tells_its_prompt(signs, name):
    assert recognised("llava", **checkpoint(**signs)) == name


@pytest.mark.parametrize("signs", [{}, {"name": "/home/me/model"}, {"name": "vicuna-mistral-merge"}])
def test_what_cannot_be_told_is_not_guessed(signs):
    with pytest.raises(
        ConfigError,
        match=r"family 'llava': the checkpoint does not tell which prompt .* type 'llama' .* one of: llava-1.5-paper, ",
    ):
        prompt_of(None, family="llava", **checkpoint(**signs))


def test_the_published_prompts_to_the_letter():
    signs = checkpoint()
    paper = prompt_of("llava-1.5-paper", family="llava", **signs)
    assert paper.template == (
        f"{SYSTEM} USER: <image>\n{{question}}\nAnswer the question using a single word or phrase. ASSISTANT:"
    )
    assert prompt_of("2411.18620", family="llava", **signs).template == paper.template.replace("}\n", "} \n")
    bare = {name: prompt_of(name, family="llava", instruction="", **signs).template for name in TEMPLATES}
    assert bare["vicuna"] == f"{SYSTEM} USER: <image>\n{{question}} ASSISTANT:"
    assert bare["mistral"] == "[INST] <image>\n{question} [/INST]"
    assert bare["llama-3"].endswith(
        "<|start_header_id|>user<|end_header_id|>\n\n<image>\n{question}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert bare["plain"] == "<image>\n{question}\nAnswer:"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_named_prompt_is_well_formed_and_takes_an_instruction(name):
    signs = checkpoint()
    said = {text: prompt_of(name, family="llava", instruction=text, **signs) for text in (None, "Say yes or no.", "")}
    for text, prompt in said.items():
        assert checked_template(prompt.template) == prompt.template
        usual = LETTER if name == "mmbench-letter" else SINGLE_WORD
        assert prompt.instruction == (usual if text is None else text)
        assert prompt.instruction in prompt.template
        assert prompt.name == name
    assert len({prompt.digest for prompt in said.values()}) == 3


def test_a_chat_template_is_rendered():
    found = prompt_of("chat-template", family="llava", **checkpoint(chat=VICUNA_CHAT))
    assert found.template == f"USER: <image>\n{{question}}\n{SINGLE_WORD} ASSISTANT:"
    found = prompt_of(None, family="llava", instruction="", **checkpoint(chat=CHATML))
    assert found.template == "<|im_start|>user\n<image>\n{question}<|im_end|><|im_start|>assistant\n"
    # Its beginning token is the one that the tokenizer puts in front anyway.
    found = prompt_of("chat-template", family="llava", instruction="", **checkpoint(tokenizer_chat=TEXT_ONLY))
    assert found.template == "User: <image>\n{question} Reply:"


def test_a_written_template_is_taken_as_it_is():
    signs = checkpoint(chat=VICUNA_CHAT)
    written = "USER: <image>\n{question} ASSISTANT:"
    assert prompt_of(written, family="llava", **signs).template == written
    placed = prompt_of("<image> {question} {instruction} A:", family="llava", instruction="Short.", **signs)
    assert (placed.template, placed.name) == ("<image> {question} Short. A:", "custom")


@pytest.mark.parametrize(
    ("wanted", "instruction", "chat", "message"),
    [
        ("vicunna", None, None, "unknown prompt 'vicunna', expected one of: llava-1.5-paper, 2411.18620, vicuna"),
        ("{question} <image>", None, None, "a prompt must hold '<image>' once and, after it, '{question}' once"),
        ("<image> <image> {question}", None, None, "with 2 and 1 of them"),
        ("<image> {question}", "Be short.", None, "the instruction 'Be short.' has no place in the prompt"),
        ("<image> {question} {instruction} {instruction}", None, None, "may hold '{instruction}' once"),
        ("vicuna", "Look at <image>.", None, "an instruction may not hold '<image>'"),
        ("chat-template", None, None, "the checkpoint has no chat template; expected one of: llava-1.5-paper"),
        ("chat-template", None, "{{ raise_exception('no') }}", r"cannot be rendered \(no\)"),
        ("chat-template", None, "image {% for m in messages %}x{% endfor %}", "changes the question"),
    ],
)
def test_prompts_that_cannot_be_are_refused(wanted, instruction, chat, message):
    message = message.replace("{", r"\{")
    with pytest.raises(ConfigError, match=message):
        prompt_of(wanted, family="llava", instruction=instruction, **checkpoint(chat=chat))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("vicunna", "config models.m.prompt: unknown prompt 'vicunna', expected one of: llava-1.5-paper"),
        ("{question} <image>", "config models.m.prompt: a prompt must hold '<image>' once and, after it, '{question}'"),
        (2411.18620, "config models.m.prompt: found 2411.1862, expected one of: llava-1.5-paper, 2411.18620"),
    ],
)
def test_the_configuration_refuses_them_before_anything_runs(prompt, message):
    entry = {"family": "llava", "path": "here", "blocks": 2, "prompt": prompt}
    given = yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | {"models": {"m": entry}}
    with pytest.raises(ConfigError, match=re.escape(message)):
        configuration().checked(given, where="config")


def test_the_configuration_takes_names_templates_and_nothing():
    given = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for prompt in (*NAMES, "<image> {question}", None):
        given["models"] = {"m": {"family": "llava-next", "path": "here", "blocks": 2, "prompt": prompt}}
        assert configuration().checked(given, where="config").models["m"].prompt == prompt


def test_the_shipped_models_keep_the_prompt_that_they_were_trained_with():
    for name in ("config.yaml", "continuous-time.yaml"):
        models = yaml.safe_load((ROOT / "config" / name).read_text())["models"]
        shipped = [entry["prompt"] for entry in models.values() if "resources" in entry["path"]]
        assert shipped == [PROMPT] * len(shipped) != []
