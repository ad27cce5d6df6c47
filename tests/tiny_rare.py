"""Tiny checkpoints of further image-text types of the library, for the table of docs/families.md."""

from tests.tiny_cases import (
    CLIP,
    FAKE,
    IMAGE,
    MROPE,
    QWEN_IDS,
    QWEN_PROMPT,
    QWEN_SPECIAL,
    SQUARE,
    _grid,
    _id,
    _image,
    _pictures,
)
from tests.tiny_families import Tiny
from tests.tiny_types import SIGLIP, _like_qwen


def _letters(number):
    """Digits as Chameleon writes them."""
    return "".join(chr(ord("A") + int(digit)) for digit in str(number))


def _without_font(processor):
    """Its processor saves the font that it writes times into videos with."""
    from types import SimpleNamespace

    type(processor).video_processor = SimpleNamespace(font="")
    return processor


RARE = {
    "aria": Tiny(
        "aria",
        lambda made: _pictures(
            "AriaProcessor",
            _image("AriaImageProcessorPil", max_image_size=490, min_image_size=336, split_image=False),
            made,
            size_conversion={490: 4, 980: 4},
        ),
        IMAGE,
        {
            "image_token_index": _id("<image>"),
            "vision_config.image_size": 490,
            "vision_config.patch_size": 70,
            "projector_patch_to_query_dict": {49: 4, 196: 4},
        },
    ),
    "deepseek_vl_hybrid": Tiny(
        "deepseek_vl_hybrid",
        lambda made: _pictures(
            "DeepseekVLHybridProcessor",
            _image("DeepseekVLHybridImageProcessorPil", size=SQUARE, high_res_size={"height": 64, "width": 64}),
            made,
            num_image_tokens=16,
        ),
        {"image_token": "<image_placeholder>"},
        {
            "image_token_id": _id("<image_placeholder>"),
            "high_res_vision_config.image_size": 64,
            "high_res_vision_config.patch_size": 4,
            "high_res_vision_config.output_channels": 32,
            "high_res_vision_config.global_attn_indexes": [1],
            "high_res_vision_config.window_size": 4,
        }
        | SIGLIP,
    ),
    "cohere_compass": Tiny(
        "cohere_compass",
        lambda made: _pictures(
            "CohereCompassProcessor",
            _grid("CohereCompassImageProcessorPil"),
            made,
        ),
        ("<|IMAGE_PAD|>", "<|VIDEO_PAD|>", "<|VISION_START|>", "<|VISION_END|>"),
        {
            "image_token_id": _id("<|IMAGE_PAD|>"),
            "video_token_id": _id("<|VIDEO_PAD|>"),
            "vision_start_token_id": _id("<|VISION_START|>"),
            "vision_end_token_id": _id("<|VISION_END|>"),
            "vision_config.patch_size": 8,
            "vision_config.out_hidden_size": 32,
            "vision_config.deepstack_visual_indexes": [0, 1],
            "text_config.sliding_window": 16,
            "text_config.layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "text_config.rope_parameters": {name: MROPE for name in ("sliding_attention", "full_attention")},
        },
        "USER: <|VISION_START|><image><|VISION_END|>{question} ASSISTANT:",
    ),
    "cosmos3_edge": Tiny(
        "cosmos3_edge",
        lambda made: _pictures(
            "Cosmos3EdgeProcessor",
            _grid("Cosmos3EdgeImageProcessorPil"),
            made,
        ),
        QWEN_SPECIAL,
        QWEN_IDS | {"projector_hidden_size": 32, "text_config.rope_parameters": MROPE},
        QWEN_PROMPT,
    ),
    "qwen4_exp": _like_qwen("qwen4_exp", "Qwen3VLProcessor"),
    "granite_docling": Tiny(
        "granite_docling",
        lambda made: _pictures(
            "GraniteDoclingProcessor",
            _image("GraniteDoclingImageProcessorPil", size=SQUARE, min_patches=1, max_patches=4),
            made,
            image_seq_len=4,
        ),
        FAKE,
        {
            "image_token_id": _id("<image>"),
            "vision_config.image_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.scale_factor": 2,
            "vision_config.out_hidden_size": 32,
            "vision_config.deepstack_visual_indexes": [0],
        },
    ),
    "hunyuan_vl": Tiny(
        "hunyuan_vl",
        lambda made: _pictures(
            "HunYuanVLProcessor",
            _grid("HunYuanVLImageProcessorPil"),
            made,
        ),
        {"image_token": "<|img|>", "image_start_token": "<|img_start|>", "image_end_token": "<|img_end|>", "n": "<nl>"},
        {
            "image_token_id": _id("<|img|>"),
            "im_start_id": _id("<|img_start|>"),
            "im_end_id": _id("<|img_end|>"),
            "im_newline_id": _id("<nl>"),
            "vision_config.patch_size": 8,
            "vision_config.out_hidden_size": 32,
            "vision_config.text_hidden_size": 32,
            "text_config.head_dim": 8,
            "text_config.rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 1, 1]},
        },
        "USER: <|img_start|><image><|img_end|>{question} ASSISTANT:",
    ),
    "ernie4_5_vl_moe": Tiny(
        "ernie4_5_vl_moe",
        lambda made: _without_font(
            _pictures(
                "Ernie4_5_VLMoeProcessor",
                _grid("Ernie4_5_VLMoeImageProcessorPil"),
                made,
            )
        ),
        {
            "image_token": "<|image|>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "video_token": "<|video|>",
            "video_start_token": "<|video_start|>",
            "video_end_token": "<|video_end|>",
        },
        {
            "image_token_id": _id("<|image|>"),
            "image_start_token_id": _id("<|image_start|>"),
            "image_end_token_id": _id("<|image_end|>"),
            "video_token_id": _id("<|video|>"),
            "video_start_token_id": _id("<|video_start|>"),
            "video_end_token_id": _id("<|video_end|>"),
            "vision_config.patch_size": 8,
            "text_config.moe_intermediate_size": [16, 8],
            "text_config.moe_k": 2,
            "text_config.rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [1, 1, 2]},
        },
        "USER: <|image_start|><image><|image_end|>{question} ASSISTANT:",
    ),
    "chameleon": Tiny(
        "chameleon",
        lambda made: _pictures(
            "ChameleonProcessor",
            _image("ChameleonImageProcessorPil", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
            made,
            image_seq_length=4,
        ),
        {"image_token": "<image>", "boi_token": "<racm3:break>", "eoi_token": "<eoss>"},
        {
            "image_token_id": _id("<image>"),
            "vq_config.base_channels": 32,
            "vq_config.resolution": 32,
            "vq_config.channel_multiplier": [1, 1, 1, 1, 2],
            "vq_config.num_embeddings": 16,
            "vq_config.embed_dim": 4,
            "vq_config.latent_channels": 4,
            "vq_config.num_res_blocks": 1,
            "vocabulary_map": lambda made: (
                {"<image>": made.convert_tokens_to_ids("<image>")}
                | {f"IMGIMG{_letters(i)}Z": 300 + i for i in range(16)}
            ),
        },
    ),
    "kosmos-2": Tiny(
        "kosmos-2",
        lambda made: _pictures(
            "Kosmos2Processor",
            _image("CLIPImageProcessorPil", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
            made,
        ),
        ("<image>", "</image>", "<grounding>", "<phrase>", "</phrase>", "<object>", "</object>"),
        CLIP
        | {
            "latent_query_num": 4,
            "text_config.embed_dim": 32,
            "text_config.layers": 3,
            "text_config.attention_heads": 4,
        },
    ),
    "idefics": Tiny(
        "idefics",
        lambda made: _pictures(
            "IdeficsProcessor", _image("IdeficsImageProcessorPil", image_size=32), made, image_size=32
        ),
        ("<fake_token_around_image>", "<image>", "<end_of_utterance>"),
        {"vision_config.image_size": 32, "vision_config.patch_size": 8, "use_resampler": False},
    ),
    "emu3": Tiny(
        "emu3",
        lambda made: _pictures(
            "Emu3Processor", _image("Emu3ImageProcessor", min_pixels=64 * 64, max_pixels=64 * 64), made
        ),
        {
            "image_token": "<image>",
            "boi_token": "<|image start|>",
            "eoi_token": "<|image end|>",
            "image_wrapper_token": "<|image token|>",
            "eof_token": "<|extra_201|>",
            "eol_token": "<|extra_200|>",
        },
        {
            "vq_config.base_channels": 32,
            "vq_config.codebook_size": 16,
            "vq_config.channel_multiplier": [1, 1, 1, 1],
            "vq_config.attn_resolutions": [],
            "vq_config.num_res_blocks": 1,
            "vq_config.num_attention_heads": 1,
            "vocabulary_map": lambda made: (
                {
                    "<image>": made.convert_tokens_to_ids("<image>"),
                    "<|extra_200|>": made.convert_tokens_to_ids("<|extra_200|>"),
                }
                | {f"<|visual token {i:06d}|>": 300 + i for i in range(16)}
            ),
        },
    ),
}

# Of these, what is refused when they are loaded or checked, and what is said of them.
UNSERVED = {
    "emu3": "a row of a padded batch has other logits than the row alone",
    "hunyuan_vl": "a row of a padded batch has other logits than the row alone",
    "idefics": "its processor does not tell what stands for a picture in prompts",
    "kosmos-2": "neither configuration nor processor tells which token the picture replaces",
    "qwen4_exp": "has no final norm where the library's models have them",
}
