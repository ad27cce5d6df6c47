"""Laws of the public numerics over random input: what holds for every system, and that nothing else than a result comes
out of the gate but one of our errors."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from pidflow.errors import PidflowError
from pidflow.flows.pca import fit_pca
from pidflow.groups import grouped_folds, permuted_rows
from pidflow.pid.bias import consistent_union, mi_bias
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.estimate import estimate_mi, estimate_pid
from pidflow.pid.gaussian import ATOMS, DEFINITIONS, gaussian_pid
from pidflow.pid.gaussian_system import gaussian_mi
from pidflow.stats import normal_scores

EXACT = 1e-7


def law(examples):
    """Examples that are the same in every run, without a clock."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@st.composite
def systems(draw):
    """A covariance of blocks of random widths, well conditioned up to a few strong correlations, and the widths."""
    dims = draw(WIDTHS)
    rng = np.random.default_rng(draw(SEEDS))
    loadings = rng.standard_normal((sum(dims), draw(st.integers(1, 5)))) * draw(st.sampled_from([0.1, 1.0, 5.0]))
    return loadings @ loadings.T + np.diag(rng.uniform(0.2, 2.0, sum(dims))), dims


@st.composite
def tables(draw):
    """A table of probabilities of three variables, with zeros."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)))
    rng = np.random.default_rng(draw(SEEDS))
    table = rng.dirichlet(np.full(np.prod(shape), draw(st.sampled_from([0.3, 1.0, 5.0])))).reshape(shape)
    table = np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.3])), 0.0, table)
    assume(table.sum() > 0.1)
    return table / table.sum()


@st.composite
def samples(draw, *, n=60):
    """Rows of two sources and a target: Gaussian, coarse, constant in places, in any unit."""
    dims = draw(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)))
    rng = np.random.default_rng(draw(SEEDS))
    common = rng.standard_normal((n, 2))
    blocks = []
    for d in dims:
        block = common @ rng.standard_normal((2, d)) + rng.standard_normal((n, d))
        kind = draw(st.sampled_from(["plain", "plain", "plain", "coarse", "constant", "cubed"]))
        block = {"coarse": np.round(block), "constant": np.ones_like(block), "cubed": block**3}.get(kind, block)
        blocks.append(block * 10.0 ** draw(st.integers(-30, 30)))
    return blocks


def atoms_of(result):
    return np.array([float(getattr(result, name)) for name in ATOMS])


def turned(rng, d):
    """An invertible matrix of moderate condition."""
    return np.linalg.qr(rng.standard_normal((d, d))).Q * rng.uniform(0.5, 2.0, d)


class TestGaussian:
    @law(60)
    @given(systems(), st.sampled_from(DEFINITIONS))
    def test_atoms_add_up_and_none_but_synergy_beyond_range(self, system, definition):
        cov, dims = system
        found = gaussian_pid(cov, dims, definition=definition)
        redundancy, unique_1, unique_2, synergy = atoms_of(found)
        assert redundancy + unique_1 == pytest.approx(float(found.mi_1), abs=EXACT)
        assert redundancy + unique_2 == pytest.approx(float(found.mi_2), abs=EXACT)
        assert redundancy + unique_1 + unique_2 + synergy == pytest.approx(float(found.mi_12), abs=EXACT)
        if definition != "dep":
            assert min(redundancy, unique_1, unique_2, synergy) > -EXACT

    @law(40)
    @given(systems(), st.sampled_from(DEFINITIONS))
    def test_swapping_the_sources_swaps_their_uniques(self, system, definition):
        cov, (d1, d2, m) = system
        order = np.r_[d1 : d1 + d2, 0:d1, d1 + d2 : d1 + d2 + m]
        redundancy, unique_1, unique_2, synergy = atoms_of(gaussian_pid(cov, (d1, d2, m), definition=definition))
        swapped = atoms_of(gaussian_pid(cov[np.ix_(order, order)], (d2, d1, m), definition=definition))
        np.testing.assert_allclose(swapped, [redundancy, unique_2, unique_1, synergy], atol=EXACT)

    @law(40)
    @given(systems(), SEEDS, st.sampled_from(DEFINITIONS))
    def test_invertible_maps_of_each_block_change_nothing(self, system, seed, definition):
        cov, dims = system
        rng = np.random.default_rng(seed)
        maps = np.zeros_like(cov)
        for d, end in zip(dims, np.cumsum(dims), strict=True):
            maps[end - d : end, end - d : end] = turned(rng, d)
        one, two = (gaussian_pid(c, dims, definition=definition) for c in (cov, maps @ cov @ maps.T))
        np.testing.assert_allclose(atoms_of(two), atoms_of(one), atol=1e-6)

    @law(40)
    @given(systems())
    def test_what_is_lost_of_a_source_is_lost_information(self, system):
        """Data processing: without its last column a source knows no more; noise on a source makes it know less."""
        cov, (d1, d2, m) = system
        assume(d1 > 1)
        less = np.delete(np.delete(cov, d1 - 1, axis=0), d1 - 1, axis=1)
        noisy = cov + np.diag(np.r_[np.ones(d1), np.zeros(d2 + m)])
        whole = gaussian_pid(cov, (d1, d2, m))
        for poorer in (gaussian_pid(less, (d1 - 1, d2, m)), gaussian_pid(noisy, (d1, d2, m))):
            assert float(poorer.mi_1) < float(whole.mi_1) + EXACT
            assert float(poorer.mi_12) < float(whole.mi_12) + EXACT
            assert float(poorer.unique_1) < float(whole.unique_1) + EXACT

    @law(25)
    @given(systems(), systems())
    def test_independent_systems_side_by_side_add_up(self, first, second):
        (one, dims), (two, others) = first, second
        order = np.argsort(np.r_[np.repeat(range(3), dims), np.repeat(range(3), others)], kind="stable")
        both = np.block([[one, np.zeros((len(one), len(two)))], [np.zeros((len(two), len(one))), two]])
        found = gaussian_pid(both[np.ix_(order, order)], np.add(dims, others))
        expected = atoms_of(gaussian_pid(one, dims)) + atoms_of(gaussian_pid(two, others))
        np.testing.assert_allclose(atoms_of(found), expected, atol=1e-6)

    @law(25)
    @given(systems())
    def test_a_copy_of_a_source_is_redundant(self, system):
        cov, (d1, d2, m) = system
        order = np.r_[0:d1, 0:d1, d1 + d2 : d1 + d2 + m]
        found = gaussian_pid(cov[np.ix_(order, order)], (d1, d1, m))
        np.testing.assert_allclose(atoms_of(found), [float(found.mi_1), 0, 0, 0], atol=1e-6)

    @law(60)
    @given(arrays_of.arrays(np.float64, (3, 3), elements=st.floats(-1.5, 1.5)))
    def test_whatever_matrix_it_is_the_answer_keeps_the_laws(self, half):
        matrix = half + half.T
        try:
            found = gaussian_pid(matrix, (1, 1, 1))
        except PidflowError:
            return
        assert np.linalg.eigvalsh(matrix).min() > -1e-6 * np.abs(matrix).max()
        assert atoms_of(found).min() > -1e-5
        assert float(found.mi_12) > max(float(found.mi_1), float(found.mi_2)) - 1e-5


class TestDiscrete:
    @law(40)
    @given(tables())
    def test_atoms_add_up_and_none_is_negative(self, pmf):
        found = discrete_pid(pmf)
        atoms = atoms_of(found)
        assert atoms.sum() == pytest.approx(float(found.mi_12), abs=EXACT)
        assert atoms[0] + atoms[1] == pytest.approx(float(found.mi_1), abs=EXACT)
        assert atoms.min() > -1e-6

    @law(25)
    @given(tables(), SEEDS)
    def test_names_of_symbols_do_not_matter(self, pmf, seed):
        rng = np.random.default_rng(seed)
        renamed = pmf[np.ix_(*(rng.permutation(k) for k in pmf.shape))]
        np.testing.assert_allclose(atoms_of(discrete_pid(renamed)), atoms_of(discrete_pid(pmf)), atol=1e-6)

    @law(25)
    @given(tables())
    def test_swapping_the_sources_swaps_their_uniques(self, pmf):
        swapped = atoms_of(discrete_pid(pmf.swapaxes(0, 1)))
        np.testing.assert_allclose(swapped, atoms_of(discrete_pid(pmf))[[0, 2, 1, 3]], atol=1e-6)

    @law(20)
    @given(tables(), st.lists(st.floats(0.05, 1.0), min_size=2, max_size=3))
    def test_a_variable_that_is_independent_of_all_adds_nothing(self, pmf, weights):
        """Beside the first source, and as symbols that split it without saying more."""
        share = np.array(weights) / np.sum(weights)
        product = (share[:, None, None, None] * pmf).reshape(-1, *pmf.shape[1:])
        np.testing.assert_allclose(atoms_of(discrete_pid(product)), atoms_of(discrete_pid(pmf)), atol=1e-5)

    @law(20)
    @given(tables())
    def test_merged_symbols_of_a_source_know_no_more(self, pmf):
        assume(pmf.shape[0] > 1)
        merged = np.concatenate([pmf[:1] + pmf[1:2], pmf[2:]])
        whole, poorer = discrete_pid(pmf), discrete_pid(merged)
        assert float(poorer.mi_1) < float(whole.mi_1) + EXACT
        assert float(poorer.unique_1) < float(whole.unique_1) + 1e-6


class TestEstimates:
    @law(25)
    @given(samples(), st.sampled_from(["gaussian", "copula"]), st.sampled_from(DEFINITIONS))
    def test_atoms_add_up_on_whatever_rows(self, rows, estimator, definition):
        try:
            found = estimate_pid(*rows, estimator=estimator, definitions=definition)[definition]
        except PidflowError:
            return
        values = atoms_of(found)
        assert np.isfinite([*values, *found.se.values()]).all()
        assert values.sum() == pytest.approx(found.mi_12, abs=EXACT)
        assert values[0] + values[2] == pytest.approx(found.mi_2, abs=EXACT)
        constant = [np.ptp(block) == 0 for block in rows]
        if any(constant):
            assert sum("carries 0 bits" in warning for warning in found.warnings) == sum(constant)
        for block, mi in ((0, found.mi_1), (1, found.mi_2)):
            assert mi == 0 or not (constant[block] or constant[2])

    @law(15)
    @given(samples(), SEEDS)
    def test_rank_estimates_do_not_feel_monotone_warps(self, rows, seed):
        scaled = [(block - block.mean()) / (block.std() or 1.0) for block in rows]
        try:
            plain = estimate_mi(scaled[0], scaled[2], estimator="copula", seed=seed)
        except PidflowError:
            return
        warped = estimate_mi(scaled[0] ** 3, np.exp(scaled[2]), estimator="copula", seed=seed)
        assert warped.bits == pytest.approx(plain.bits, abs=1e-9)

    @law(20)
    @given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 200))
    def test_bias_is_positive_symmetric_and_falls_with_rows(self, p, q, more):
        n = p + q + more
        assert mi_bias(n, p, q) == pytest.approx(mi_bias(n, q, p))
        assert mi_bias(n, p, q) > mi_bias(n + 1, p, q) > 0 == mi_bias(n, p, 0)

    @law(60)
    @given(st.tuples(*[st.floats(-1, 5)] * 4))
    def test_a_consistent_union_leaves_no_negative_atom_where_there_is_room(self, values):
        union, mi_1, mi_2, mi_12 = values
        inside, _ = consistent_union(union, mi_1, mi_2, mi_12)
        if max(mi_1, mi_2) <= min(mi_1 + mi_2, mi_12):
            assert min(mi_1 + mi_2 - inside, inside - mi_1, inside - mi_2, mi_12 - inside) > -1e-12


class TestRows:
    @law(40)
    @given(st.lists(st.integers(0, 15), min_size=2, max_size=60), st.integers(2, 6), SEEDS)
    def test_folds_keep_groups_whole_and_sizes_close(self, groups, folds, seed):
        try:
            found = grouped_folds(len(groups), folds=folds, groups=groups, seed=seed)
        except PidflowError:
            assert len(set(groups)) < folds
            return
        assert all(len(set(found[np.equal(groups, group)])) == 1 for group in groups)
        assert np.ptp(np.bincount(found, minlength=folds)) <= np.bincount(groups).max()

    @law(25)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=40), SEEDS)
    def test_null_pairings_are_permutations(self, groups, seed):
        sources, targets = permuted_rows(len(groups), 3, groups=groups, seed=seed)
        for order in (sources, *targets):
            np.testing.assert_array_equal(np.sort(order), np.arange(len(groups)))

    @law(40)
    @given(arrays_of.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=st.floats(-9, 9)))
    def test_normal_scores_keep_order_and_ties(self, block):
        scores = normal_scores(block)
        for column, score in zip(block.T, scores.T, strict=True):
            order = np.argsort(column, kind="stable")
            assert (np.diff(score[order]) >= 0).all()
            assert ((np.diff(column[order]) == 0) == (np.diff(score[order]) == 0)).all()

    @law(25)
    @given(SEEDS, st.floats(0.3, 1.0), st.sampled_from([0.0, 1e6]))
    def test_components_are_orthonormal_and_hold_the_variance(self, seed, share, offset):
        rng = np.random.default_rng(seed)
        block = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 6)) + offset
        basis = fit_pca(block, variance=share, max_components=6)
        np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(len(basis.components)), atol=1e-9)
        assert basis.explained_variance_ratio.sum() >= share - 1e-9


NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**70), 2**70),
    st.complex_numbers(),
    st.text(max_size=3),
    st.none(),
    st.booleans(),
    st.dates(),
)
ODD = st.one_of(
    arrays_of.arrays(
        st.sampled_from(["f2", "f4", "f8", "i1", "u8", "c8", "?", "U2", "M8[s]", "m8[s]"]),
        arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    ),
    st.lists(NUMBERS, max_size=4),
    st.lists(st.lists(NUMBERS, max_size=3), max_size=4),
    st.sampled_from(
        [None, "", "abc", {}, {1}, b"x", ..., object, lambda: 1, range(3), iter([1.0]), np.float64, 10**400]
    ),
)


def result_or_our_error(call):
    """Nothing but a result or one of our errors; a warning of numpy's is neither."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return call()
        except PidflowError as err:
            said = str(err)
    assert "\n" not in said
    return None


class TestGate:
    @law(200)
    @given(ODD, st.one_of(WIDTHS, ODD))
    def test_any_covariance(self, cov, dims):
        found = result_or_our_error(lambda: gaussian_pid(cov, dims))
        assert found is None or np.isfinite(found.mi_12).all()
        found = result_or_our_error(lambda: gaussian_mi(cov, (1, 1)))
        assert found is None or np.isfinite(found).all()

    @law(150)
    @given(ODD)
    def test_any_table(self, pmf):
        found = result_or_our_error(lambda: discrete_pid(pmf))
        assert found is None or np.isfinite(found.union).all()

    @law(150)
    @given(ODD, st.sampled_from(["x1", "x2", "y", "groups"]))
    def test_any_block(self, odd, name):
        rng = np.random.default_rng(0)
        arguments = {key: rng.standard_normal((30, 1)) for key in ("x1", "x2", "y")} | {name: odd}
        found = result_or_our_error(lambda: estimate_pid(**arguments, estimator="gaussian"))
        assert found is None or name == "groups"

    @law(150)
    @given(st.data(), st.sampled_from(["gaussian", "copula"]))
    def test_any_numbers(self, data, estimator):
        """Columns of any floats at all: huge, tiny, tied, all but constant, now and then one that is no number."""
        floats = st.floats(width=data.draw(st.sampled_from([16, 32, 64])), allow_nan=False)
        floats = data.draw(
            st.sampled_from([floats, st.floats(-1e-300, 1e-300), st.floats(1e16, 1e16 + 64), st.floats()])
        )
        shapes = st.tuples(st.just(30), st.integers(1, 2))
        rows = [data.draw(arrays_of.arrays(np.float64, shapes, elements=floats, fill=st.nothing())) for _ in range(2)]
        plain = np.random.default_rng(0).standard_normal((30, 1))
        found = result_or_our_error(lambda: estimate_pid(*rows, plain, estimator=estimator))
        for estimate in (found or {}).values():
            assert np.isfinite([*atoms_of(estimate), estimate.mi_12, *estimate.se.values()]).all()

    @law(150)
    @given(ODD, st.sampled_from(["permutations", "jackknife", "seed", "definitions", "estimator", "folds"]))
    def test_any_setting(self, odd, name):
        rng = np.random.default_rng(0)
        x1, x2, y = rng.standard_normal((3, 30, 1))
        arguments = {"estimator": "gaussian", name: odd}
        found = result_or_our_error(lambda: estimate_pid(x1, x2, y, **arguments))
        assert found is None or name in ("seed", "jackknife", "permutations", "folds")

    @law(100)
    @given(ODD, ODD, ODD)
    def test_any_rows_and_folds(self, odd, other, third):
        result_or_our_error(lambda: fit_pca(odd, variance=other, max_components=third))
        result_or_our_error(lambda: normal_scores(odd))
        result_or_our_error(lambda: grouped_folds(odd, folds=other, groups=third))
        result_or_our_error(lambda: grouped_folds(4, folds=2, groups=odd, seed=other))
        result_or_our_error(lambda: mi_bias(odd, other, third))
        result_or_our_error(lambda: consistent_union(odd, other, third, 1.0))
