"""Tiny checkpoints of image-text types whose pictures need torchvision."""

from tests.tiny_cases import SQUARE, _id, _image, _pictures
from tests.tiny_families import Tiny

MOLMO = ("<|image|>", "<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>", "<frame_start>")

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
            _image("Phi4MultimodalImageProcessor", size={"height": 64, "width": 64}, patch_size=2, dynamic_hd=4),
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
}
