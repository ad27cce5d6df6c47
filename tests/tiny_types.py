"""Tiny checkpoints of further image-text types of the library, all loaded as family ``generic``.

Where a type's own processor needs a package that is not installed, or videos and sound, the nearest one of the library
takes its place: what the model is fed is the same.
"""

from tests.tiny_cases import (
    CASES,
    CLIP,
    GLM,
    IMAGE,
    MROPE,
    NEXT,
    QWEN_IDS,
    QWEN_PROMPT,
    QWEN_SPECIAL,
    SQUARE,
    TOKEN,
    _grid,
    _id,
    _image,
    _llava,
    _llava_next,
    _pictures,
    _qwen,
    _rows,
)
from tests.tiny_families import Tiny


def _like_qwen(model_type, processor="Qwen2VLProcessor", **config):
    shapes = {"vision_config.out_hidden_size": 32, "text_config.rope_parameters": MROPE}
    return Tiny(model_type, _qwen(processor), QWEN_SPECIAL, QWEN_IDS | shapes | config, QWEN_PROMPT)


def _glm(processor="Glm4vProcessor"):
    def build(made):
        size = {"shortest_edge": 512, "longest_edge": 4608}
        return _pictures(processor, _image("Glm4vImageProcessorPil", patch_size=8, merge_size=2, size=size), made)

    return build


GLM_CONFIG = CASES["glm4v"].config
GLM_PROMPT = CASES["glm4v"].prompt
SIGLIP = {"vision_config.image_size": 32, "vision_config.patch_size": 8}

TYPES = {
    "qwen3_vl_moe": _like_qwen(
        "qwen3_vl_moe", "Qwen3VLProcessor", **{"vision_config.deepstack_visual_indexes": [0, 1]}
    ),
    "qwen2_5_omni_thinker": _like_qwen(
        "qwen2_5_omni_thinker",
        "Qwen2_5_VLProcessor",
        **{
            "image_token_index": _id("<|image_pad|>"),
            "video_token_index": _id("<|video_pad|>"),
            "vision_config.fullatt_block_indexes": [1],
            "vision_config.window_size": 32,
        },
    ),
    "qwen3_omni_moe_thinker": _like_qwen(
        "qwen3_omni_moe_thinker", "Qwen3VLProcessor", **{"vision_config.deepstack_visual_indexes": [0, 1]}
    ),
    "exaone4_5": _like_qwen(
        "exaone4_5",
        "Exaone4_5_Processor",
        **{
            "vision_config.fullatt_block_indexes": [1],
            "vision_config.window_size": 32,
            "vision_config.num_key_value_heads": 2,
        },
    ),
    "hyperclovax_vision_v2": _like_qwen(
        "hyperclovax_vision_v2",
        "HyperCLOVAXVisionV2Processor",
        **{"vision_config.fullatt_block_indexes": [1], "vision_config.window_size": 32},
    ),
    "video_llama_3": Tiny(
        "video_llama_3",
        lambda made: _pictures(
            "VideoLlama3Processor",
            _grid("VideoLlama3ImageProcessorPil", merge=1),
            made,
        ),
        QWEN_SPECIAL,
        QWEN_IDS,
        QWEN_PROMPT,
    ),
    "glm4v_moe": Tiny(
        "glm4v_moe",
        _glm(),
        GLM,
        GLM_CONFIG | {"text_config.rope_parameters": MROPE | {"partial_rotary_factor": 1.0}},
        GLM_PROMPT,
    ),
    "glm46v": Tiny("glm46v", _glm(), GLM, GLM_CONFIG, GLM_PROMPT),
    "glmga": Tiny("glmga", _glm(), GLM, GLM_CONFIG, GLM_PROMPT),
    "glm_ocr": Tiny("glm_ocr", _glm(), GLM, GLM_CONFIG, GLM_PROMPT),
    "vipllava": Tiny(
        "vipllava",
        _llava,
        IMAGE,
        CLIP | TOKEN | {"vision_feature_layers": [-1, -2], "image_token_index": _id("<image>")},
    ),
    "llava_next_video": Tiny(
        "llava_next_video",
        _llava_next,
        IMAGE | {"video_token": "<video>"},
        NEXT | TOKEN | {"image_token_index": _id("<image>"), "video_token_index": _id("<video>")},
    ),
    "lighton_ocr": Tiny(
        "lighton_ocr",
        lambda made: _rows(made, 2),
        CASES["pixtral"].special,
        {
            "image_token_id": _id("[IMG]"),
            "spatial_merge_size": 2,
            "vision_config.image_size": 48,
            "vision_config.patch_size": 8,
            "vision_config.head_dim": 8,
        },
    ),
    "got_ocr2": Tiny(
        "got_ocr2",
        CASES["internvl"].processor,
        CASES["internvl"].special,
        {"image_token_id": _id("<IMG_CONTEXT>"), "vision_config.image_size": 32, "vision_config.patch_size": 4},
    ),
    "pp_chart2table": Tiny(
        "pp_chart2table",
        CASES["internvl"].processor,
        CASES["internvl"].special,
        {"image_token_id": _id("<IMG_CONTEXT>"), "vision_config.image_size": 32, "vision_config.patch_size": 4},
    ),
    "qianfan_ocr": Tiny(
        "qianfan_ocr",
        lambda made: _pictures(
            "QianfanOCRProcessor",
            _image("GotOcr2ImageProcessorPil", size=SQUARE, crop_to_patches=True, max_patches=4),
            made,
            image_seq_length=4,
        ),
        CASES["internvl"].special | {"placeholder": "<image>"},
        CASES["internvl"].config,
    ),
    "deepseek_vl": Tiny(
        "deepseek_vl",
        lambda made: _pictures(
            "DeepseekVLProcessor", _image("DeepseekVLImageProcessorPil", size=SQUARE), made, num_image_tokens=16
        ),
        {"image_token": "<image_placeholder>"},
        {"image_token_id": _id("<image_placeholder>")} | SIGLIP,
    ),
    "idefics2": Tiny(
        "idefics2",
        lambda made: _pictures(
            "Idefics2Processor",
            _image(
                "Idefics2ImageProcessorPil", size={"shortest_edge": 32, "longest_edge": 48}, do_image_splitting=False
            ),
            made,
            image_seq_len=4,
        ),
        ("<fake_token_around_image>", "<image>", "<end_of_utterance>"),
        {
            "image_token_id": _id("<image>"),
            "vision_config.image_size": 48,
            "vision_config.patch_size": 8,
            "perceiver_config.resampler_n_latents": 4,
            "perceiver_config.resampler_depth": 1,
            "perceiver_config.resampler_n_heads": 4,
            "perceiver_config.resampler_head_dim": 8,
            "perceiver_config.num_key_value_heads": 2,
            "text_config.pad_token_id": 0,
            "pad_token_id": 0,
        },
    ),
    "ovis2": Tiny(
        "ovis2",
        lambda made: _pictures(
            "Ovis2Processor",
            _image("Ovis2ImageProcessorPil", size=SQUARE, crop_to_patches=True, max_patches=4),
            made,
            image_seq_length=4,
        ),
        ("<image>", "<IMG_START>", "<IMG_ATOM>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"),
        {
            "image_token_id": _id("<IMG_ATOM>"),
            "vision_config.image_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.hidden_stride": 2,
            "visual_indicator_token_ids": lambda made: made.convert_tokens_to_ids(
                ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
            ),
        },
    ),
    "paddleocr_vl": Tiny(
        "paddleocr_vl",
        lambda made: _pictures(
            "PaddleOCRVLProcessor",
            _grid("PaddleOCRVLImageProcessorPil"),
            made,
        ),
        QWEN_SPECIAL,
        QWEN_IDS | {"text_config.rope_parameters": MROPE, "vision_config.image_size": 48},
        QWEN_PROMPT,
    ),
    "video_llava": Tiny(
        "video_llava",
        _llava,
        IMAGE | {"video_token": "<video>"},
        CLIP
        | TOKEN
        | {
            "image_token_index": _id("<image>"),
            "video_token_index": _id("<video>"),
            "image_seq_length": 16,
            "vision_feature_layer": -1,
        },
    ),
}

# Types that a check refuses, and what it says of them.
FAILS = {
    "qwen3_5": (_like_qwen("qwen3_5", "Qwen3VLProcessor"), "the attention function ran in 0 of 3 blocks"),
    # Two of three blocks convolve.
    "lfm3_vl": (
        Tiny(
            "lfm3_vl",
            _qwen("Qwen2VLProcessor"),
            QWEN_SPECIAL,
            QWEN_IDS | {"vision_config.out_hidden_size": 32},
            QWEN_PROMPT,
        ),
        "the attention function ran in 1 of 3 blocks",
    ),
    "qwen3_5_moe": (_like_qwen("qwen3_5_moe", "Qwen3VLProcessor"), "the attention function ran in 0 of 3 blocks"),
}
