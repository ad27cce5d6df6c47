"""Laws of the reduction: a rotation of the data, deterministic, blind to rounding noise."""

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.flows import pca
from pidflow.flows.pca import fit_pca


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 5)) @ np.diag([5.0, 3.0, 1.0, 0.5, 0.1]) @ rng.standard_normal((5, 12))


@pytest.mark.parametrize("transpose", [False, True], ids=["more rows", "more columns"])
def test_all_components_keep_all_distances(data, transpose):
    block = data[:8] if transpose else data
    basis = fit_pca(block, variance=1.0, max_components=50)
    scores = basis.scores(block)
    distances = np.linalg.norm(block[:, None] - block[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(scores[:, None] - scores[None], axis=2), distances, atol=1e-9)


def test_scores_are_uncorrelated_by_falling_variance(data):
    scores = fit_pca(data, variance=1.0, max_components=50).scores(data)
    covariance = np.cov(scores.T)
    assert scores.shape[1] == 5  # the rank; the other seven directions are rounding noise
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_share_of_variance_and_cap(data):
    ratio = fit_pca(data, variance=1.0, max_components=50).explained_variance_ratio
    basis = fit_pca(data, variance=0.9, max_components=50)
    kept = len(basis.components)
    assert ratio[:kept].sum() >= 0.9 > ratio[: kept - 1].sum()
    assert len(fit_pca(data, variance=0.9, max_components=1).components) == 1


def test_sign_is_fixed_by_the_data_alone(data):
    basis = fit_pca(data, variance=1.0, max_components=50)
    shuffled = fit_pca(data[::-1], variance=1.0, max_components=50)
    np.testing.assert_allclose(basis.components, shuffled.components, atol=1e-9)
    assert (basis.components[np.arange(5), np.abs(basis.components).argmax(axis=1)] > 0).all()


def test_half_precision_input_is_computed_in_float64(data):
    stored = data.astype(np.float16)
    np.testing.assert_array_equal(
        fit_pca(stored, variance=0.9, max_components=3).scores(stored),
        fit_pca(stored.astype(np.float64), variance=0.9, max_components=3).scores(stored),
    )


class Elsewhere:
    """Rows that are handed out a few at a time; how many of them were ever asked for at once."""

    def __init__(self, block):
        self.block, self.shape, self.most = block, block.shape, 0

    def between(self, start, stop):
        found = self.block[start:stop]
        self.most = max(self.most, len(found))
        return found


def as_before(block):
    """Principal directions from everything in memory at once, written down another way."""
    centred = block.astype(float) - block.astype(float).mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    return vectors.T[::-1], values[::-1] / values.sum()


@pytest.mark.parametrize("rows", [200, 8])
def test_rows_read_a_few_at_a_time_give_what_all_of_them_give(data, monkeypatch, rows):
    block = data[:rows] + 50
    whole = fit_pca(block, variance=1.0, max_components=5)
    monkeypatch.setattr(pca, "_SLAB", 12 * 7)
    rows = Elsewhere(block)
    found = fit_pca(rows, variance=1.0, max_components=5)
    directions, ratio = as_before(block)
    for name in ("mean", "components", "explained_variance_ratio"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(found.components * directions[:5], axis=1)), 1, rtol=1e-12)
    np.testing.assert_allclose(found.explained_variance_ratio, ratio[:5], rtol=1e-10)
    np.testing.assert_allclose(found.scores(rows), whole.scores(block), atol=1e-9)
    assert rows.most == 7


def test_a_row_that_is_no_number_is_named_wherever_it_lies(data, monkeypatch):
    monkeypatch.setattr(pca, "_SLAB", 12 * 7)
    data[150, 2] = np.inf
    with pytest.raises(DataError, match="activations, counted from row 147, is not finite at row 3, column 2"):
        fit_pca(Elsewhere(data), variance=0.9, max_components=3)


def test_what_cannot_be_reduced_is_refused(data):
    settings = {"variance": 0.9, "max_components": 3}
    with pytest.raises(NumericsError, match="1 rows are too few"):
        fit_pca(data[:1], **settings)
    data[7, 2] = np.nan
    with pytest.raises(DataError, match="activations is not finite at row 7, column 2"):
        fit_pca(data, **settings)
    with pytest.raises(ConfigError, match="variance must be above 0 and at most 1, found 0"):
        fit_pca(data[:7], variance=0, max_components=3)
    with pytest.raises(DataError, match="activations have 11 columns, this basis was fitted to 12"):
        fit_pca(np.nan_to_num(data), **settings).scores(np.nan_to_num(data)[:, 1:])


@pytest.mark.parametrize("value", [0.0, 1e9, 0.1])
def test_a_constant_block_has_no_component_and_says_so(value):
    block = np.full((10, 4), value)
    basis = fit_pca(block, variance=0.9, max_components=3)
    assert basis.scores(block).shape == (10, 0)
    assert "constant and carries no information" in basis.note
    assert fit_pca(np.eye(4), variance=0.9, max_components=3).note == ""


@pytest.mark.parametrize("rows", [200, 8])
@pytest.mark.parametrize("offset", [1e7, 1e12])
def test_an_offset_costs_no_more_than_its_own_rounding(data, rows, offset):
    """What is squared before it is centred loses the subspace at an offset of 1e7 standard deviations."""
    near = fit_pca(data[:rows], variance=1.0, max_components=3)
    far = fit_pca(data[:rows] + offset, variance=1.0, max_components=3)
    lost = np.linalg.norm(near.components - near.components @ far.components.T @ far.components)
    assert lost < 1e-15 * offset


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_units_do_not_matter(data, scale):
    plain = fit_pca(data, variance=0.99, max_components=5)
    other = fit_pca(data * scale, variance=0.99, max_components=5)
    np.testing.assert_allclose(other.components, plain.components, atol=1e-12)
