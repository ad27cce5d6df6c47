"""What differs between two runs is said on one line each, with the largest difference of a column; nothing else is."""

import numpy as np
import pandas as pd
import pytest

from pidflow.analysis.comparison import PARTS, flat, record_differences, table_differences

RECORD = {
    "seed": 0,
    "repository": {"commit": "a" * 40, "changed": False},
    "configuration": {"run": {"models": ["m"], "tasks": ["t"]}, "pca": {"variance": 0.9, "language": "text"}},
    "code": {"stages": {"fit_pca": "0" * 16}, "plug_ins": {}},
    "versions": {"numpy": "2.0"},
    "machine": {"cores": 2, "gpus": []},
    "inputs": {"items": {"t": "1" * 64}, "units": {"m/t": {"revision": "sha256:" + "2" * 40}}},
}


def changed(record, path, value):
    """A copy of a record with another value at a path; None takes the value away."""
    copy = {key: changed(inner, [], None) if isinstance(inner, dict) else inner for key, inner in record.items()}
    place = copy
    for key in path[:-1]:
        place = place[key]
    if path and value is None:
        del place[path[-1]]
    elif path:
        place[path[-1]] = value
    return copy


def test_two_runs_made_alike_differ_in_nothing():
    assert record_differences(RECORD, changed(RECORD, [], None)) == []


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (["seed"], 1, "seed: 0 → 1"),
        (["configuration", "pca", "variance"], 0.95, "configuration pca.variance: 0.9 → 0.95"),
        (["configuration", "pca", "variance"], None, "configuration pca.variance: 0.9 → nothing"),
        (["configuration", "pca", "kept"], 3, "configuration pca.kept: nothing → 3"),
        (["configuration", "run", "tasks"], ["t", "u"], "configuration run.tasks: ['t'] → ['t', 'u']"),
        (["repository"], {"commit": "b" * 40, "changed": False}, "repository commit: aaaaaaaaaaaa… → bbbbbbbbbbbb…"),
        (["repository", "changed"], True, "repository changed: False → True"),
        (["code", "stages", "fit_pca"], "f" * 16, "code stages.fit_pca: 000000000000… → ffffffffffff…"),
        (["versions", "numpy"], "2.1", "version numpy: 2.0 → 2.1"),
        (["machine", "cores"], 8, "machine cores: 2 → 8"),
        (
            ["inputs", "units", "m/t", "revision"],
            "sha256:" + "3" * 40,
            "input units.m/t.revision: sha256:222222222222… → sha256:333333333333…",
        ),
    ],
)
def test_each_value_that_differs_has_its_line(path, value, line):
    assert record_differences(RECORD, changed(RECORD, path, value)) == [line]


def test_a_clone_beside_a_folder_that_is_none():
    lines = record_differences(changed(RECORD, ["repository"], {}) | {"repository": None}, RECORD)
    assert "repository commit: nothing → aaaaaaaaaaaa…" in lines


def test_every_part_of_a_record_is_compared():
    assert set(RECORD) == set(PARTS)


def test_long_values_are_cut():
    (line,) = record_differences(RECORD, changed(RECORD, ["configuration", "run", "tasks"], ["x" * 500]))
    assert len(line) < 200


def test_flat_keeps_empty_mappings():
    assert flat({"a": {"b": 1, "c": {}}}) == {"a.b": 1, "a.c": {}}


@pytest.fixture
def table():
    return pd.DataFrame(
        {"model": ["m"] * 4, "layer": [0, 1, 2, 3], "bits": [0.5, 1.0, np.nan, 2.0], "warning": ["", "", "clipped", ""]}
    )


def test_equal_tables_differ_in_nothing(table):
    assert table_differences("pid", table, table.copy()) == []


def test_a_number_that_differs(table):
    other = table.copy()
    other.loc[[1, 3], "bits"] = [1.001, 2.5]
    assert table_differences("pid", table, other) == [
        "table pid, column bits: 2 of 4 rows differ, the largest difference 0.5, 2 → 2.5 (row 3, model m, layer 3)"
    ]


def test_the_last_bit_of_a_number_counts(table):
    other = table.copy()
    other.loc[1, "bits"] = np.nextafter(1.0, 2.0)
    (line,) = table_differences("pid", table, other)
    assert "1 of 4 rows differ, the largest difference 2.2e-16" in line


def test_a_number_that_is_missing_in_one_is_the_largest_difference(table):
    other = table.copy()
    other.loc[[0, 2], "bits"] = [0.75, 1.5]
    (line,) = table_differences("pid", table, other)
    assert "2 of 4 rows differ, the largest difference inf, nan → 1.5 (row 2" in line


def test_words_rows_and_columns(table):
    other = table.copy()
    other.loc[2, "warning"] = "few rows"
    assert table_differences("pid", table, other) == [
        "table pid, column warning: 1 of 4 rows differ, first 'clipped' → 'few rows' (row 2, model m, layer 2)"
    ]
    assert table_differences("pid", table, table.drop(columns="bits")) == ["table pid: column bits → nothing"]
    assert table_differences("pid", table, table.assign(n=1)) == ["table pid: nothing → column n"]
    assert table_differences("pid", table, table.head(3)) == ["table pid: 4 rows → 3 rows"]
