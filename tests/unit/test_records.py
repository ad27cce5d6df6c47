"""Records: what is written is read back the same, and what contradicts itself is refused by file and field."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from tests import synthetic_run as run

from pidflow.errors import DataError
from pidflow.names import NUMBERED, QUANTITIES
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.records import SCHEMA_VERSION, from_json, to_json
from pidflow.pid.results import QUANTITIES as NUMBERS
from pidflow.pid.results import MissedInformation, TwinEstimate, Uncorrected
from pidflow.stats import within

ATOMS = {"redundancy": 0.25, "unique_vision": 0.5, "unique_language": 1.0, "synergy": 0.25}


def estimated(seed, n, dims, definition, **options):
    """A record of real estimates from random rows: some with dependence, some without."""
    rng = np.random.default_rng(seed)
    x1, x2, y = (rng.standard_normal((n, d)) for d in dims)
    y[:, 0] += (seed % 3) * x1[:, 0]
    estimate = estimate_pid(x1, x2, y, estimator="copula", definitions=(definition,), **options)[definition]
    truth = {name: getattr(estimate, name) for name in NUMBERS}
    base = run.record("m", "t", "intact", 2, ATOMS)
    return replace(base, estimate=estimate, twin=TwinEstimate.of(estimate, truth), dims=dims, images=n)


def written(*found):
    """The record of a file, as JSON gives it back."""
    return json.loads(json.dumps(to_json(found or [corrected()]), allow_nan=False))


def corrected():
    """A record whose estimate was corrected by its twin."""
    found = run.record("m", "t", "intact", 2, ATOMS)
    before = Uncorrected({name: getattr(found.estimate, name) for name in NUMBERS}, found.estimate.se)
    return replace(found, estimate=replace(found.estimate, uncorrected=before))


@pytest.mark.parametrize("definition", ["broja", "mmi", "dep"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "dims"), [(60, (2, 1, 2)), (400, (3, 4, 2)), (40, (5, 5, 2))])
def test_what_estimators_find_is_read_back_to_the_last_digit(seed, n, dims, definition):
    """Few rows, clipping and informations that contradict each other included: none of them is a broken record."""
    found = estimated(seed, n, dims, definition)
    assert from_json(written(found), where="x.json") == [found]


def test_files_speak_of_vision_and_language():
    text = json.dumps(written())
    assert all(f'"{name}"' in text for name in QUANTITIES)
    assert not any(f'"{number}"' in text for word, number in NUMBERED.items() if word != number)


def test_other_keys_beside_the_record_are_left_to_who_wrote_them():
    assert from_json(written() | {"identity": {"model": "m"}}, where="x.json")


@pytest.mark.parametrize("version", [None, 2, "3", [3]])
def test_other_versions_are_refused(version):
    record = written() | {"schema_version": version}
    with pytest.raises(DataError, match=rf"layer-02\.json: expected .* schema version {SCHEMA_VERSION}, found"):
        from_json(record, where="layer-02.json")


@pytest.mark.parametrize("record", [[], "text", None, 3, {}])
def test_what_is_no_record_is_refused(record):
    with pytest.raises(DataError, match=r"^x\.json: expected a decomposition of schema version 4, found None"):
        from_json(record, where="x.json")


def replicates(change):
    return lambda values: [change(value) for value in values]


BROKEN = [
    # (path to a value, what to put there, what the sentence must say)
    ("estimate.synergy", 100.0, "estimate.mi_joint is 2.0, its atoms"),
    ("estimate.synergy", None, "estimate.synergy: Input should be a valid number, found None"),
    ("estimate.synergy", float("nan"), "estimate.synergy: Input should be a finite number, found nan"),
    ("estimate.synergy", float("inf"), "estimate.synergy: Input should be a finite number"),
    ("estimate.synergy", "0.25", "estimate.synergy: Input should be a valid number, found '0.25'"),
    ("estimate.synergy", True, "estimate.synergy: Input should be a valid number, found True"),
    ("estimate.uncorrected.bits.synergy", 0.5, "estimate.uncorrected.bits.mi_joint is"),
    ("estimate.uncorrected.se.synergy", -0.5, "a standard error is not negative"),
    ("estimate.clipped", "false", "estimate.clipped: Input should be a valid boolean, found 'false'"),
    ("estimate.clipped", 0, "estimate.clipped: Input should be a valid boolean, found 0"),
    ("estimate.clipped", True, "estimate.clipped is True, the union went"),
    ("estimate.mi_vision", 0.1, "estimate.mi_vision is 0.1, its atoms (redundancy, unique_vision) add up to 0.75"),
    ("estimate.unique_language", -3.0, "estimate.mi_language is 1.25, its atoms"),
    ("estimate.se.unique_vision", -0.1, "estimate.se.unique_vision is -0.1, a standard error is not negative"),
    ("estimate.se.unique_vision", 7.0, "estimate.se.unique_vision is 7.0, its replicates scatter by"),
    ("estimate.se", {}, "estimate.se lacks redundancy, unique_vision"),
    ("estimate.raw.synergy", 9.0, "estimate.raw.mi_joint is 2.0, its atoms"),
    ("estimate.replicates.synergy", [0.25] * 19, "estimate.replicates"),
    ("estimate.replicates.synergy", replicates(lambda r: r + 1), "estimate.replicates.mi_joint"),
    ("estimate.replicates.synergy", replicates(lambda _: None), "estimate.replicates.synergy.0: Input should be"),
    ("estimate.replicates", {name: [1.0] for name in QUANTITIES}, "estimate.replicates"),
    ("estimate.p_value", 0.0, "estimate.p_value is 0.0, expected a share"),
    ("estimate.p_value", 1.5, "estimate.p_value is 1.5, expected a share"),
    ("estimate.union", 0.0, "estimate.union is 0.0 bits, the atoms say"),
    ("estimate.n", 12, "images are 300 behind 12 rows"),
    ("estimate.n", 900.5, "estimate.n: Input should be a valid integer"),
    ("estimate.ratio", -1.0, "estimate.ratio is -1.0"),
    ("estimate.definition", 3, "estimate.definition: Input should be a valid string"),
    ("estimate.warnings", "be careful", "estimate.warnings: Input should be a valid"),
    ("twin.truth.synergy", 4.0, "twin.truth.mi_joint is 4.0, its atoms"),
    ("twin.bits.mi_vision", 9.0, "twin.bits.mi_vision is 9.0, its atoms"),
    ("twin.se.synergy", -1.0, "twin.se.synergy is -1.0, a standard error is not negative"),
    ("twin.groups", 1, "twin.groups are 1, the estimate has 20"),
    ("missed.se", -0.1, "missed.se is -0.1, a standard error is not negative"),
    ("missed", None, "missed: Input should be"),
    ("layer", -1, "layer is -1, expected at least 0"),
    ("layer", "2", "layer: Input should be a valid integer, found '2'"),
    ("dims", [10, 10], "dims.2: Field required"),
    ("dims", [10, -1, 15], "dims are (10, -1, 15), no block"),
    ("images", 0, "images is 0, expected at least 1"),
    ("colour", "red", "colour: Unexpected keyword argument, found 'red'"),
]


@pytest.mark.parametrize(("path", "value", "message"), BROKEN)
def test_a_record_that_contradicts_itself_is_refused(path, value, message):
    record = written()
    *parents, last = path.split(".")
    place = record["decompositions"][0]
    for name in parents:
        place = place[name]
    place[last] = value(place[last]) if callable(value) else value
    with pytest.raises(DataError) as caught:
        from_json(record, where="m/t/intact/layer-02.json")
    assert str(caught.value).startswith("m/t/intact/layer-02.json: decompositions.0.")
    assert message in str(caught.value)
    assert "delete" in str(caught.value)
    assert "\n" not in str(caught.value)


def leaves(value, path=()):
    """Paths of everything in a record that is not itself a mapping or a list."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


@pytest.mark.parametrize("value", [None, "1", [], {}])
def test_nothing_else_passes_for_any_value(value):
    """Every single value of a record, replaced by nothing, text, a list or a mapping."""
    whole = written()
    for path in leaves(whole["decompositions"]):
        record = deepcopy(whole)
        place = record["decompositions"]
        for name in path[:-1]:
            place = place[name]
        if isinstance(place[path[-1]], str) and isinstance(value, str):
            continue
        place[path[-1]] = value
        with pytest.raises(DataError):
            from_json(record, where="x.json")


@pytest.mark.parametrize("path", ["estimate", "estimate.synergy", "estimate.replicates", "twin.truth", "model"])
def test_a_lacking_field_is_named(path):
    record = written()
    *parents, last = path.split(".")
    place = record["decompositions"][0]
    for name in parents:
        place = place[name]
    del place[last]
    with pytest.raises(DataError, match=rf"decompositions\.0\.{path}: .*found nothing"):
        from_json(record, where="x.json")


def test_what_could_not_be_read_is_not_written():
    found = run.record("m", "t", "intact", 2, ATOMS)
    with pytest.raises(DataError, match=r"decompositions\.0\.estimate\.mi_joint is 2.0"):
        to_json([replace(found, estimate=replace(found.estimate, synergy=1.0))])


def test_missed_information_follows_from_bound_and_estimate():
    found = MissedInformation(gaussian_bits=1.0, bound=1.3, se=0.1)
    assert (found.bits, found.flag) == (pytest.approx(0.3), True)
    assert found.p_value == pytest.approx(0.00135, abs=1e-5)
    assert not MissedInformation(gaussian_bits=1.0, bound=1.2, se=0.1).flag
    nothing = MissedInformation(gaussian_bits=1.0, bound=0.2, se=0.1)
    assert (nothing.bits, nothing.flag) == (0.0, False)


def test_the_interval_of_a_check_is_students():
    """Five groups leave four degrees of freedom: 2.776 standard errors, not 1.96."""
    half = 2.7764451 * 0.1
    assert within(half + 0.1 - 1e-6, 0.0, se=0.1, df=4)
    assert not within(half + 0.1 + 1e-6, 0.0, se=0.1, df=4)
    assert within(1.9599 * 0.1, 0.0, se=0.1, df=np.inf, tolerance=0)
    assert not within(1.9600 * 0.1, 0.0, se=0.1, df=np.inf, tolerance=0)
