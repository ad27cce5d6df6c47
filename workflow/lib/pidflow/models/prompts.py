"""Prompts: those of the published studies by name, and the one that a checkpoint was trained with, by its own signs.

A template holds ``<image>``, after it ``{question}``, and may hold ``{instruction}``: what is asked for beside the
question, which a task may set. Without
"Answer the question using a single word or phrase." LLaVA begins its answers with "The".
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pidflow.errors import ConfigError, shown

IMAGE, QUESTION, INSTRUCTION = "<image>", "{question}", "{instruction}"
SINGLE_WORD = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
CHAT_TEMPLATE = "chat-template"

_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
_LLAMA_3_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_VICUNA = _VICUNA_SYSTEM + "USER: <image>\n{question}\n{instruction} ASSISTANT:"

TEMPLATES = MappingProxyType(
    {
        "llava-1.5-paper": _VICUNA,
        # As its code puts them together: a blank stands before the line break.
        "2411.18620": _VICUNA.replace("{question}", "{question} "),
        "vicuna": _VICUNA,
        "mistral": "[INST] <image>\n{question}\n{instruction} [/INST]",
        "llama-3": (
            f"<|start_header_id|>system<|end_header_id|>\n\n{_LLAMA_3_SYSTEM}<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n<image>\n{question}\n{instruction}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
        "mmbench-letter": _VICUNA,
        "plain": "<image>\n{question}\n{instruction}\nAnswer:",
    }
)
"""Templates by name; ``chat-template`` renders the checkpoint's own."""

# What a named prompt asks for where the task sets nothing, if not SINGLE_WORD.
_INSTRUCTIONS = {"mmbench-letter": LETTER}

NAMES = (*TEMPLATES, CHAT_TEMPLATE)

# Signs of a conversation in a chat template, and of a language model in the name that a configuration gives it.
_IN_TEMPLATE = {"ASSISTANT:": "vicuna", "[INST]": "mistral", "<|start_header_id|>": "llama-3"}
_IN_NAME = {"vicuna": "vicuna", "mistral": "mistral", "llama-3": "llama-3"}
_LLAMA_2 = "<<SYS>>"  # whose turns look like those of Mistral
_HEADER = "<|start_header_id|>"
_SYSTEM_INSIDE = re.compile(r"<<SYS>>.*?<</SYS>>", re.DOTALL)  # Llama 2 has it inside the user's turn
_USER_TURN = re.compile(
    r"\b(?:USER|User|Human):|\[INST\]|<\|im_start\|>user|<\|start_header_id\|>user|<start_of_turn>user|<\|user\|>"
    r"|<\|turn>user|<\|START_OF_TURN_TOKEN\|><\|USER_TOKEN\|>|<\|start_of_role\|>user|<\|header_start\|>user"
)
_SLOT = re.compile(r"\s*" + re.escape(INSTRUCTION))


@dataclass(frozen=True)
class Prompt:
    """A prompt in use.

    Attributes
    ----------
    name
        One of :data:`NAMES`, or ``"custom"`` for a template written out in the configuration.
    template
        The text, the instruction filled in: ``<image>`` once and, after it, ``{question}`` once.
    instruction
        What is asked for beside the question; may be empty.
    """

    name: str
    template: str
    instruction: str

    @property
    def system(self) -> str:
        """The system turn, its marks included: what stands before the user's turn; empty where there is none.

        Told by the marks of the conversations that models are trained with; a template without one has none.
        """
        head = self.template[: min(self.template.index(IMAGE), self.template.index(QUESTION))]
        inside = _SYSTEM_INSIDE.search(head)
        if inside is not None:
            return inside[0]
        turns = list(_USER_TURN.finditer(head))
        return head[: turns[-1].start()].strip() if turns else ""

    @property
    def digest(self) -> str:
        """Digest of the template, for results."""
        return f"sha256:{hashlib.sha256(self.template.encode()).hexdigest()[:16]}"


def prompt_of(
    wanted: str | None, *, family: str, processor: Any, config: Any, instruction: str | None = None
) -> Prompt:
    """The prompt to use.

    Parameters
    ----------
    wanted
        One of :data:`NAMES`, a template, or None: the one that the checkpoint shows signs of (see :func:`recognised`).
    family, processor, config
        The model's family, for messages; its processor and configuration, which tell what it was trained with.
    instruction
        What is asked for beside the question, ``""`` for nothing; None: :data:`SINGLE_WORD`, where the prompt has a
        place for it.

    Raises
    ------
    ConfigError
        If the prompt cannot be told, is unknown or malformed, or has no place for the instruction that is set.
    """
    name = recognised(family, processor=processor, config=config) if wanted is None else named_or_template(wanted)
    if name == CHAT_TEMPLATE:
        template = _rendered(processor)
    elif name in TEMPLATES:
        template = TEMPLATES[name]
    else:
        name, template = "custom", name
    if INSTRUCTION not in template:
        if instruction:
            raise ConfigError(
                f"the instruction {instruction!r} has no place in the prompt {template!r}; put '{INSTRUCTION}' into it"
            )
        return Prompt(name, checked_template(template), "")
    said = (_INSTRUCTIONS.get(name, SINGLE_WORD) if instruction is None else instruction).strip()
    if any(mark in said for mark in (IMAGE, QUESTION, INSTRUCTION)):
        raise ConfigError(f"an instruction may not hold '{IMAGE}', '{QUESTION}' or '{INSTRUCTION}', found {said!r}")
    # What stands before an empty instruction only to set it apart goes with it.
    filled = template.replace(INSTRUCTION, said) if said else _SLOT.sub("", template)
    return Prompt(name, checked_template(filled), said)


def named_or_template(wanted: str) -> str:
    """The text itself, if it names a prompt or is a template.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if wanted in NAMES:
        return wanted
    if IMAGE not in wanted and QUESTION not in wanted:
        raise ConfigError(
            f"unknown prompt {shown(wanted)}, expected one of: {', '.join(NAMES)}; or a template with '{IMAGE}' and, "
            f"after it, '{QUESTION}'"
        )
    if wanted.count(INSTRUCTION) > 1:
        raise ConfigError(f"a prompt may hold '{INSTRUCTION}' once, found {shown(wanted)}")
    return checked_template(wanted)


def checked_template(template: str) -> str:
    """The template itself, if it holds ``<image>`` once and, after it, ``{question}`` once."""
    counts = template.count(IMAGE), template.count(QUESTION)
    if counts != (1, 1) or template.index(IMAGE) > template.index(QUESTION):
        raise ConfigError(
            f"a prompt must hold '{IMAGE}' once and, after it, '{QUESTION}' once; found {shown(template)} "
            f"with {counts[0]} and {counts[1]} of them"
        )
    return template


def recognised(family: str, *, processor: Any, config: Any) -> str:
    """Name of the prompt that a checkpoint was trained with.

    The chat template that comes with it decides, whatever its marks; without one the name that its configuration gives
    the language model, then the kind of that model or its tokenizer's special tokens where they leave no choice.

    Raises
    ------
    ConfigError
        If none of these tells. A guess would answer another conversation than the model learnt.
    """
    template = _chat_template(processor)
    if template is not None:
        found = [name for mark, name in _IN_TEMPLATE.items() if mark in template and _LLAMA_2 not in template]
        return found[0] if len(found) == 1 else CHAT_TEMPLATE
    text = config.get_text_config()
    called = re.sub(r"[\W_]+", "-", str(getattr(text, "_name_or_path", "") or "").lower())
    found = [name for mark, name in _IN_NAME.items() if mark in called]
    if len(found) == 1:
        return found[0]
    if text.model_type == "mistral":
        return "mistral"
    if text.model_type == "llama" and _HEADER in processor.tokenizer.get_vocab():
        return "llama-3"
    raise ConfigError(
        f"family '{family}': the checkpoint does not tell which prompt it was trained with (it has no chat template; "
        f"its language model is of type '{text.model_type}' and named {called or 'nothing'!r}); set the model's "
        f"'prompt' to one of: {', '.join(NAMES)}; or to a template with '{IMAGE}' and, after it, '{QUESTION}'"
    )


def _chat_template(processor: Any) -> str | None:
    """The checkpoint's chat template: the processor's, else the tokenizer's, the one called default of several."""
    for holder in (processor, processor.tokenizer):
        found = getattr(holder, "chat_template", None)
        if isinstance(found, Mapping):
            found = found.get("default")
        if found:
            return found
    return None


def _rendered(processor: Any) -> str:
    """The chat template with one user's turn: picture, question, instruction."""
    template = _chat_template(processor)
    if template is None:
        raise ConfigError(
            f"prompt '{CHAT_TEMPLATE}': the checkpoint has no chat template; expected one of: {', '.join(TEMPLATES)}"
        )
    asked = f"{QUESTION}\n{INSTRUCTION}"
    tokenizer = processor.tokenizer
    content: Any = f"{processor.image_token}\n{asked}"  # for a template of a language model, which knows text alone
    if "image" in template:
        content = [{"type": "image"}, {"type": "text", "text": asked}]
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception as err:  # whatever a template raises on its way, the user has one thing to do
        raise ConfigError(
            f"prompt '{CHAT_TEMPLATE}': the checkpoint's chat template cannot be rendered ({err}); expected one of: "
            f"{', '.join(TEMPLATES)}"
        ) from err
    if asked not in text:
        raise ConfigError(f"prompt '{CHAT_TEMPLATE}': the checkpoint's chat template changes the question: {text!r}")
    # A beginning that the tokenizer puts there by itself must not stand there twice.
    begins = tokenizer.bos_token
    if begins and text.startswith(begins) and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        text = text.removeprefix(begins)
    return text.replace(processor.image_token, IMAGE)
