"""Tiny random checkpoints of every family: real configuration classes, processors and tokenizers, saved to disk.

Nothing is downloaded. Where the library's own processor needs a package that is not installed, the nearest real one of
the library takes its place; ``STANDS_IN`` says which.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

QUESTIONS = (
    ("What colour is the square?", ("red", "blue")),
    ("Is the circle on the left or on the right side?", ("left", "right")),
    ("Is the star red?", ()),
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_routed_experts": 4,
    "moe_intermediate_size": 16,
    "moe_num_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "word_embed_proj_dim": 32,
    "ffn_dim": 64,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "depth": 2,
    "num_heads": 4,
    "embed_dim": 32,
    "mlp_dim": 64,
}
_BY_LAYER = ("layer_types", "mlp_layer_types", "mlp_only_layers")
_VISUAL = ("vision", "qformer", "audio", "vq", "mm_token", "projector", "adapter")


@dataclass(frozen=True)
class Tiny:
    """How a tiny checkpoint of a family is made.

    Attributes
    ----------
    model_type
        Of the library.
    processor
        Makes the processor from a tokenizer that holds the special tokens.
    special
        Special tokens; of a mapping, by the attribute of the tokenizer that names them.
    config
        What is set in the configuration, by dotted name; a function gets the tokenizer.
    prompt
        Its template.
    family
        Id of the family in pidflow.
    """

    model_type: str
    processor: Callable[[Any], Any]
    special: dict[str, str] | tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    prompt: str = "USER: <image>\n{question} ASSISTANT:"
    family: str = ""
    auto: str = "AutoModelForImageTextToText"


def tokenizer(special=()):
    """A byte-level BPE over a few hundred pieces, with a family's special tokens."""
    if "|SPEAKER|" in special:
        return _sentence_pieces(special)
    named = special if isinstance(special, dict) else {}
    made = _fresh(named)
    made.add_special_tokens({"additional_special_tokens": list(named.values() if named else special)})
    return made


def _sentence_pieces(words):
    """A BPE that puts a blank before every text, as Fuyu's does, with some whole words that are pieces like others."""
    import json

    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "<s>", "</s>", "<unk>"], show_progress=False)
    backend.train_from_iterator(["\u2581" + text.replace(" ", "\u2581") + "\n" for text, _ in QUESTIONS], trainer)
    model = json.loads(backend.to_str())["model"]
    pieces, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    for word in words:
        for letter in word:
            pieces.setdefault(letter, len(pieces))
        inside = word.strip("|")
        steps = [(inside[:at], inside[at]) for at in range(1, len(inside))]
        steps += [("|", inside), (f"|{inside}", "|")] if word != inside else []
        for left, right in steps:
            pieces.setdefault(left + right, len(pieces))
            merges.append((left, right))
    backend = Tokenizer(models.BPE(vocab=pieces, merges=merges, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special, padding_side="left")


@lru_cache(maxsize=1)
def _backend():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE(unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([text for text, _ in QUESTIONS] + ["USER: ASSISTANT: yes no"] * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return backend.to_str()


def _fresh(named):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    words = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()), **words, extra_special_tokens=dict(named), padding_side="left"
    )


def shrunk(config, path=""):
    """A configuration with every size made tiny."""
    from transformers import PretrainedConfig

    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            shrunk(value, f"{path}.{name}")
    sizes = VISION if any(word in path for word in _VISUAL) else TEXT
    depth = getattr(config, "num_hidden_layers", None) if not _per_layer(config, "num_hidden_layers") else None
    for name, value in sizes.items():
        now = getattr(config, name, None) if not _per_layer(config, name) else None
        if isinstance(now, int) and not isinstance(now, bool):
            setattr(config, name, value)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and value and (len(value) == depth or name in _BY_LAYER):
            setattr(config, name, value[: config.num_hidden_layers])
    return config


def _per_layer(config, name):
    try:
        getattr(config, name, None)
    except Exception:  # a configuration with one value a layer refuses to be asked
        return True
    return False


def built(tiny):
    """Model and processor of a family, in memory."""
    import transformers
    from transformers import AutoConfig

    made = tokenizer(tiny.special)
    processor = tiny.processor(made)
    wanted = {name: value(made) if callable(value) else value for name, value in tiny.config.items()}
    plain = {name: value for name, value in wanted.items() if "." not in name}
    inner = {}
    for name, value in wanted.items():
        if "." in name:
            outer, _, last = name.partition(".")
            inner.setdefault(outer, {})[last] = value
    config = shrunk(AutoConfig.for_model(tiny.model_type, **{k: v for k, v in inner.items() if "model_type" in v}))
    for name, value in plain.items():
        setattr(config, name, value)
    for outer, values in inner.items():
        for name, value in values.items():
            if name != "model_type":
                setattr(getattr(config, outer), name, value)
    text = config.get_text_config()
    text.vocab_size = max(len(made), 400)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, tiny.auto).from_config(config)
        for (
            name,
            weight,
        ) in model.named_parameters():  # gates begin closed, and small weights say one word to everything
            if "gate" in name and weight.numel() == 1:
                weight.data.fill_(1.0)
            elif weight.dim() >= 2:
                weight.data.normal_(std=0.15)
    model.generation_config.eos_token_id = made.eos_token_id
    return model, processor


def save(tiny, folder):
    """Write a checkpoint as the hub holds it."""
    model, processor = built(tiny)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def installed(package):
    """Whether a package is there."""
    return importlib.util.find_spec(package) is not None
