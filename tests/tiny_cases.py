"""A tiny checkpoint of every family, by name."""

from tests.tiny_families import Tiny, tokenizer


def _llava(made):
    from transformers import LlavaImageProcessorPil, LlavaProcessor

    images = LlavaImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_pad=False)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=made,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def _llava_next(made):
    from transformers import LlavaNextImageProcessorPil, LlavaNextProcessor

    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, image_grid_pinpoints=TILES
    )
    return LlavaNextProcessor(
        image_processor=images,
        tokenizer=made,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def _pictures(name, images, made, **more):
    """A processor of a class of the library, for pictures and text alone."""
    import transformers

    from pidflow.models.processors import absent_of, pictures_only

    kind = getattr(transformers, name)
    absent = absent_of(kind)
    kind = pictures_only(kind) if absent else kind
    return kind(image_processor=images, tokenizer=made, **absent, **more)


def _image(name, **settings):
    import transformers

    return getattr(transformers, name)(**settings)


def _grid(name, merge=2):
    """Processor of pictures for models that see a grid of patches of eight pixels, as many as fit."""
    return _image(name, patch_size=8, merge_size=merge, size={"shortest_edge": 256, "longest_edge": 2304})


def _qwen(name):
    def build(made):
        images = _grid("Qwen2VLImageProcessorPil")
        return _pictures(name, images, made)

    return build


TILES = [[24, 48], [48, 24], [48, 48]]
SQUARE = {"height": 32, "width": 32}
CLIP = {"vision_config.image_size": 32, "vision_config.patch_size": 8}
NEXT = {
    "vision_config.image_size": 24,
    "vision_config.patch_size": 8,
    "image_grid_pinpoints": TILES,
    "vision_feature_layer": -1,
}
IMAGE = {"image_token": "<image>"}
QWEN = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
QWEN_IDS = {
    "image_token_id": lambda made: made.convert_tokens_to_ids("<|image_pad|>"),
    "video_token_id": lambda made: made.convert_tokens_to_ids("<|video_pad|>"),
    "vision_start_token_id": lambda made: made.convert_tokens_to_ids("<|vision_start|>"),
    "vision_config.patch_size": 8,
}
QWEN_SPECIAL = QWEN | {"a": "<|vision_start|>", "b": "<|vision_end|>", "c": "<|im_start|>", "d": "<|im_end|>"}
QWEN_PROMPT = "<|im_start|>user\n<|vision_start|><image><|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
MROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def _id(name):
    return lambda made: made.convert_tokens_to_ids(name)


TOKEN = {"image_token_id": _id("<image>")}

CASES = {
    "llava": Tiny("llava", _llava, IMAGE, CLIP | TOKEN),
    "llava-next-vicuna": Tiny("llava_next", _llava_next, IMAGE, NEXT | TOKEN),
    "llava-next-mistral": Tiny(
        "llava_next",
        _llava_next,
        IMAGE,
        NEXT | TOKEN | {"text_config.model_type": "mistral", "text_config.sliding_window": None},
    ),
    "llava-next-llama-3": Tiny(
        "llava_next",
        _llava_next,
        IMAGE | {"h": "<|start_header_id|>", "i": "<|end_header_id|>", "j": "<|eot_id|>"},
        NEXT | TOKEN | {"text_config.rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        "llama-3",
    ),
    "llava-onevision": Tiny(
        "llava_onevision",
        lambda made: _pictures(
            "LlavaOnevisionProcessor",
            _image(
                "LlavaOnevisionImageProcessorPil",
                size={"height": 24, "width": 24},
                image_grid_pinpoints=TILES,
            ),
            made,
            num_image_tokens=9,
            vision_feature_select_strategy="full",
        ),
        IMAGE | {"video_token": "<video>"},
        TOKEN
        | {"video_token_id": _id("<video>"), "vision_config.image_size": 24, "vision_config.patch_size": 8}
        | {"image_grid_pinpoints": TILES},
    ),
    "qwen2-vl": Tiny(
        "qwen2_vl",
        _qwen("Qwen2VLProcessor"),
        QWEN_SPECIAL,
        QWEN_IDS | {"vision_config.hidden_size": 32, "text_config.rope_parameters": MROPE},
        QWEN_PROMPT,
    ),
    "qwen2-5-vl": Tiny(
        "qwen2_5_vl",
        _qwen("Qwen2_5_VLProcessor"),
        QWEN_SPECIAL,
        QWEN_IDS
        | {"vision_config.out_hidden_size": 32, "vision_config.fullatt_block_indexes": [1]}
        | {"vision_config.window_size": 32, "text_config.rope_parameters": MROPE},
        QWEN_PROMPT,
    ),
    "qwen3-vl": Tiny(
        "qwen3_vl",
        _qwen("Qwen3VLProcessor"),
        QWEN_SPECIAL,
        QWEN_IDS
        | {"vision_config.out_hidden_size": 32, "vision_config.deepstack_visual_indexes": [0, 1]}
        | {"text_config.rope_parameters": MROPE | {"mrope_interleaved": True}},
        QWEN_PROMPT,
    ),
    "internvl": Tiny(
        "internvl",
        lambda made: _pictures(
            "InternVLProcessor",
            _image("GotOcr2ImageProcessorPil", size=SQUARE, crop_to_patches=True, max_patches=4),
            made,
            image_seq_length=4,
        ),
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        {
            "image_token_id": _id("<IMG_CONTEXT>"),
            "vision_config.image_size": [32, 32],
            "vision_config.patch_size": [8, 8],
            "image_seq_length": 4,
        },
    ),
    "gemma3": Tiny(
        "gemma3",
        lambda made: _pictures(
            "Gemma3Processor", _image("Gemma3ImageProcessorPil", size=SQUARE), made, image_seq_length=4
        ),
        {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"},
        CLIP
        | {"mm_tokens_per_image": 4, "image_token_id": _id("<image_soft_token>")}
        | {"boi_token_index": _id("<start_of_image>"), "eoi_token_index": _id("<end_of_image>")}
        | {
            "text_config.sliding_window": 8,
            "text_config.layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "paligemma": Tiny(
        "paligemma",
        lambda made: _paligemma(made),
        IMAGE,
        CLIP | TOKEN | {"projection_dim": 32, "vision_config.projection_dim": 32},
        "<image>{question}",
    ),
    "paligemma2": Tiny(
        "paligemma",
        lambda made: _paligemma(made),
        IMAGE,
        CLIP | TOKEN | {"projection_dim": 32, "vision_config.projection_dim": 32, "text_config.model_type": "gemma2"},
        "<image>{question}",
    ),
}


def _paligemma(made):
    images = _image("SiglipImageProcessorPil", size=SQUARE)
    images.image_seq_length = 16
    return _pictures("PaliGemmaProcessor", images, made)


def _split(processor, images):
    def build(made):
        shown = _image(images, size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
        return _pictures(processor, shown, made, image_seq_len=4)

    return build


def _tiles(processor, images, **more):
    def build(made):
        shown = _image(images, size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4)
        return _pictures(processor, shown, made, **more)

    return build


def _qformer(processor):
    def build(made):
        from transformers import BlipImageProcessorPil

        more = {"qformer_tokenizer": tokenizer()} if processor.startswith("Instruct") else {}
        made.add_bos_token = True
        return _pictures(processor, BlipImageProcessorPil(size=SQUARE), made, num_query_tokens=4, **more)

    return build


def _pixtral(made):
    """PixtralProcessor needs torchvision; that of LightOnOCR resizes and counts alike, without marks between rows."""
    return _rows(made, 1)


def _pixtral_merged(made):
    return _rows(made, 2)


def _rows(made, merged):
    side = {"height": 8 * merged, "width": 8 * merged}
    images = _image("PixtralImageProcessorPil", size={"longest_edge": 48}, patch_size=side)
    return _pictures("LightOnOcrProcessor", images, made, patch_size=8, spatial_merge_size=merged)


SPEAKER = ("|SPEAKER|", "|NEWLINE|", "<0x04>")
FAKE = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>")
SPLIT = {
    "scale_factor": 2,
    "vision_config.image_size": 32,
    "vision_config.patch_size": 8,
    "image_token_id": _id("<image>"),
}
OPT = {
    "text_config.model_type": "opt",
    "vision_config.image_size": 32,
    "vision_config.patch_size": 8,
    "num_query_tokens": 4,
    "image_token_index": _id("<image>"),
    "image_token_id": _id("<image>"),
    "qformer_config.encoder_hidden_size": 32,
    "qformer_config.vocab_size": 400,
}
PIXTRAL = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
AYA = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "<image>")
GLM = {"image_token": "<|image|>", "video_token": "<|video|>", "b": "<|begin_of_image|>", "e": "<|end_of_image|>"}

CASES |= {
    "idefics3": Tiny(
        "idefics3",
        _split("Idefics3Processor", "Idefics3ImageProcessorPil"),
        FAKE,
        SPLIT | {"text_config.pad_token_id": 0, "pad_token_id": 0},
    ),
    "smolvlm": Tiny(
        "smolvlm",
        _split("SmolVLMProcessor", "SmolVLMImageProcessorPil"),
        FAKE,
        SPLIT | {"text_config.pad_token_id": 0, "pad_token_id": 0},
    ),
    "mllama": Tiny(
        "mllama",
        lambda made: _pictures(
            "MllamaProcessor", _image("MllamaImageProcessorPil", size=SQUARE, max_image_tiles=2), made
        ),
        {"image_token": "<|image|>", "python": "<|python_tag|>"},
        {
            "vision_config.image_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.max_num_tiles": 2,
            "vision_config.supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "vision_config.num_global_layers": 1,
            "vision_config.intermediate_layers_indices": [0],
            "vision_config.vision_output_dim": 64,
            "text_config.cross_attention_layers": [1],
            "text_config.pad_token_id": 0,
            "image_token_index": _id("<|image|>"),
        },
        "<s><image>USER: {question} ASSISTANT:",
    ),
    "instructblip": Tiny(
        "instructblip", _qformer("InstructBlipProcessor"), (), OPT | {"text_config.model_type": "llama"}
    ),
    "blip-2": Tiny("blip-2", _qformer("Blip2Processor"), (), OPT),
    "fuyu": Tiny(
        "fuyu",
        lambda made: _pictures(
            "FuyuProcessor",
            _image("FuyuImageProcessorPil", size={"height": 64, "width": 64}, patch_size={"height": 16, "width": 16}),
            made,
        ),
        SPEAKER,
        {
            "patch_size": 16,
            "image_token_id": _id("|SPEAKER|"),
            "text_config.rope_parameters": {
                "rope_type": "default",
                "rope_theta": 25000.0,
                "partial_rotary_factor": 0.5,
            },
        },
        "<image>{question} ASSISTANT:",
    ),
    "aya-vision": Tiny(
        "aya_vision",
        _tiles("AyaVisionProcessor", "GotOcr2ImageProcessorPil", patch_size=16, img_size=32),
        AYA,
        CLIP
        | {
            "image_token_id": _id("<|IMG_PATCH|>"),
            "downsample_factor": 2,
            "adapter_layer_norm_eps": 1e-6,
            "alignment_intermediate_size": 64,
            "text_config.sliding_window": 16,
        },
    ),
    "cohere2-vision": Tiny(
        "cohere2_vision",
        lambda made: _cohere2(made),
        {
            "image_token": "<|IMG_PATCH|>",
            "boi_token": "<|START_OF_IMG|>",
            "eoi_token": "<|END_OF_IMG|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
        },
        CLIP
        | {
            "image_token_id": _id("<|IMG_PATCH|>"),
            "downsample_factor": 2,
            "alignment_intermediate_size": 64,
            "text_config.sliding_window": 16,
        },
    ),
    "mistral3": Tiny(
        "mistral3",
        _pixtral_merged,
        PIXTRAL,
        {
            "image_token_id": _id("[IMG]"),
            "image_token_index": _id("[IMG]"),
            "spatial_merge_size": 2,
            "vision_config.image_size": 48,
            "vision_config.patch_size": 8,
            "vision_config.head_dim": 8,
        },
    ),
    "pixtral": Tiny(
        "llava",
        _pixtral,
        PIXTRAL,
        {
            "image_token_id": _id("[IMG]"),
            "image_token_index": _id("[IMG]"),
            "vision_config.model_type": "pixtral",
            "vision_config.image_size": 48,
            "vision_config.patch_size": 8,
            "vision_config.head_dim": 8,
            "vision_feature_select_strategy": "full",
            "vision_feature_layer": -1,
        },
    ),
    "janus": Tiny(
        "janus",
        lambda made: _pictures(
            "JanusProcessor", _image("JanusImageProcessorPil", size=SQUARE), made, num_image_tokens=16
        ),
        {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"},
        {
            "vision_config.image_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.num_image_tokens": 16,
            "vision_config.projection_dim": 32,
            "vision_config.hidden_size": 32,
            "vq_config.base_channels": 32,
            "vq_config.channel_multiplier": [1, 1],
            "vq_config.num_embeddings": 16,
            "vq_config.embed_dim": 4,
            "vq_config.projection_dim": 32,
            "vq_config.num_res_blocks": 1,
            "vq_config.image_token_embed_dim": 32,
            "image_token_id": _id("<image_placeholder>"),
        },
    ),
    "glm4v": Tiny(
        "glm4v",
        lambda made: _pictures(
            "Glm4vProcessor",
            _image(
                "Glm4vImageProcessorPil", patch_size=8, merge_size=2, size={"shortest_edge": 512, "longest_edge": 4608}
            ),
            made,
        ),
        GLM,
        {
            "image_token_id": _id("<|image|>"),
            "video_token_id": _id("<|video|>"),
            "image_start_token_id": _id("<|begin_of_image|>"),
            "image_end_token_id": _id("<|end_of_image|>"),
            "vision_config.patch_size": 8,
            "vision_config.image_size": 48,
            "vision_config.out_hidden_size": 32,
            "vision_config.intermediate_size": 64,
            "text_config.rope_parameters": MROPE,
        },
        "USER: <|begin_of_image|><image><|end_of_image|>{question} ASSISTANT:",
    ),
    "gemma4": Tiny(
        "gemma4",
        lambda made: _pictures(
            "Gemma4Processor",
            _image("Gemma4ImageProcessorPil", patch_size=8, max_soft_tokens=70),
            made,
            image_seq_length=70,
        ),
        {
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
        },
        {
            "image_token_id": _id("<|image|>"),
            "boi_token_id": _id("<|image>"),
            "eoi_token_id": _id("<image|>"),
            "vision_config.model_type": "gemma4_vision",
            "vision_config.num_hidden_layers": 2,
            "vision_config.hidden_size": 32,
            "vision_config.intermediate_size": 64,
            "vision_config.num_attention_heads": 4,
            "vision_config.num_key_value_heads": 4,
            "vision_config.head_dim": 8,
            "text_config.model_type": "gemma4_text",
            "text_config.num_hidden_layers": 3,
            "text_config.layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "text_config.num_kv_shared_layers": 0,
            "text_config.use_bidirectional_attention": "vision",
            "text_config.hidden_size_per_layer_input": 8,
            "text_config.vocab_size_per_layer_input": 400,
            "text_config.sliding_window": 16,
            "vision_config.patch_size": 8,
        },
    ),
}


def _cohere2(made):
    """Its own image processor needs torchvision; that of GOT-OCR 2 cuts and squashes alike."""
    import transformers

    images = _image("GotOcr2ImageProcessorPil", size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4)
    images.patch_size = 2
    return transformers.Cohere2VisionProcessor(image_processor=images, tokenizer=made)


def _with_families(cases):
    """Every case with the id of its family: the case's own name, unless it is one of several of a family."""
    from dataclasses import replace

    shared = dict.fromkeys(("llava-next-vicuna", "llava-next-mistral", "llava-next-llama-3"), "llava-next")
    shared |= {"paligemma2": "paligemma"}
    return {name: replace(tiny, family=tiny.family or shared.get(name, name)) for name, tiny in cases.items()}


CASES = _with_families(CASES)
