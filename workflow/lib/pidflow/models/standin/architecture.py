"""The stand-in: a small real LLaVA (vision tower, projector, language model) with a word-level processor."""

import re

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from pidflow.data import scenes

PATCH_SIZE = 8
PROMPT = "USER: <image>\n{question} ASSISTANT:"
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
EASY_VQA_WORDS = (
    "what color is the shape does image contain a there not in no present of "
    "rectangle circle triangle blue red gray teal black green yellow brown yes ?"
)
_TEMPLATE_WORDS = (
    "user assistant : is the or an object a left right above below of what do and share , there on which side yes no ? "
    "at nothing"
)


def vocabulary() -> tuple[str, ...]:
    """Every word the stand-in knows, special tokens first, in a fixed order."""
    words = [*scenes.SHAPES, *scenes.ROWS, *scenes.COLUMNS, *scenes.ATTRIBUTES]
    words += [value for values in scenes.ATTRIBUTES.values() for value in values]
    words += re.findall(r"\S+", f"{_TEMPLATE_WORDS} {EASY_VQA_WORDS}")
    return SPECIAL_TOKENS + tuple(sorted(set(words)))


def build_processor() -> LlavaProcessor:
    """A ``LlavaProcessor`` over a word-level tokenizer and a PIL image processor."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", SPECIAL_TOKENS.index("<s>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )
    side = {"height": scenes.IMAGE_SIZE, "width": scenes.IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(size=side, crop_size=side)
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=fast,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def build_model(
    *, seed: int, width: int = 128, depth: int = 8, vision_width: int = 96, vision_depth: int = 4
) -> LlavaForConditionalGeneration:
    """An untrained stand-in (about 1.7 M parameters as configured by default) in float32.

    Parameters
    ----------
    seed
        Seed of the initial weights.
    width, depth
        Residual width, a multiple of 32, and number of blocks of the language model.
    vision_width, vision_depth
        The same of the vision tower.
    """
    vision = CLIPVisionConfig(
        hidden_size=vision_width,
        intermediate_size=2 * vision_width,
        num_hidden_layers=vision_depth,
        num_attention_heads=max(1, vision_width // 32),
        image_size=scenes.IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=depth,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=256,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=SPECIAL_TOKENS.index("<s>"),
        eos_token_id=SPECIAL_TOKENS.index("</s>"),
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL_TOKENS.index("<image>"),
        image_seq_length=(scenes.IMAGE_SIZE // PATCH_SIZE) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlavaForConditionalGeneration(config)
