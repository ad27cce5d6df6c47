"""Spans: what they decode to, where objects lie in the pixels, tokenizers that cut words, bad questions."""

import json
import re
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaImageProcessorPil,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from pidflow.errors import ConfigError, DataError
from pidflow.models.inputs import Example, encode
from pidflow.models.layout import BASE, NEWLINE, TILE, llava_layout, llava_next_layout
from pidflow.models.prompt_text import PromptText, option_places
from pidflow.models.span_check import holds_in_turn
from pidflow.models.spans import find_spans
from pidflow.models.standin.architecture import build_processor


def words(loaded, batch, span, row):
    return loaded.tokenizer.decode(batch.inputs["input_ids"][row][batch.spans[span][row]])


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def test_spans_hold_the_text_they_are_named_after(loaded, asked):
    examples, pictures, questions = asked(12)
    batch = encode(loaded, examples, pictures)
    lengths = batch.inputs["attention_mask"].sum(1)
    assert len(set(lengths.tolist())) > 2  # questions of unequal length, so rows are padded
    for row, question in enumerate(questions):
        assert words(loaded, batch, "question", row) == question.text
        assert words(loaded, batch, "text", row) == f"{question.text} assistant :"
        assert words(loaded, batch, "last", row) == ":"
        assert set(words(loaded, batch, "image", row).split("<image>")) <= {"", " "}
        offered = [word for word in question.text.split() if word in question.options]
        assert words(loaded, batch, "options", row).split() == offered


def test_object_and_other_split_the_image(loaded, asked):
    examples, pictures, questions = asked(12)
    spans = encode(loaded, examples, pictures).spans
    assert torch.equal(spans["object"] | spans["other"], spans["image"])
    assert not (spans["object"] & spans["other"]).any()
    assert spans["object"].any(1).tolist() == [bool(question.boxes) for question in questions]


def test_padding_moves_spans_and_changes_nothing_else(loaded, asked):
    examples, pictures, _ = asked(8)
    together = encode(loaded, examples, pictures)
    for row in range(8):
        alone = encode(loaded, [examples[row]], [pictures[row]])
        width = alone.inputs["input_ids"].shape[1]
        for name, mask in alone.spans.masks.items():
            assert torch.equal(together.spans[name][row, -width:], mask[0]), name
            assert not together.spans[name][row, :-width].any(), name


@pytest.fixture(params=["squashed", "cropped", "padded", "tiled"])
def resizing(request, tiny_llava, tiny_llava_next, monkeypatch):
    """A model with one way to make a picture fit, resampling by nearest neighbour: a pixel has one origin."""
    if request.param == "tiled":
        loaded = tiny_llava_next
    else:
        loaded = tiny_llava
        size = {"height": 48, "width": 48} if request.param == "squashed" else {"shortest_edge": 48}
        kind = LlavaImageProcessorPil if request.param == "padded" else CLIPImageProcessorPil
        images = kind(size=size, crop_size={"height": 48, "width": 48}, do_pad=request.param == "padded")
        monkeypatch.setattr(loaded.processor, "image_processor", images)
    monkeypatch.setattr(loaded.processor.image_processor, "resample", Image.Resampling.NEAREST)
    return loaded


@pytest.mark.parametrize("size", [(48, 48), (80, 48), (48, 100), (31, 200), (150, 61)])
def test_object_patches_are_those_whose_pixels_change(resizing, size):
    height, width = size
    rng = np.random.default_rng(height * width)
    background = np.full((height, width, 3), 128, dtype=np.uint8)
    seen = 0
    for _ in range(8):
        w, h = rng.integers(6, width // 2 + 1), rng.integers(6, height // 2 + 1)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        drawn = background.copy()
        drawn[y : y + h, x : x + w] = 255
        example = Example("is there a circle ?", boxes=((float(x), float(y), float(w), float(h)),))
        spans = encode(resizing, [example], [Image.fromarray(drawn)]).spans
        found = spans["object"][0][spans["image"][0]].numpy()
        changed = changed_patches(resizing, background, drawn)
        assert not (changed & ~found).any()
        # A patch that shares less than one resized pixel with the box may miss it; the largest step is 200 / 48 pixels.
        step = max(size) / 48 + 1
        inner = resizing.layout(size).touching(np.array([[x + step, y + step, w - 2 * step, h - 2 * step]]))
        if w > 2 * step and h > 2 * step:
            assert not (inner & ~changed).any()
            seen += int(inner.sum())
    assert seen


def changed_patches(loaded, before, after):
    """Which image tokens' pixels differ between two pictures, in prompt order; False for newlines."""
    pixels = [
        loaded.processor.image_processor(Image.fromarray(image), return_tensors="np") for image in (before, after)
    ]
    change = np.abs(pixels[1]["pixel_values"] - pixels[0]["pixel_values"])[0]
    grids = [patch_means(tile, 8) > 0 for tile in (change if change.ndim == 4 else change[None])]
    tokens = grids[0].ravel()
    if len(grids) > 1:
        layout = loaded.layout(before.shape[:2])
        rows = int((layout.kind == NEWLINE).sum())
        columns = int((layout.kind == TILE).sum()) // rows
        across = 2 if len(grids) == 5 or before.shape[1] > before.shape[0] else 1
        high = np.block([grids[start : start + across] for start in range(1, len(grids), across)])
        top, left = (high.shape[0] - rows) // 2, (high.shape[1] - columns) // 2
        high = high[top : top + rows, left : left + columns]
        tokens = np.concatenate([tokens, np.pad(high, ((0, 0), (0, 1))).ravel()])
    return tokens


def patch_means(tile, patch):
    channels, height, width = tile.shape
    return tile.reshape(channels, height // patch, patch, width // patch, patch).mean(axis=(0, 2, 4))


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((48, 48), 6, 6), ((24, 60), 3, 6), ((24, 100), 1, 6), ((100, 24), 6, 1)]
)
def test_tiles_come_as_base_rows_and_newlines(tiny_llava_next, size, rows, columns):
    layout = tiny_llava_next.layout(size)
    assert layout.kind.tolist() == [BASE] * 9 + ([TILE] * columns + [NEWLINE]) * rows
    picture = Image.new("RGB", (size[1], size[0]))
    spans = encode(tiny_llava_next, [Example("is there a ring ?")], [picture]).spans
    assert [int(spans[name].sum()) for name in ("image", "base", "tiles", "separators")] == [
        len(layout),
        9,
        rows * columns,
        rows,
    ]


def test_layouts_at_the_real_size_have_the_processors_number_of_tokens():
    tokenizer = build_processor().tokenizer
    settings = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    side = {"height": 336, "width": 336}
    images = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=side)
    processor = LlavaNextProcessor(images, tokenizer, **settings)
    config = LlavaNextConfig(image_grid_pinpoints=images.image_grid_pinpoints)
    sizes = np.random.default_rng(0).integers(20, 3000, size=(80, 2)).tolist()
    expected = processor._get_num_multimodal_tokens(sizes)["num_image_tokens"]
    assert [len(llava_next_layout(processor, config, tuple(size))) for size in sizes] == expected
    fixed = LlavaProcessor(CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=side), tokenizer, **settings)
    assert {len(llava_layout(fixed, LlavaConfig(), tuple(size))) for size in sizes} == {576}


def test_a_box_in_a_corner_is_found_at_both_resolutions(tiny_llava_next):
    layout = tiny_llava_next.layout((48, 48))
    touched = layout.touching(np.array([[40.0, 40.0, 8.0, 8.0]]))
    assert np.flatnonzero(touched).tolist() == [8, 9 + 5 * 7 + 5]


def test_a_cropped_away_box_touches_no_patch(tiny_llava):
    tiny_llava.processor.image_processor.size = {"shortest_edge": 48}
    try:
        layout = tiny_llava.layout((48, 144))
    finally:
        tiny_llava.processor.image_processor.size = {"height": 48, "width": 48}
    assert not layout.touching(np.array([[0.0, 0.0, 47.0, 48.0]])).any()
    middle = layout.touching(np.array([[48.0, 0.0, 8.0, 8.0]]))
    assert np.flatnonzero(middle).tolist() == [0]


CORPUS = [
    "Is the circle red or blue? Yes, the teal circle is on the left side of the ring. USER: ASSISTANT: [INST]",
    "What colour is the naïve café's door? Größe 32 cm, 5 objects, it's black-and-white; triangle, square.",
]
QUESTIONS = [
    ("Is the circle red or blue?", ("red", "blue")),
    ("What colour is the naïve café's door?", ()),
    ("  Größe:  32 cm?\tOr   7 ", ("32",)),
    ("日本 or 🟥, which one is on the left?", ("left",)),
    ("Or?", ("or",)),
    ("这个圆是红色还是蓝色？", ("红色", "蓝色")),
    ("丸はあか、それともアオですか。", ("あか", "アオ")),
    ("İ or ſ, which one is RED?", ("red",)),
]


@cache
def sentencepiece_tokenizer():
    """Cut like Llama's: spaces become part of words, unknown characters become bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokens = ["<pad>", "<unk>", "<s>", "</s>", "<image>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens, show_progress=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.train_from_iterator(CORPUS, trainer)
    rebuilt = Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}))
    rebuilt.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    rebuilt.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return rebuilt


@cache
def bytelevel_tokenizer():
    """Cut like GPT-2's or Qwen's: bytes, a word with the space before it, letters of several bytes split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<unk>", "<s>", "</s>", "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


@cache
def llama_tokenizer():
    """Llama 2's own, with the placeholder that LLaVA adds."""
    folder = Path(pytest.importorskip("wordllama", reason="the test extra brings it").__file__).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens(["<image>", "<pad>"])
    return tokenizer


@pytest.mark.parametrize("build", [sentencepiece_tokenizer, bytelevel_tokenizer, llama_tokenizer])
@pytest.mark.parametrize("template", ["USER: <image>\n{} ASSISTANT:", "[INST] <image>\n{} [/INST]", "<image>{}\n"])
@pytest.mark.parametrize(("question", "options"), QUESTIONS)
def test_spans_survive_tokenizers_that_cut_words(tiny_llava, build, template, question, options):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=build(), pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    layout = tiny_llava.layout((48, 48))
    before, after = template.split("{}")
    before = before.replace("<image>", "<image>" * len(layout))
    text = before + question + after
    encoded = tokenizer([text], return_offsets_mapping=True, return_tensors="pt")
    place = (len(before), len(before) + len(question))
    spans = find_spans(
        encoded["input_ids"],
        encoded["attention_mask"],
        encoded["offset_mapping"],
        prompts=[PromptText(text=text, question=place, options=options)],
        layouts=[layout],
        tokenizer=tokenizer,
        pictures=[np.flatnonzero(encoded["input_ids"][0] == tokenizer.convert_tokens_to_ids("<image>"))],
    )
    ids = encoded["input_ids"][0]
    assert "".join(tokenizer.decode(ids[spans["question"][0]]).split()) == "".join(question.split())
    assert int(spans["image"].sum()) == len(layout)
    spelled = tokenizer.decode(ids[spans["options"][0]]).lower()
    assert re.sub(r"\W", "", spelled) == "".join(options)  # a token may take a question mark along


@pytest.mark.parametrize(
    ("question", "option", "found"),
    [
        ("is it red or blue ?", "red", ["red"]),
        ("is it reddish or red_hot or Redred?", "red", []),
        ("Strasse or STRASSE_1?", "strasse", ["Strasse"]),
        ("红色的还是蓝色的？", "红色", ["红色"]),
        ("A红色的?", "红色", ["红色"]),
        ("サッカーボールかボールか", "ボール", ["ボール"]),  # a loan word does not end inside another
        ("ﾎﾞｰﾙかﾜか", "ﾜ", ["ﾜ"]),
        ("สีแดงหรือสีฟ้า", "แดง", ["แดง"]),
        ("क्या यह नीला है या नील ?", "नील", ["नील"]),  # a vowel sign goes on with the word
    ],
)
def test_options_are_found_as_whole_words_of_their_script(question, option, found):
    places = option_places(PromptText(text=f"x {question}", question=(2, 2 + len(question)), options=(option,)))
    assert [f"x {question}"[start:end] for start, end in places[option]] == found


def test_pieces_are_found_in_turn_as_a_regular_expression_would_find_them():
    random = np.random.default_rng(0)
    agree = [0, 0]
    for _ in range(3000):
        text = "".join(random.choice(["a", "b"], size=random.integers(0, 9)))
        pieces = ["".join(random.choice(["a", "b"], size=random.integers(0, 3))) for _ in range(random.integers(1, 5))]
        expected = re.fullmatch(".+".join(pieces), text) is not None
        assert holds_in_turn(text, pieces) is expected, (text, pieces)
        agree[expected] += 1
    assert min(agree) > 300


def test_many_unknown_words_take_no_time(tiny_llava):
    question = "is the " + "<b>wörd</b>&nbsp;" * 12 + "red ?"
    begun = time.perf_counter()
    batch = encode(tiny_llava, [Example(question)], [Image.new("RGB", (48, 48))])
    assert batch.unknown.all()
    assert time.perf_counter() - begun < 5  # matched by trial it is minutes


def test_words_beyond_the_vocabulary_are_counted_not_refused(tiny_llava):
    examples = [Example("is the zebra red ?"), Example("is the circle red ?")]
    batch = encode(tiny_llava, examples, [Image.new("RGB", (48, 48))] * 2)
    assert batch.unknown.tolist() == [True, False]
    assert words(tiny_llava, batch, "question", 0) == "is the <unk> red ?"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("what is <image> ?", "item 7: the question 'what is <image> \\?' holds '<image>'"),
        ("is </s> red ?", "item 7: the question 'is </s> red \\?' holds a special token"),
        ("   ", "item 7: the question is empty"),
        ("red " * 300, "item 7: the prompt has 34\\d tokens, the model takes 256"),
    ],
)
def test_bad_questions_are_named(tiny_llava, question, message):
    with pytest.raises(DataError, match=message):
        encode(tiny_llava, [Example(question, name="item 7")], [Image.new("RGB", (48, 48))])


def test_the_self_check_sees_offsets_that_are_off_by_one_token(tiny_llava, asked):
    examples, pictures, _ = asked(1)
    batch = encode(tiny_llava, examples, pictures)
    text = tiny_llava.prompt.replace("<image>", "<image>" * 36).replace("{question}", examples[0].question)
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    offsets = tiny_llava.tokenizer([text], return_offsets_mapping=True, return_tensors="pt")["offset_mapping"]
    start = text.index(examples[0].question)
    with pytest.raises(DataError, match="item 0: the span 'question' decodes to"):
        find_spans(
            ids,
            mask,
            torch.roll(offsets, 1, dims=1),
            prompts=[PromptText(text=text, question=(start, start + len(examples[0].question)), name="item 0")],
            layouts=[tiny_llava.layout((48, 48))],
            tokenizer=tiny_llava.tokenizer,
            pictures=[np.flatnonzero(ids[0] == tiny_llava.image_token_id)],
        )


def test_image_tokens_that_do_not_fit_the_picture_are_refused(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(1)
    monkeypatch.setattr(tiny_llava.model.config.vision_config, "patch_size", 12)
    with pytest.raises(DataError, match=r"item 0: expected 16 image tokens .* found 36"):
        encode(tiny_llava, examples, pictures)


def test_unknown_span_names_are_listed(tiny_llava, asked):
    examples, pictures, _ = asked(1)
    spans = encode(tiny_llava, examples, pictures).spans
    with pytest.raises(ConfigError, match="unknown span 'images', expected one of: image, "):
        spans["images"]


def test_rows_can_be_taken_and_repeated(tiny_llava, asked):
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava, examples, pictures)
    chosen = batch.take(torch.tensor([2, 0, 2]))
    assert torch.equal(chosen.spans["question"][0], batch.spans["question"][2])
    assert torch.equal(chosen.inputs["pixel_values"][1], batch.inputs["pixel_values"][0])
    assert len(chosen) == 3
