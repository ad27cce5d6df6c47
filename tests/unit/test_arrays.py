"""The gate: what public functions accept as numbers, labels and settings, and the sentence for the rest."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from pidflow import arguments, arrays
from pidflow.errors import ConfigError, DataError

TABLE = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "given",
    [
        TABLE.tolist(),
        TABLE.astype(np.float16),
        TABLE.astype(np.uint8),
        TABLE.astype(np.longdouble),
        np.ma.array(TABLE, mask=False),
        np.matrix(TABLE),
        pd.DataFrame(TABLE),
        pd.DataFrame({"a": pd.array([0, 2, 4], dtype="Int64"), "b": [1.0, 3.0, 5.0]}),
        [[Decimal(0), 1], [2, 3], [4, 5]],
        torch.tensor(TABLE, requires_grad=True),
        torch.tensor(TABLE, dtype=torch.bfloat16),
        torch.tensor(TABLE, dtype=torch.int8),
    ],
    ids=lambda given: f"{type(given).__module__}.{type(given).__name__}",
)
def test_numbers_of_every_kind_are_the_same_rows(given):
    found = arrays.rows(given, "x1")
    assert found.dtype == np.float64
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, TABLE)


def test_one_axis_is_one_column_and_booleans_are_zero_and_one():
    np.testing.assert_array_equal(arrays.rows(pd.Series([True, False]), "y"), [[1.0], [0.0]])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.ma.array(TABLE, mask=TABLE == 3), "x1 is masked in 1 places"),
        (TABLE + 0j, "x1 holds complex numbers"),
        (torch.tensor(TABLE) + 0j, "x1 holds complex numbers"),
        ([["1", "2"]], "x1 holds text"),
        ([b"1"], "x1 holds bytes"),
        (TABLE.astype("M8[s]"), "x1 holds dates"),
        (TABLE.astype("m8[s]"), "x1 holds time spans"),
        (np.zeros(2, dtype="i4,f4"), "x1 holds records"),
        ([datetime.date(2020, 1, 1)], r"x1 must hold real numbers, found datetime.date\(2020, 1, 1\)"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), r"found 'x' at index \(0, 1\)"),
        ([None, 1], r"found None at index \(0,\)"),
        ([[1, 2], [3]], "x1 is no array: .* rows of equal length"),
        (np.array([[1, 2], [3]], dtype=object), "rows may be of unequal length"),
        (scipy.sparse.csr_matrix(TABLE), r"pass x1.toarray\(\)"),
        (torch.tensor(TABLE).to_sparse(), r"pass x1.to_dense\(\)"),
        (torch.tensor(TABLE).to("meta"), "x1 is a tensor that holds no plain numbers"),
        ((i for i in range(3)), "x1 must be an array, found <generator"),
        (None, "x1 must be an array, found None"),
        ({"a": 1}, "x1 must be an array, found {'a': 1}"),
        ("abc", "x1 must be an array, found 'abc'"),
        ([[1.0, np.nan]], r"x1 is not finite at row 0, column 1 \(nan\)"),
        (pd.Series([1, pd.NA], dtype="Int64"), "x1 is not finite at row 1|found <NA>"),
        ([np.inf], r"x1 is not finite at row 0 \(inf\)"),
        ([2**60], "integers beyond 2"),
        ([10**400], "float64 cannot"),
        ([1e200], "squares overflow"),
        (np.zeros((0, 2)), r"x1 has no rows \(shape \(0, 2\)\)"),
        (np.zeros((2, 2, 2)), r"shape \(n,\) or \(n, d\), found \(2, 2, 2\)"),
        (3.0, r"found \(\)"),
    ],
)
def test_what_are_no_rows(given, sentence):
    with pytest.raises(DataError, match=sentence):
        arrays.rows(given, "x1")


@pytest.mark.parametrize(
    "given",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"], dtype=object),
        pd.Series(["b", "a", "b"], dtype="string"),
        pd.Categorical(["b", "a", "b"]),
        [2.0, 1.0, 2.0],
        torch.tensor([7, -7, 7]),
        [True, False, True],
        np.array(["2021", "2020", "2021"], dtype="M8[Y]"),
    ],
)
def test_groups_are_labelled_by_whatever_compares(given):
    np.testing.assert_array_equal(arrays.group_index(given, 3), [1, 0, 1])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["a", None, "b"], r"groups has no label at row 1 \(1 missing in all\)"),
        ([1.0, np.nan, np.nan], r"row 1 \(2 missing in all\)"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "row 1"),
        (np.array(["2020", "NaT", "2021"], dtype="M8[Y]"), "row 1"),
        ([1, "1", 2], r"mixes or nests labels \(int, str\)"),
        (np.array([{1}, {2}, {3}]), "nests labels"),
        ([(1, 2), (3, 4), (5, 6)], r"shape \(3,\), one label a row, found \(3, 2\)"),
        ([1, 2], r"found \(2,\)"),
        ([1j, 2, 3], "complex"),
        ("abc", "must be an array"),
    ],
)
def test_what_are_no_groups(given, sentence):
    with pytest.raises(DataError, match=sentence):
        arrays.group_index(given, 3)


@pytest.mark.parametrize("given", [150, 150.0, np.int64(150), np.float32(150), np.array(150), torch.tensor(150)])
def test_counts_may_be_integral_floats(given):
    found = arguments.count(given, "jackknife", least=5, most=1000)
    assert (found, type(found)) == (150, int)


@pytest.mark.parametrize("given", [True, np.True_, "150", None, 2.5, np.nan, np.inf, 4, 1001, 10**30, [150], ...])
def test_what_are_no_counts(given):
    with pytest.raises(ConfigError, match=r"jackknife must be a whole number from 5 to 1000, found"):
        arguments.count(given, "jackknife", least=5, most=1000)


def test_seeds_reach_to_what_files_can_hold():
    assert arguments.seed_of(1.0) == 1
    assert arguments.seed_of(2**63 - 1) == 2**63 - 1
    with pytest.raises(ConfigError, match=f"seed must be a whole number of at least 0, found {2**63}"):
        arguments.seed_of(2**63)


def test_choices_are_taken_once_and_one_word_is_a_list_of_one():
    assert arguments.choices((d for d in ("mmi", "broja", "mmi")), "definitions", ("broja", "mmi")) == ("mmi", "broja")
    assert arguments.choices("mmi", "definitions", ("broja", "mmi")) == ("mmi",)


@pytest.mark.parametrize("given", [(), None, 3, ["imin"], [["mmi"]], "im", np.array("mmi")])
def test_what_are_no_choices(given):
    with pytest.raises(ConfigError, match="definitions must be taken from broja, mmi, found"):
        arguments.choices(given, "definitions", ("broja", "mmi"))


@pytest.mark.parametrize("given", [np.nan, np.inf, True, "1", None, 0.0, 1.5, 10**400])
def test_what_are_no_numbers_of_a_range(given):
    with pytest.raises(ConfigError, match="share must be"):
        arguments.number(given, "share", above=0.0, at_most=1.0)


def test_columns_that_vary_by_rounding_are_constant():
    block = np.column_stack([np.full(4, 1e9), 1e9 * (1 + 1e-16 * np.arange(4)), np.arange(4), 1e-160 * np.arange(4)])
    assert arrays.constant_columns(block).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float16([0.1]), 2**-11),
        (np.float32([0.1]), 2**-24),
        (torch.tensor([0.1]).bfloat16(), 2**-8),
        ([0.1], 2**-53),
        (np.float32([0.1]).astype(float), 2**-24),
    ],
)
def test_precision_is_that_of_the_type_numbers_came_in(given, expected):
    assert arrays.precision(given) == expected
