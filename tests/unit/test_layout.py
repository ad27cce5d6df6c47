"""Where image tokens lie, checked against the pixels that the processors of real families make."""

import types
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.tiny_cases import CASES
from tests.tiny_families import built, tokenizer
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaImageProcessorPil,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
)

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.models import layout as layouts
from pidflow.models import loading
from pidflow.models.inputs import Example, encode
from pidflow.models.layout import padded
from pidflow.models.loading import LoadedModel, family_named
from pidflow.models.measured import measured_layout
from pidflow.models.painted import painted_boxes_move_their_tokens
from pidflow.models.standin import architecture

SIDE = {"height": 336, "width": 336}
SIZES = [(336, 336), (480, 640), (640, 480), (300, 900), (901, 300)]


def real_size(images, *, image=None):
    """Processor, configuration and layout of a LLaVA at its real size, without a language model and weights."""
    tiled = isinstance(images, LlavaNextImageProcessorPil)
    config = LlavaNextConfig(image_grid_pinpoints=images.image_grid_pinpoints) if tiled else LlavaConfig()
    config.vision_config.image_size, config.vision_config.patch_size = 336, 14
    if image is not None:
        layouts.make_square(images, image)
    kind = LlavaNextProcessor if tiled else LlavaProcessor
    processor = kind(
        image_processor=images,
        tokenizer=tokenizer({"image_token": "<image>"}),
        patch_size=14,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    )
    config.image_token_id = processor.image_token_id
    return LoadedModel(
        family=family_named("llava-next" if tiled else "llava"),
        model=types.SimpleNamespace(config=config),
        processor=processor,
        image=image,
        **dict.fromkeys(["prompting", "revision", "devices", "dtype", "depth", "width"]),
    )


PROCESSORS = {
    "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIDE),
    "clip, do_pad ignored": lambda: CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIDE, do_pad=True),
    "clip, squashed": lambda: CLIPImageProcessorPil(size=SIDE, crop_size=SIDE),
    "llava": lambda: LlavaImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIDE),
    "llava, do_pad": lambda: LlavaImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIDE, do_pad=True),
}


# Shapes that a processor of a square may meet: square, wide, tall, and both beyond 1 : 3.
SHAPES = [(336, 336), (302, 538), (538, 302), (235, 773), (773, 235)]


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_geometry_is_what_processors_do_to_ramps(name):
    loaded = real_size(PROCESSORS[name]())
    for size in SHAPES:
        found = measured_layout(loaded.processor, loaded.model.config, size)
        expected = loaded.layout(size)
        sides = np.tile(expected.rectangle[:, 2:] - expected.rectangle[:, :2], 2)
        assert np.abs((found.rectangle - expected.rectangle) / sides).max() < 0.05  # of a patch


@pytest.mark.parametrize("image", ["pad", "crop"])
def test_only_a_processor_that_cuts_can_crop(image):
    images = PROCESSORS["clip, squashed"]()
    if image == "crop":
        with pytest.raises(ConfigError, match="image: crop needs an image processor that resizes the shortest edge"):
            real_size(images, image=image)
    else:
        assert real_size(images, image=image).image == "pad"


@pytest.fixture(scope="module")
def full_size():
    """``full_size(name, images)``: a tiny model that sees pictures of 336 pixels in patches of 14."""

    @cache
    def build(name):
        sizes = {"vision_config.image_size": 336, "vision_config.patch_size": 14}
        tiles = {"image_grid_pinpoints": [[336, 672], [672, 336], [672, 672]]} if name == "llava-next-vicuna" else {}
        model, processor = built(replace(CASES[name], config=CASES[name].config | sizes | tiles))
        processor.patch_size = 14
        return model, processor

    def wrapped(name, images, **settings):
        model, processor = build(name)
        processor.image_processor = images
        return loading.wrap(CASES[name].family, model, processor, prompt=CASES[name].prompt, **settings)

    return wrapped


@pytest.mark.parametrize("name", ["clip", "llava, do_pad"])
@pytest.mark.parametrize("image", [None, "pad", "crop"])
def test_painted_boxes_lie_where_the_layout_says(full_size, name, image):
    assert painted_boxes_move_their_tokens(full_size("llava", PROCESSORS[name](), image=image))


def test_painted_boxes_lie_in_both_resolutions_of_the_tiled_family(full_size):
    tiles = [[336, 672], [672, 336], [672, 672]]
    images = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=SIDE, image_grid_pinpoints=tiles)
    assert painted_boxes_move_their_tokens(full_size("llava-next-vicuna", images))


@pytest.mark.parametrize("model", ["tiny_llava", "tiny_llava_next"])
def test_the_shipped_processors_pass(model, request):
    assert painted_boxes_move_their_tokens(request.getfixturevalue(model))


@pytest.mark.parametrize("wrong", ["padded", "squashed", "one patch off"])
def test_a_layout_that_is_wrong_is_noticed(full_size, wrong):
    loaded = full_size("llava", PROCESSORS["clip"]())
    real = loaded.family.layout

    def moved(processor, config, size):
        if wrong == "padded":
            return layouts.padded_layout(lambda square: real(processor, config, square), size)
        found = real(processor, config, size)
        if wrong == "squashed":
            rectangle = real(processor, config, (336, 336)).rectangle * (size[1], size[0], size[1], size[0]) / 336
        else:
            rectangle = np.roll(found.rectangle, 1, axis=0)
        return layouts.Layout(kind=found.kind, rectangle=rectangle)

    other = replace(loaded, family=replace(loaded.family, layout=moved))
    with pytest.raises(NumericsError, match=r"image token \d+ of 576 lies .* set image: pad or crop"):
        painted_boxes_move_their_tokens(other)


@pytest.mark.parametrize("size", SIZES)
def test_our_padding_is_the_published_one(size):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    theirs = PROCESSORS["llava, do_pad"]()
    ours = PROCESSORS["clip"]()
    expected = np.asarray(theirs(picture, return_tensors="np")["pixel_values"])
    found = np.asarray(ours(padded(picture, colour=ours.image_mean), return_tensors="np")["pixel_values"])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", SIZES)
def test_padding_keeps_every_object_and_cropping_loses_those_at_the_ends(size):
    height, width = size
    ends = np.array([[0, 0, 30, 30], [width - 30, height - 30, 30, 30]], dtype=float)
    found = {how: real_size(PROCESSORS["clip"](), image=how).layout(size) for how in ("pad", "crop")}
    for box in ends:
        assert found["pad"].touching(box[None]).any()
        assert found["crop"].touching(box[None]).any() == (height == width)
    inside = found["pad"].covered(np.array([0, 0, width, height]))
    assert np.isclose(inside.sum() * max(size) ** 2 / 576, width * height)  # the patches hold the picture exactly once


@pytest.mark.parametrize("image", ["pad", "crop", None])
def test_a_model_sees_its_pictures_as_asked(tiny_llava, image):
    processor = architecture.build_processor()
    processor.image_processor.size = {"shortest_edge": 48}
    processor.image_processor.do_center_crop = True
    processor.image_processor.crop_size = {"height": 48, "width": 48}
    loaded = loading.wrap(
        "llava", tiny_llava.model, processor, image=image, prompt="USER: <image>\n{question} ASSISTANT:"
    )
    wide = np.zeros((48, 96, 3), dtype=np.uint8)
    wide[:, :16] = 255
    batch = encode(loaded, [Example("is there a ring ?", boxes=((0, 0, 16, 48),))], [Image.fromarray(wide)])
    found = int(batch.spans["object"].sum())
    bright = (batch.inputs["pixel_values"][0].mean(0) > batch.inputs["pixel_values"].mean() + 0.5).float().mean()
    if image == "pad":
        assert found == 4  # from 0 to 8 across and from 12 to 36 down, in patches of eight pixels
        assert bright > 0
    else:
        assert found == 0
        assert bright == 0
    assert painted_boxes_move_their_tokens(loaded)


def test_tiles_cannot_be_padded(tiny_llava_next):
    with pytest.raises(ConfigError, match="family 'llava-next' shows pictures in tiles, not as one square"):
        loading.wrap("llava-next", tiny_llava_next.model, tiny_llava_next.processor, image="pad")


@pytest.mark.parametrize("image", ["pad", "crop"])
def test_a_picture_that_would_grow_beyond_bounds_is_named_before_it_does(image):
    loaded = real_size(PROCESSORS["clip"](), image=image)
    size = (1, 3000) if image == "crop" else (800, 12000)
    with pytest.raises(DataError, match=r"the picture would have [\d,]+ x [\d,]+ pixels after padding or resizing"):
        loaded.layout(size)


def test_the_item_is_named_with_it(tiny_llava, monkeypatch):
    monkeypatch.setattr(layouts, "MAX_RESIZED", 1000)
    monkeypatch.setattr(tiny_llava.processor.image_processor, "size", {"shortest_edge": 48})
    with pytest.raises(DataError, match="item 7: the picture would have 96 x 48 pixels"):
        encode(tiny_llava, [Example("is there a ring ?", name="item 7")], [Image.new("RGB", (20, 10))])


QUERY_ATTR = (
    Path(__file__).resolve().parents[3]
    / "shared/data/gqa-tasks/GQA_val_correct_question_with_positionQuery_QueryAttr.csv"
)


@pytest.mark.skipif(not QUERY_ATTR.is_file(), reason="needs the shared GQA tables")
def test_how_many_real_objects_the_crop_loses_and_padding_keeps():
    table = pd.read_csv(QUERY_ATTR, dtype=str, keep_default_na=False)
    sizes = table[["image_h", "image_w"]].astype(int).to_numpy()
    boxes = table[[f"central object {side}" for side in "xywh"]].astype(float).to_numpy()
    inside = (boxes[:, 0] < sizes[:, 1]) & (boxes[:, 1] < sizes[:, 0])
    assert inside.sum() == 999
    seen = {}
    for how in ("pad", "crop"):
        loaded = real_size(PROCESSORS["clip"](), image=how)
        shares = []
        for size, (x, y, w, h) in zip(sizes[inside], boxes[inside], strict=True):
            layout = loaded.layout(tuple(size))
            left, top, right, bottom = layout.rectangle.T
            box = np.minimum([x, y, x + w, y + h], [*size[::-1]] * 2)  # some boxes leave their picture
            shown = layout.covered(box) * (right - left) * (bottom - top)
            shares.append(shown.sum() / ((box[2] - x) * (box[3] - y)))
        seen[how] = np.array(shares)
    assert (seen["pad"] > 0.99).all()
    assert (seen["crop"] == 0).mean() == pytest.approx(0.16, abs=0.01)
    assert (seen["crop"] < 0.5).mean() == pytest.approx(0.34, abs=0.01)
