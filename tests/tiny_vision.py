"""Tiny checkpoints of image-text types whose pictures need torchvision."""

from tests.tiny_cases import CASES, SQUARE, _id, _image, _pictures
from tests.tiny_families import Tiny

MOLMO = ("<|image|>", "<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>", "<frame_start>")


def _muse(kind, processor, more):
    """A type of the Muse family; `more` are settings that its configuration has beside the common ones."""
    return Tiny(
        kind,
        lambda made: _pictures(
            processor, _image("MuseGlimmerImageProcessor", patch_size=8, merge_size=2, max_image_tokens=9), made
        ),
        (
            *("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>", "<|vid_frame_separator|>"),
            *("<|vid_start|>", "<|vid_end|>"),
        ),
        {
            "image_token_id": _id("<|patch|>"),
            "video_token_id": _id("<|video|>"),
            "out_hidden_size": 128,
            "projector_hidden_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.pos_emb_height": 8,
            "vision_config.pos_emb_width": 8,
            "vision_config.max_position_embeddings": 64,
            "text_config.sliding_window": 16,
        }
        | more,
    )


VISION_TYPES = {
    "molmo2": Tiny(
        "molmo2",
        lambda made: _pictures(
            "Molmo2Processor",
            _image("Molmo2ImageProcessor", size=SQUARE, patch_size=8, max_crops=3, overlap_margins=[1, 1]),
            made,
        ),
        (*MOLMO, "<frame_end>", "<im_low>", "<|video|>"),
        {
            "image_patch_id": _id("<im_patch>"),
            "image_start_token_id": _id("<im_start>"),
            "low_res_image_start_token_id": _id("<low_res_im_start>"),
            "image_end_token_id": _id("<im_end>"),
            "frame_start_token_id": _id("<frame_start>"),
            "frame_end_token_id": _id("<frame_end>"),
            "vision_config.image_size": [32, 32],
            "vision_config.patch_size": 8,
            "vision_config.num_position_embeddings": 16,
            "vision_config.num_key_value_heads": 4,
            "vision_config.head_dim": 8,
            "adapter_config.num_key_value_heads": 4,
            "adapter_config.head_dim": 8,
            "adapter_config.text_hidden_size": 32,
            "adapter_config.vision_feature_layer": [-1, -2],
        },
    ),
    "phi4_multimodal": Tiny(
        "phi4_multimodal",
        lambda made: _pictures(
            "Phi4MultimodalProcessor",
            _image("Phi4MultimodalImageProcessor", size={"height": 64, "width": 64}, patch_size=2, dynamic_hd=2),
            made,
        ),
        {"image_token": "<|endoftext10|>", "audio_token": "<|endoftext11|>"},
        {
            "vision_config.image_size": 64,
            "vision_config.crop_size": 64,
            "vision_config.patch_size": 2,
            "vision_config.image_token_id": _id("<|endoftext10|>"),
            "audio_config.audio_token_id": _id("<|endoftext11|>"),
            "audio_config.hidden_size": 16,
            "audio_config.intermediate_size": 16,
            "audio_config.num_blocks": 1,
            "audio_config.num_attention_heads": 2,
            "audio_config.ext_pw_out_channel": 16,
            "audio_config.depthwise_separable_out_channel": 16,
            "audio_config.nemo_conv_channels": 16,
            "sliding_window": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        },
        auto="AutoModelForCausalLM",
    ),
    "llama4": Tiny(
        "llama4",
        lambda made: _pictures(
            "Llama4Processor",
            _image("Llama4ImageProcessor", size=SQUARE, max_patches=4),
            made,
            patch_size=8,
            pixel_shuffle_ratio=0.5,
        ),
        ("<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>"),
        {
            "image_token_index": _id("<|patch|>"),
            "boi_token_index": _id("<|image_start|>"),
            "eoi_token_index": _id("<|image_end|>"),
            "vision_config.image_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.vision_output_dim": 32,
            "vision_config.projector_input_dim": 32,
            "vision_config.projector_output_dim": 32,
            "vision_config.intermediate_size": 128,
            "text_config.intermediate_size_mlp": 64,
            "text_config.attention_chunk_size": 64,
            "text_config.layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
            "text_config.no_rope_layers": [1, 0, 1],
            "text_config.moe_layers": [1],
        },
    ),
    "step3p7": Tiny(
        "step3p7",
        lambda made: _pictures(
            "Step3p7Processor",
            _image("Step3p7ImageProcessor", size=SQUARE, patch_size=32, vision_patch_size=8),
            made,
        ),
        ("<im_patch>", "<patch_start>", "<patch_end>", "<patch_newline>", "<im_start>", "<im_end>"),
        {
            "image_token_id": _id("<im_patch>"),
            "vision_config.image_size": 64,
            "vision_config.patch_size": 8,
            "vision_config.max_position_embeddings": 64,
            "vision_config.mlp_ratio": 2.0,
            "text_config.share_expert_dim": 16,
            "text_config.sliding_window": 16,
            "text_config.num_sliding_attention_heads": 4,
        },
        "USER: <image>\n{question} ASSISTANT:",
    ),
    "muse_glimmer": _muse("muse_glimmer", "MuseGlimmerProcessor", {}),
    "muse_spark": _muse(
        "muse_spark",
        "MuseSparkProcessor",
        {"text_config.moe_hidden_size": 32, "audio_config.out_hidden_size": 32, "audio_config.num_hidden_layers": 4},
    ),
    "gemma4_unified": Tiny(
        "gemma4_unified",
        lambda made: _pictures(
            "Gemma4UnifiedProcessor",
            _image("Gemma4UnifiedImageProcessor", patch_size=8, max_soft_tokens=70),
            made,
            image_seq_length=70,
        ),
        CASES["gemma4"].special,
        {
            "image_token_id": _id("<|image|>"),
            "boi_token_id": _id("<|image>"),
            "eoi_token_id": _id("<image|>"),
            "vision_config.patch_size": 8,
            "vision_config.model_type": "gemma4_unified_vision",
            "text_config.model_type": "gemma4_unified_text",
            "text_config.num_hidden_layers": 3,
            "vision_config.mm_embed_dim": 32,
            "vision_config.output_proj_dims": 32,
            "vision_config.mm_posemb_size": 64,
            "text_config.layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "text_config.sliding_window": 16,
        },
        family="gemma4",
    ),
    "lfm2_vl": Tiny(
        "lfm2_vl",
        lambda made: _pictures(
            "Lfm2VlProcessor",
            _image(
                "Lfm2VlImageProcessor",
                do_image_splitting=False,
                encoder_patch_size=8,
                min_image_tokens=4,
                max_image_tokens=16,
            ),
            made,
        ),
        {
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail_token": "<|img_thumbnail|>",
        },
        {
            "image_token_id": _id("<image>"),
            "projector_hidden_size": 32,
            "vision_config.patch_size": 8,
            "vision_config.num_patches": 64,
            "text_config.layer_types": ["conv", "full_attention", "conv"],
        },
    ),
}
