"""Packing is exact: a question in a packed row is computed as in a prompt of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pidflow.data import scenes
from pidflow.data.readers import easy_vqa
from pidflow.interventions.intervention import entered, intervention_of
from pidflow.models.continuous_time import continuous_attention
from pidflow.models.dynamics import ORDINARY, Dynamics
from pidflow.models.inputs import Example, encode
from pidflow.models.loading import wrap
from pidflow.models.standin.architecture import PROMPT, build_model, build_processor, vocabulary
from pidflow.models.standin.packing import CAPTION_QUESTION, Closed, Packer, packed_logits
from pidflow.models.standin.pictures import PictureSource, PlainImage, place_words, scene_picture
from pidflow.models.standin.training import Schedule, next_token_loss, run_phase

ONE_EACH = dict.fromkeys(scenes.TASKS, 1)


@pytest.fixture(scope="module")
def packer():
    return Packer(build_processor())


@pytest.fixture(scope="module")
def model():
    return build_model(seed=0, width=32, depth=2).eval()


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [scene_picture(rng, language_prior=0.2, questions=ONE_EACH) for _ in range(3)]


def test_every_word_that_is_ever_asked_or_answered_is_known(packer):
    rng = np.random.default_rng(1)
    texts = [CAPTION_QUESTION]
    for _ in range(200):
        picture = scene_picture(rng, language_prior=0.0, questions=ONE_EACH)
        texts += [picture.caption, *(f"{text} {answer}" for _, text, answer in picture.questions)]
    texts += [
        f"{question.text} {question.answer}" for split in ("train", "test") for question in easy_vqa.questions(split)
    ]
    unknown = packer.processor.tokenizer.unk_token_id
    assert not [text for text in set(texts) if unknown in packer.processor.tokenizer.encode(text)]
    assert len(set(vocabulary())) == len(vocabulary())


@pytest.mark.parametrize("dynamics", [ORDINARY, Dynamics("diffusion", 2, 0.25), Dynamics("wave", 3, 0.5)])
def test_a_packed_question_equals_a_prompt_of_its_own(packer, model, pictures, dynamics):
    batch = packer.pack(pictures, questions=True, captions=[True, False, True])
    with torch.no_grad():
        packed = packed_logits(model, batch, dynamics=dynamics)[batch.answer_at[:, 0], batch.answer_at[:, 1]]
    asked = [(picture.image, text) for picture in pictures for _, text, _ in picture.questions]
    alone = packer.processor(
        images=[image for image, _ in asked],
        text=[PROMPT.format(question=text) for _, text in asked],
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad(), continuous_attention(model.model.language_model, dynamics):
        expected = model(**alone).logits[:, -1]
    torch.testing.assert_close(packed, expected, atol=2e-5, rtol=1e-4)


CLOSED = (
    Closed("image", "template+last"),
    Closed("image", "question", (1,)),
    Closed("question", "last", (0,)),
    Closed("bos", "image", (0, 1)),
)


def test_a_packed_question_has_the_closed_edges_of_a_model(packer, model, pictures):
    loaded = wrap("llava", model, packer.processor, prompt=PROMPT)
    always = tuple(
        intervention_of(
            {
                "kind": "cut",
                "source": each.source,
                "target": each.target,
                "blocks": "all" if each.blocks is None else [each.blocks[0], each.blocks[-1]],
            },
            depth=2,
        )
        for each in CLOSED
    )
    loaded = replace(loaded, always=always)
    batch = packer.pack(pictures, questions=True, captions=[False, False, True])
    with torch.no_grad():
        packed = packed_logits(model, batch, closed=CLOSED)[batch.answer_at[:, 0], batch.answer_at[:, 1]]
        opened = packed_logits(model, batch)[batch.answer_at[:, 0], batch.answer_at[:, 1]]
    asked = [(picture.image, text) for picture in pictures for _, text, _ in picture.questions]
    alone = encode(loaded, [Example(text) for _, text in asked], [image for image, _ in asked])
    with torch.no_grad(), entered(loaded, (), alone.spans):
        expected = model(**alone.inputs).logits[:, -1]
    torch.testing.assert_close(packed, expected, atol=2e-5, rtol=1e-4)
    assert (packed - opened).abs().amax(1).min() > 1e-4


def test_questions_about_another_picture_are_still_asked():
    questions = dict.fromkeys(scenes.TASKS, 1)
    for shown in ("own", "other"):
        source = PictureSource(
            seed=0, language_prior=0.0, questions=questions, easy_questions=("easy-shape",), shown=shown
        )
        drawn = source.draw(40, easy_share=0.5)
        fits = [
            answer in {word for patch in picture.patch_words for word in patch}
            for picture in drawn
            for task, _, answer in picture.questions
            if task == "easy-shape"
        ]
        assert len(fits) > 10
        assert np.mean(fits) == 1 if shown == "own" else np.mean(fits) < 0.6
        assert {task for picture in drawn for task, _, _ in picture.questions} == {*scenes.TASKS, "easy-shape"}


def test_labels_are_the_answers(packer, pictures):
    batch = packer.pack(pictures, questions=True, captions=[False] * len(pictures))
    answers = [answer for picture in pictures for _, _, answer in picture.questions]
    labels = batch.labels[batch.answer_at[:, 0], batch.answer_at[:, 1]]
    assert packer.processor.tokenizer.convert_ids_to_tokens(labels.tolist()) == answers
    assert (batch.labels >= 0).sum() == 2 * len(answers)  # each answer and its end


def test_patch_words_describe_what_is_drawn_there():
    rng = np.random.default_rng(5)
    for _ in range(30):
        state = rng.bit_generator.state
        picture = scene_picture(rng, language_prior=0.0, questions=ONE_EACH)
        rng_again = np.random.default_rng()
        rng_again.bit_generator.state = state
        scene = scenes.sample_scene(rng_again)
        for item in scene.objects:
            patch = int(item.y // 8) * 6 + int(item.x // 8)
            assert picture.patch_words[patch] == (
                *(item.shape, item.color, item.size, item.texture),
                *(scenes.ROWS[item.row], scenes.COLUMNS[item.column]),
            )
        assert sum("nothing" not in words for words in picture.patch_words) == 4 * len(scene.objects)
    assert place_words(0, 5) == ("top", "right")


def test_a_plain_image_moves_whole_and_its_patches_know_where_it_is():
    image = Image.new("RGB", (64, 64), (240, 240, 250))
    ImageDraw.Draw(image).rectangle((20, 30, 39, 49), fill=(255, 0, 0))
    plain = PlainImage.of(image, shape="rectangle", color="red", questions=())
    assert plain.box == (20, 30, 40, 50)
    places = set()
    for seed in range(20):
        picture = plain.moved(np.random.default_rng(seed))
        pixels = np.asarray(picture.image.resize((48, 48)))
        red = (pixels[..., 1] < 120).reshape(6, 8, 6, 8).mean(axis=(1, 3)).reshape(-1)
        shown = np.array(["rectangle" in words for words in picture.patch_words])
        assert shown[red > 0.2].all()
        edge = (pixels[..., 1] < 225).reshape(6, 8, 6, 8).any(axis=(1, 3)).reshape(-1)
        assert not shown[~edge].any()
        assert (np.asarray(picture.image)[..., 1] == 0).sum() == 400
        places.add(tuple(np.flatnonzero(shown)))
    assert len(places) > 5


def test_a_phase_learns_what_it_is_shown(packer, pictures):
    model = build_model(seed=0, width=32, depth=2)
    batch = packer.pack(pictures, questions=True, captions=[False] * len(pictures))
    losses = []
    run_phase(
        list(model.parameters()),
        Schedule(steps=40, batch=3, learning_rate=5e-3),
        iter([batch] * 40),
        lambda batch: next_token_loss(packed_logits(model, batch), batch.labels),
        each_step=lambda step, loss: losses.append(loss),
    )
    assert losses[-1] < 0.5 * losses[0]


def test_a_diverging_phase_is_stopped():
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(FloatingPointError, match="became nan at step 0"):
        run_phase(
            [weight],
            Schedule(steps=2, batch=1, learning_rate=1.0),
            iter([None, None]),
            lambda _: weight.sum() * float("nan"),
            each_step=lambda step, loss: None,
        )


def test_schedule_warms_up_and_cools_down():
    schedule = Schedule(steps=100, batch=1, learning_rate=1.0, warmup=0.1)
    factors = [schedule.factor(step) for step in range(100)]
    assert np.argmax(factors) in (9, 10)
    assert factors[0] == pytest.approx(0.1)
    assert 0.05 <= factors[-1] < 0.06
