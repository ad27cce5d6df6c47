"""Tokenizers that cut words: Llama 2's own, and a byte-level one; and a tiny LLaVA over either of them."""

from pathlib import Path

import pytest

SPECIAL = ["<unk>", "<s>", "</s>"]


def llama_2():
    """Llama 2's tokenizer from the PyPI package wordllama, with ``<image>`` as id 32000 as LLaVA-1.5 has it."""
    wordllama = pytest.importorskip("wordllama", reason="needs the test extra wordllama (Llama 2's tokenizer)")
    from transformers import PreTrainedTokenizerFast

    folder = Path(wordllama.__file__).parent / "tokenizers"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "l2_supercat_tokenizer_config.json"),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    assert tokenizer.convert_tokens_to_ids("<image>") == 32_000
    return tokenizer


def byte_level(texts, *, size=1500):
    """A byte-level BPE like GPT-2's, trained on some texts: pieces from single bytes to whole words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


def tiny_llava_over(tokenizer, *, prompt):
    """A random LLaVA-1.5 of 3 blocks that reads and speaks with a tokenizer."""
    import torch
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    from pidflow.models import loading
    from pidflow.models.standin import architecture

    processor = LlavaProcessor(
        image_processor=architecture.build_processor().image_processor,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = architecture.build_model(seed=0, width=32, depth=3).config
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.eos_token_id = tokenizer.eos_token_id
    config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config)
    return loading.wrap("llava", model, processor, prompt=prompt)
