"""Stage ``sweep_knockout`` from items on disk to the tidy table, its controls as conditions, and bad requests."""

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tests.captured import captured_under, on_edge
from transformers import DynamicCache

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.interventions.intervention import entered, intervention_of
from pidflow.interventions.prefix import say
from pidflow.models.answers import judge
from pidflow.models.capture import capture
from pidflow.models.inputs import encode
from pidflow.models.speech import spoken
from pidflow.models.standin.architecture import PROMPT
from pidflow.stages import _extraction
from pidflow.stages import sweep_knockout as stage
from pidflow.stages._informing import donors_of

N = 12


@pytest.fixture
def model(saved_model):
    return {"family": "llava", "path": str(saved_model), "batch_size": 5, "dtype": "float32", "prompt": PROMPT}


@pytest.fixture
def sweep(tmp_path, model):
    """``sweep(items, ...)``: run the stage; gives the table."""

    def run(items, name="sweep", **changed):
        settings = {"model": model, "model_id": "tiny", "task": "mixed", "window": 1, "seed": 3} | changed
        stage.run(items=str(items), output=str(tmp_path / f"{name}.parquet"), **settings)
        return store.read_table(tmp_path / f"{name}.parquet")

    return run


def row_of(table, **wanted):
    found = table[np.logical_and.reduce([table[name] == value for name, value in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_the_table_holds_what_whole_passes_say(tiny_llava, asked, write_items, sweep, tmp_path):
    images = [f"im{index // 2}" for index in range(N)]  # two questions a picture
    items = write_items(N, image_id=images)
    table = sweep(
        items, controls=["random"], other_windows=["all"], details=str(tmp_path / "details.parquet"), progress=False
    )
    assert set(table["model"]) == {"tiny"}
    assert len(table) == 6 * (3 + 3 + 1) * 3
    details = store.read_table(tmp_path / "details.parquet")
    examples, pictures, questions = asked(N)
    batch = encode(tiny_llava, examples, pictures)

    def probabilities(*interventions):
        names = [f"q{row}" for row in range(N)]
        with torch.inference_mode(), entered(tiny_llava, interventions, batch.spans, names):
            return tiny_llava.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1].softmax(-1).numpy()

    def spoken_under(*interventions):
        names, cache = [f"q{row}" for row in range(N)], DynamicCache()
        with entered(tiny_llava, interventions, batch.spans, names):
            captured = capture(tiny_llava, batch, cache=cache)
        said = say(tiny_llava, batch, cache, captured.logits, interventions, names=names, answer_tokens=3)
        return spoken(tiny_llava, said.ids, said.real).texts

    intact = probabilities()
    own = intact.argmax(1)
    assert store.read_table(tmp_path / "details.parquet")["intact_first"].iloc[0] == pytest.approx(
        intact[0].max(), rel=1e-5
    )
    for kind, source, layers in (("cut", "image", (1,)), ("random", "object", (2,)), ("cut", "object", None)):
        found = probabilities(on_edge(source, "question", layers, kind, seed=3))
        here = batch.spans[source].any(1).numpy()
        change = found[range(N), own] / intact[range(N), own] - 1
        said = spoken_under(on_edge(source, "question", layers, kind, seed=3))
        right = np.array(
            [
                judge(text, question.answer, options=question.options)
                for text, question in zip(said, questions, strict=True)
            ]
        )
        window = {"first": 0, "last": 2} if layers is None else {"first": layers[0], "last": layers[0]}
        row = row_of(table, edge=f"{source}->question", kind=kind, subset="all", **window)
        assert row["n"] == here.sum()
        assert row["images"] == len({image for image, there in zip(images, here, strict=True) if there})
        assert row["change_first"] == pytest.approx(change[here].mean(), abs=1e-6)
        assert row["accuracy"] == pytest.approx(right[here].mean())
        each = details[
            (details["edge"] == row["edge"]) & (details["kind"] == kind) & (details["window"] == row["window"])
        ]
        each = each[each["first"] == row["first"]].set_index("item_id")["change_first"]
        np.testing.assert_allclose(each.to_numpy(), change[here], atol=1e-6)
        assert list(each.index) == [f"q{row}" for row in np.flatnonzero(here)]


def test_batches_and_order_do_not_matter(write_items, sweep, model, tmp_path):
    items = write_items(N)
    first = sweep(items, controls=["random", "keep"])
    turned = pd.read_parquet(items).iloc[::-1]
    turned.to_parquet(items, index=False)
    second = sweep(items, "again", controls=["random", "keep"], model=model | {"batch_size": 3})
    numbers = first.select_dtypes("number").columns
    assert first.drop(columns=numbers).equals(second.drop(columns=numbers))
    np.testing.assert_allclose(first[numbers], second[numbers], atol=1e-6)


def test_subsets_follow_the_answers_table(write_items, sweep, tmp_path):
    items, details, path = write_items(N), str(tmp_path / "details.parquet"), tmp_path / "answers.parquet"
    sweep(items, edges=["image->last"], details=details)
    identity = replace(store.table_identity(details), condition="intact", settings=None)
    answers = pd.DataFrame({"item_id": [f"q{row}" for row in range(N)][::-1], "correct": [True] * 4 + [False] * 8})
    store.write_table(path, answers, identity=identity)
    table = sweep(items, edges=["image->last"], answers=str(path), details=details)
    assert row_of(table, subset="right", centre=0)["n"] == 4
    assert row_of(table, subset="wrong", centre=0)["n"] == 8
    of_questions = store.read_table(details).drop_duplicates("item_id").set_index("item_id")["subset"]
    assert set(of_questions.index[of_questions == "right"]) == set(answers.loc[answers["correct"], "item_id"])
    store.write_table(path, answers.iloc[:5], identity=identity)
    with pytest.raises(
        DataError, match=r"tiny, mixed: .*has 5 answers, the items table 12 items, of which 'q0' has none"
    ):
        sweep(items, answers=str(path))
    store.write_table(path, answers, identity=replace(identity, revision="sha256:other"))
    with pytest.raises(DataError, match=r"made for revision 'sha256:other', asked for is revision 'sha256:"):
        sweep(items, answers=str(path))


def test_a_span_that_some_questions_lack_is_said_and_left_out(write_items, sweep, caplog):
    with caplog.at_level(logging.WARNING):
        table = sweep(write_items(N), edges=["object->question", "image->options"], window="all")
    assert "object->question: source or target is empty in 2 of 12 questions, which this edge leaves out" in caplog.text
    assert row_of(table, edge="object->question", subset="all")["n"] == 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edges": ["picture->last"]}, "unknown span 'picture', expected one of: image, "),
        ({"edges": ["question->image"]}, "cannot cut question -> image: 'image' ends before 'question' begins"),
        ({"edges": ["image"]}, "an edge is 'source->target' or has a source and a target, found 'image'"),
        ({"edges": []}, "a sweep needs at least one edge"),
        ({"edges": ["last->last"], "window": 9}, "a window of 9 blocks reaches beyond the model's 3"),
        ({"window": [2, 1]}, r"the window \[2, 1\] is empty"),
        ({"controls": ["shuffle"]}, "unknown control 'shuffle'"),
        ({"answer_tokens": 0}, "an answer has at least 1 token, found 0"),
    ],
)
def test_impossible_requests_get_one_clear_sentence(write_items, sweep, tmp_path, changed, message):
    with pytest.raises(ConfigError, match=f"^tiny, mixed: {message}"):
        sweep(write_items(2), **changed)
    assert not (tmp_path / "sweep.parquet").exists()


def test_edges_that_no_question_has(write_items, sweep, tmp_path, caplog):
    items = write_items(3, boxes=[[], [], []])
    with pytest.raises(DataError, match=r"nothing to cut: the source or target of object->question is empty in all 3"):
        sweep(items, edges=["object->question"])
    assert not (tmp_path / "sweep.parquet").exists()
    with caplog.at_level(logging.WARNING):
        details = str(tmp_path / "details.parquet")
        table = sweep(items, edges=["object->question", "image->last"], window="all", details=details)
    assert set(store.read_table(details)["edge"]) == {"image->last"}
    assert "object->question: source or target is empty in 3 of 3 questions" in caplog.text
    lost = row_of(table, edge="object->question", subset="all")
    assert lost["n"] == 0
    assert np.isnan(lost["change_first"])
    assert row_of(table, edge="image->last", subset="all")["n"] == 3


@pytest.mark.parametrize(
    "intervention",
    [
        {"kind": "keep", "source": "image+question", "target": "last", "blocks": [0, 1]},
        {"kind": "random", "source": "image", "target": "question", "blocks": "all"},
        {"kind": "pde", "equation": "wave", "steps": 2, "size": 0.5, "blocks": [1, 2]},
    ],
    ids=lambda entry: entry["kind"],
)
def test_controls_are_conditions_too(write_items, model, tmp_path, intervention):
    """As conditions they give the answers that the sweep gives, and states that differ from the intact ones."""
    items = write_items(4)
    common = {"model_id": "tiny", "task": "mixed", "storage": "float32", "seed": 3, "model": model}
    results = {}
    for condition, entry in (("intact", None), ("changed", intervention)):
        answers = str(tmp_path / f"{condition}.answers")
        wanted = {condition: {"intervention": entry, "answers": answers}}
        _extraction.run(items=str(items), conditions=wanted, **common)
        results[condition] = store.read_table(answers)
    if intervention["kind"] == "pde":
        entry = {key: value for key, value in intervention.items() if key != "kind"}
        answers = str(tmp_path / "trained.answers")
        settings = common | {"model": model | {"attention": entry}}
        _extraction.run(items=str(items), conditions={"intact": {"answers": answers}}, **settings)
        pd.testing.assert_frame_equal(store.read_table(answers), results["changed"])
    else:
        first, last = (0, 2) if intervention["blocks"] == "all" else intervention["blocks"]
        stage.run(
            items=str(items),
            output=str(tmp_path / "sweep.parquet"),
            details=str(tmp_path / "details.parquet"),
            edges=[{"source": intervention["source"], "target": intervention["target"]}],
            window=[first, last],
            controls=[intervention["kind"]],
            **{name: common[name] for name in ("model", "model_id", "task", "seed")},
        )
        details = store.read_table(tmp_path / "details.parquet")
        details = details[details["kind"] == intervention["kind"]]
        assert details["right"].tolist() == results["changed"]["correct"].tolist()
        same = results["changed"]["predicted"] == results["intact"]["predicted"]
        ratio = results["changed"]["probability"] / results["intact"]["probability"]
        assert same.any()
        np.testing.assert_allclose(details["change_first"][same.to_numpy()], ratio[same] - 1, atol=1e-5)
    assert (results["changed"]["probability"] - results["intact"]["probability"]).abs().max() > 1e-6


def test_controls_say_how_they_match_and_where_their_pairs_lie(write_items, sweep, tmp_path):
    details = str(tmp_path / "details.parquet")
    edges = ["image->question", "image->last", "question->last"]
    table = sweep(write_items(N), edges=edges, controls=["random"], window="all", details=details)
    each = store.read_table(details)
    expected = {"image->question": "half", "image->last": "other-targets", "question->last": "other-sources"}
    for edge, control in expected.items():
        random = row_of(table, edge=edge, kind="random", subset="all")
        assert random["control"] == control
        of_edge = each[(each["edge"] == edge) & (each["kind"] == "random")]
        assert set(of_edge["control"]) == {control}
        assert sum(json.loads(random["pairs"]).values()) == sum(
            sum(json.loads(pairs).values()) for pairs in of_edge["pairs"]
        )
        assert row_of(table, edge=edge, kind="cut", subset="all").isna()["control"]
    assert set(json.loads(row_of(table, edge="image->last", kind="random", subset="all")["pairs"])) <= {
        "image->question",
        "image->other-text",
    }


def test_bad_continuous_attention_is_refused(write_items, model, tmp_path):
    entry = {"kind": "pde", "equation": "diffusion", "steps": 2, "size": 0.7, "blocks": "all"}
    with pytest.raises(
        ConfigError, match=r"tiny, mixed: pde: .* 'diffusion' is unstable: strength \* size = 0.7 exceeds 0.5"
    ):
        _extraction.run(
            items=str(write_items(2)),
            conditions={"pde": {"intervention": entry, "answers": str(tmp_path / "a.parquet")}},
            model=model,
            model_id="tiny",
            task="mixed",
        )


MOVED = {
    "no-mlp": {"kind": "sublayer", "part": "mlp", "span": "last", "blocks": [0, 0]},
    "mean-mlp": {"kind": "sublayer", "part": "mlp", "span": "last", "value": "mean", "blocks": "all"},
    "patched": {"kind": "swap", "span": "question", "blocks": [0, 0]},
    "noisy": {"kind": "noise", "span": "image", "size": 2.0},
    "wave": {"kind": "pde", "equation": "wave", "steps": 2, "size": 0.5, "blocks": "all"},
}


def test_interventions_are_moved_through_the_model(tiny_llava, write_items, sweep, tmp_path, model):
    items, details = write_items(N), tmp_path / "details.parquet"
    settings = {"edges": ["image->last"], "moved": MOVED, "details": str(details), "progress": False}
    table = sweep(items, **settings)
    again = sweep(items, "again", **settings | {"model": model | {"batch_size": 3}})
    for edge, entry in MOVED.items():
        rows = table[(table["edge"] == edge) & (table["subset"] == "all")]
        assert list(rows["centre"]) == [0, 1, 2]
        assert set(rows["kind"]) == {entry["kind"]}
        assert (rows["n"] == N).all()
    numbers = table.select_dtypes("number").columns
    np.testing.assert_allclose(table[numbers], again[numbers], atol=1e-6)  # donors and samples do not follow batches
    moved = table[table["edge"].isin(MOVED) & (table["subset"] == "all")]
    assert (moved["kl_bits"] > 1e-9).mean() > 0.8


def test_a_swap_takes_the_states_of_another_question(tiny_llava, asked, write_items, sweep, tmp_path):
    items, details = write_items(N), tmp_path / "details.parquet"
    sweep(items, edges=["image->last"], moved={"patched": MOVED["patched"]}, details=str(details), progress=False)
    found = store.read_table(details)
    found = found[(found["edge"] == "patched") & (found["centre"] == 1)].set_index("item_id")
    donors = donors_of(store.read_table(items), seed=3)
    examples, pictures, questions = asked(N)
    assert all(questions[row].answer != questions[donor].answer for row, donor in enumerate(donors))
    batch, others = (
        encode(tiny_llava, examples, pictures),
        encode(tiny_llava, [examples[row] for row in donors], [pictures[row] for row in donors]),
    )
    swap = intervention_of({**MOVED["patched"], "blocks": [1, 1]}, depth=3).informed(tiny_llava, others)
    probabilities = [
        captured_under(interventions, tiny_llava, batch).logits.softmax(-1).numpy() for interventions in ([], [swap])
    ]
    own = probabilities[0].argmax(1)
    change = probabilities[1][range(N), own] / probabilities[0][range(N), own] - 1
    np.testing.assert_allclose(found.loc[[f"q{row}" for row in range(N)], "change_first"], change, atol=1e-5)


def test_heads_are_cut_one_at_a_time(tiny_llava_next, write_items, tmp_path, model, sweep):
    items, heads = write_items(4), tmp_path / "heads.parquet"
    sweep(items, edges=["image->last"], heads=str(heads), head_edges=["image->question", "question->last"])
    found = store.read_table(heads)
    assert set(zip(found["first"], found["head"], strict=True)) == {(block, 0) for block in range(3)}
    assert set(found["edge"]) == {"image->question", "question->last"}
    assert set(found["prompt"]) == {"custom"}


def test_controls_spare_a_span(write_items, sweep):
    items = write_items(N)
    free, spared = (
        sweep(items, f"s{span}", edges=["question->last"], controls=["random"], spared=span) for span in (None, "bos")
    )
    rows = [table[(table["kind"] == "random") & (table["subset"] == "all")]["change_first"] for table in (free, spared)]
    assert not np.allclose(*rows)
    cuts = [table[(table["kind"] == "cut")]["change_first"] for table in (free, spared)]
    np.testing.assert_allclose(*cuts)
