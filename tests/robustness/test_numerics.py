"""Bad inputs of the public numerics, each with its sentence; and odd ones that are right, each with its result."""

import datetime
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from pidflow import estimate_mi, estimate_pid, gaussian_mi, gaussian_pid, paired_difference
from pidflow.errors import PidflowError
from pidflow.flows.gaussianize import apply, gaussianize, gaussianize_layers
from pidflow.flows.normality import gaussianity
from pidflow.flows.pca import fit_pca
from pidflow.flows.settings import FlowConfig
from pidflow.groups import grouped_folds, permuted_rows
from pidflow.pid.batch_estimator import batch_pid
from pidflow.pid.bias import consistent_union, mi_bias
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.spectrum.scores import confident_or_uniform
from pidflow.stats import clustered_mean, jackknife_se, normal_scores
from pidflow.validation.critic import CriticConfig, critic_information
from pidflow.validation.missed import missed_information
from pidflow.validation.planted_cases import planted_cases

N = 60
RNG = np.random.default_rng(0)
Y = RNG.standard_normal((N, 2))
X1, X2 = Y + RNG.standard_normal((N, 2)), Y + RNG.standard_normal((N, 2))
FOLDS = np.arange(N) % 2
COV = np.array([[1.0, 0.48, 0.8], [0.48, 1.0, 0.6], [0.8, 0.6, 1.0]])
SAID = np.tile([0.25, 0.75], (N, 1))
QUICK = FlowConfig(max_steps=10)


def gaussian(x1=X1, x2=X2, y=Y, **settings):
    return estimate_pid(x1, x2, y, **({"estimator": "gaussian", "definitions": "broja"} | settings))


def latents(x1=X1, x2=X2, y=Y, **settings):
    return estimate_pid_from_latents(x1, x2, y, **settings)


def information(x=X1, y=Y, **settings):
    return estimate_mi(x, y, **({"estimator": "gaussian"} | settings))


def flow(x1=X1, x2=X2, y=Y, **settings):
    return gaussianize(x1, x2, y, **({"folds": FOLDS, "config": QUICK} | settings))


def critic(x1=X1, x2=X2, y=Y, **settings):
    return critic_information((x1, x2, y), **({"folds": FOLDS} | settings))


def batch(x1=X1, x2=X2, p1=SAID, p2=SAID, p12=SAID, **settings):
    return batch_pid(x1, x2, p1, p2, p12, **settings)


def pca(data=X1, variance=0.9, max_components=2):
    return fit_pca(data, variance=variance, max_components=max_components)


def folds_of(n=N, folds=5, **settings):
    return grouped_folds(n, folds=folds, **settings)


def planted(n=N, dims=(2, 2, 2), **settings):
    return list(planted_cases(n, dims, **settings))


def changed(block, row, value):
    out = block.copy()
    out[row, 0] = value
    return out


def interval(quantity="synergy", level=0.95):
    return gaussian()["broja"].interval(quantity, level=level)


def moved(by):
    cov = np.tile(COV, (4, 1, 1))
    cov[2] += by
    return cov


COPIES = [[1, 1, 0.9], [1, 1, -0.9], [0.9, -0.9, 1]]
PMF = np.full((2, 2, 2), 0.125)

REFUSED = {
    "copies that know different things": (
        partial(gaussian_pid, COPIES, (1, 1, 1)),
        "semi-definite.*differ",
    ),
    "one bad system of four": (partial(gaussian_pid, moved(np.eye(3)[::-1]), (1, 1, 1)), r"problem \(2,\) of a batch"),
    "covariance that is no covariance": (
        partial(gaussian_pid, [[1, 2], [2, 1]], (1, 1, 0)),
        "a correlation of 2 is beyond 1",
    ),
    "block with a negative direction": (
        partial(gaussian_pid, [[1, -0.6, -0.6], [-0.6, 1, -0.6], [-0.6, -0.6, 1]], (3, 0, 0)),
        "the block of x1 has an eigenvalue of -0.2",
    ),
    "negative variance": (partial(gaussian_pid, -COV, (1, 1, 1)), "x1 is degenerate: its column 0 has variance -1"),
    "constant column in a covariance": (partial(gaussian_pid, COV * [0, 1, 1], (1, 1, 1)), "has variance 0"),
    "covariance of another size": (partial(gaussian_pid, COV, (1, 1, 2)), r"cov must have shape \(..., 4, 4\)"),
    "covariance that is not symmetric": (partial(gaussian_pid, COV + np.triu(COV, 1), (1, 1, 1)), "not symmetric"),
    "covariance with NaN": (partial(gaussian_pid, COV * np.nan, (1, 1, 1)), "cov is not finite at row 0, column 0"),
    "complex covariance": (partial(gaussian_pid, COV + 1j * np.eye(3), (1, 1, 1)), "cov holds complex numbers"),
    "masked covariance": (partial(gaussian_pid, np.ma.array(COV, mask=COV == 0.8), (1, 1, 1)), "cov is masked in 2"),
    "covariance as text": (partial(gaussian_pid, COV.astype(str), (1, 1, 1)), "cov holds text"),
    "covariance of dates": (partial(gaussian_mi, COV.astype("M8[s]"), (1, 2)), "cov holds dates"),
    "ragged covariance": (partial(gaussian_mi, [[1, 2], [3]], (1, 1)), "cov is no array"),
    "sparse covariance": (partial(gaussian_mi, scipy.sparse.eye_array(3), (1, 2)), r"pass cov.toarray\(\)"),
    "covariance that is None": (partial(gaussian_mi, None, (1, 2)), "cov must be an array, found None"),
    "fractional dims": (partial(gaussian_pid, COV, (1.5, 0.5, 1)), "must be 3 whole numbers of at least 0"),
    "dims as bools": (partial(gaussian_pid, COV, (True, True, True)), "must be 3 whole numbers"),
    "dims as text": (partial(gaussian_pid, COV, "111"), "must be 3 whole numbers.*found '111'"),
    "dims as a number": (partial(gaussian_mi, COV, 3), r"dims=\(x, y\) must be 2 whole numbers"),
    "unknown definition": (
        partial(gaussian_pid, COV, (1, 1, 1), definition="imin"),
        "one of broja, mmi, dep, found 'imin'",
    ),
    "definition that is a list": (
        partial(gaussian_pid, COV, (1, 1, 1), definition=["mmi"]),
        "definition must be one of",
    ),
    "tolerance of NaN": (partial(gaussian_pid, COV, (1, 1, 1), tol_bits=np.nan), "tol_bits must be a finite number"),
    "copied target": (partial(gaussian_mi, np.ones((2, 2)), (1, 1)), r"I\(x; y\) is infinite"),
    "table of two axes": (partial(discrete_pid, np.full((2, 2), 0.25)), "pmf must have shape"),
    "table with an empty axis": (partial(discrete_pid, np.zeros((2, 0, 2))), "no empty axis"),
    "table of counts": (partial(discrete_pid, PMF * 8), "must sum to one .* divide counts by their sum"),
    "table of logarithms": (partial(discrete_pid, np.log(PMF)), "holds negative values"),
    "masked table": (partial(discrete_pid, np.ma.array(PMF, mask=PMF > 0)), "pmf is masked"),
    "table off beyond float32": (partial(discrete_pid, np.float32(PMF * 1.00001)), "must sum to one within"),
    "table beyond memory": (
        partial(discrete_pid, np.broadcast_to(1 / (300 * 300 * 120), (300, 300, 120))),
        r"300 x 300 x 120 would take about \d+ GB of memory",
    ),
    "table tolerance as text": (partial(discrete_pid, PMF, tol_bits="1e-6"), "tol_bits must be a finite number"),
    "masked rows": (partial(gaussian, np.ma.array(X1, mask=X1 > 1)), "x1 is masked in"),
    "complex rows": (partial(gaussian, y=Y + 1j), "y holds complex numbers"),
    "text digits": (partial(gaussian, x2=X2.astype(str)), "x2 holds text"),
    "dates": (partial(gaussian, x2=np.arange(N).astype("M8[D]")), "x2 holds dates"),
    "objects": (
        partial(gaussian, [object()] * N),
        r"x1 must hold real numbers, found <object",
    ),
    "ragged rows": (partial(gaussian, [[1.0, 2.0]] * (N - 1) + [[1.0]]), "x1 is no array: .* rows of equal length"),
    "sparse rows": (partial(gaussian, scipy.sparse.csr_matrix(X1)), r"pass x1.toarray\(\)"),
    "sparse tensor": (partial(gaussian, torch.tensor(X1).to_sparse()), r"pass x1.to_dense\(\)"),
    "frame with a word": (partial(gaussian, pd.DataFrame(X1).assign(word="a")), "found 'a' at index"),
    "series with a gap": (partial(gaussian, pd.Series([None, *range(N - 1)])), "x1 is not finite at row 0"),
    "infinite row": (partial(gaussian, changed(X1, 7, np.inf)), r"x1 is not finite at row 7, column 0 \(inf\)"),
    "identifiers as numbers": (partial(gaussian, np.arange(N) + 2**60), "integers beyond 2\\^53"),
    "rows that are no rows": (partial(gaussian, np.zeros((0, 2)), X2[:0], Y[:0]), "x1 has no rows"),
    "rows of three axes": (partial(gaussian, X1[None]), r"x1 must have shape \(n,\) or \(n, d\), found \(1, 60, 2\)"),
    "a generator of rows": (partial(gaussian, (row for row in X1)), "x1 must be an array, found <generator"),
    "rows of different lengths": (partial(gaussian, X1[:50]), "same rows, found x1 50, x2 60, y 60"),
    "fewer rows than columns": (partial(gaussian, X1[:6], X2[:6], Y[:6]), "6 rows are too few for 6 columns"),
    "a duplicate column": (partial(gaussian, X1[:, [0, 0]]), "x1 is degenerate: its covariance has rank 1 of 2"),
    "a column of one row": (partial(gaussian, changed(X1 * [0, 1], 3, 1)), "when some of the rows are left out"),
    "one group label missing": (partial(gaussian, groups=[None] + ["a"] * (N - 1)), "groups has no label at row 0"),
    "group labels NaN": (partial(gaussian, groups=changed(Y, 2, np.nan)[:, 0]), "groups has no label at row 2"),
    "mixed group labels": (partial(gaussian, groups=[1, "1"] * (N // 2)), r"mixes or nests labels \(int, str\)"),
    "too few groups": (partial(gaussian, groups=np.arange(N) % 3), "at least 5 blocks of rows, found .* 3 groups"),
    "groups of another length": (partial(gaussian, groups=np.arange(9)), r"groups must have shape \(60,\)"),
    "negative seed": (partial(gaussian, seed=-1), "seed must be a whole number of at least 0, found -1"),
    "seed beyond files": (partial(gaussian, seed=2**63), "seed must be a whole number of at least 0"),
    "seed that is true": (partial(gaussian, seed=True), r"seed must be .* found True \(bool\)"),
    "no permutation": (partial(gaussian, permutations=0), "permutations must be a whole number from 20 to 10000"),
    "endless permutations": (partial(gaussian, permutations=10**9), "permutations must be .* to 10000"),
    "fractional jackknife": (partial(gaussian, jackknife=7.5), "jackknife must be a whole number from 1 to 10000"),
    "jackknife as a bool": (partial(gaussian, jackknife=True), r"jackknife must be .* found True \(bool\)"),
    "endless jackknife": (partial(gaussian, jackknife=10**12), "jackknife must be a whole number"),
    "jackknife of two": (partial(gaussian, jackknife=2), "at least 5 blocks of rows, found jackknife=2"),
    "no definitions": (partial(gaussian, definitions=[]), "definitions must be taken from .* found none"),
    "unknown definitions": (partial(latents, definitions=iter(["imin"])), "found 'imin'"),
    "unknown estimator": (partial(gaussian, estimator="linear"), "estimator must be one of .* found 'linear'"),
    "estimator None": (partial(information, estimator=None), "estimator must be one of .* found None"),
    "one fold": (partial(gaussian, estimator="flow", folds=1), "folds must be a whole number from 2"),
    "information of unequal rows": (partial(information, X1[:9]), "same rows, found x 9, y 60"),
    "information of text": (partial(information, list("ab") * (N // 2)), "x holds text"),
    "level in percent": (partial(interval, level=95), "level, a share such as 0.95, must be above 0 and below 1"),
    "level that is none": (partial(interval, level=None), "level, .* must be a finite number"),
    "interval of an unknown quantity": (partial(interval, "entropy"), "quantity must be one of redundancy"),
    "difference of all definitions": (
        lambda: paired_difference(gaussian(), gaussian()["broja"]),
        "first must be the estimate of one definition",
    ),
    "more folds than rows": (partial(folds_of, 4), "5 folds need at least 5 rows, found 4"),
    "folds as text": (partial(folds_of, folds="5"), "folds must be a whole number"),
    "rows as a bool": (partial(folds_of, True), "n must be a whole number"),
    "pairings without a number": (partial(permuted_rows, N, 2.5), "count must be a whole number"),
    "bias of too few rows": (partial(mi_bias, 4, 2, 2), "needs more than 4 rows, found 4"),
    "bias of half a column": (partial(mi_bias, 40, 2.5, 2), "p must be a whole number"),
    "union of text": (partial(consistent_union, "1", 0, 0, 0), "union must be an array"),
    "mean of NaN": (partial(clustered_mean, [np.nan, 1], [0, 1]), "values is not finite at row 0"),
    "mean without groups for all": (partial(clustered_mean, [1.0, 2.0], [0]), r"groups must have shape \(2,\)"),
    "error of no replicates": (partial(jackknife_se, []), "an error needs replicates"),
    "scores of text": (partial(normal_scores, ["a"]), "values holds text"),
    "flow of a constant column": (partial(flow, y=Y * [1, 0]), r"columns \[1\] of y are constant"),
    "flow of a repeated column": (partial(flow, X1[:, [0, 0]]), "1 of 2 columns of x1 are combinations of the others"),
    "flow of NaN": (partial(flow, changed(X1, 0, np.nan)), "x1 is not finite at row 0, column 0"),
    "flow without folds": (partial(flow, folds=np.zeros(N)), "at least two folds, found one label"),
    "flow of half folds": (partial(flow, folds=FOLDS + 0.5), "fold labels must be whole numbers, found 0.5"),
    "flow with few rows": (partial(flow, RNG.standard_normal((N, 30))), "keep fewer components"),
    "flow on no device": (partial(flow, device="abacus"), "device 'abacus' cannot be used"),
    "flow of a mapping of settings": (partial(flow, config={"stages": 2}), "config must be a FlowConfig"),
    "flow without steps": (lambda: FlowConfig(max_steps=0), "max_steps: found 0, expected a whole number"),
    "flow with steps of NaN": (lambda: FlowConfig(learning_rate=np.nan), "learning_rate: found nan"),
    "flow of no layers": (partial(gaussianize_layers, [], [], Y, folds=FOLDS), "at least one; found 0, 0"),
    "flow of unequal layers": (partial(gaussianize_layers, [X1], [X2, X2], Y, folds=FOLDS), "found 1, 2 and 1"),
    "stored flow of other rows": (
        lambda: apply(flow().weights, X1, X2, Y, folds=FOLDS[:9]),
        r"folds has shape \(9,\), expected \(60,\)",
    ),
    "normality of a constant": (partial(gaussianity, np.ones((N, 2))), "columns that vary, found 2 of 2 constant"),
    "normality of few rows": (partial(gaussianity, X1[:3]), "at least 4 rows, found 3"),
    "components of NaN": (partial(pca, changed(X1, 5, np.nan)), "activations is not finite at row 5"),
    "components of one row": (partial(pca, X1[:1]), "1 rows are too few for principal components"),
    "components of no columns": (partial(pca, X1[:, :0]), "activations have no columns"),
    "components of all variance twice": (partial(pca, variance=2), "variance must be above 0 and at most 1, found 2"),
    "no components": (partial(pca, max_components=0), "max_components must be a whole number from 1"),
    "scores of another width": (lambda: pca().scores(Y[:, :1]), "1 columns, this basis was fitted to 2"),
    "critic without folds": (partial(critic, folds=np.zeros(N)), "at least two folds"),
    "critic of two blocks": (partial(critic_information, (X1, Y), folds=FOLDS), "three blocks .* found 2"),
    "critic of NaN": (partial(critic, y=changed(Y, 1, np.nan)), "y is not finite at row 1"),
    "critic of odd products": (partial(critic, config=CriticConfig(products=3)), "critic products must be even"),
    "critic of no steps": (partial(critic, config=CriticConfig(max_steps=0)), "critic max_steps must be"),
    "critic without representation": (partial(critic_information, folds=FOLDS), "at least one representation"),
    "bound of other rows": (partial(missed_information, X1, X2, Y, bound=[0.0]), r"the bound has shape \(1,\)"),
    "bound of NaN": (partial(missed_information, X1, X2, Y, bound=np.full(N, np.nan)), "bound is not finite at row 0"),
    "predictions that are logits": (partial(batch, p1=SAID * 9 - 5), "p_y_x1 must be probabilities"),
    "predictions without sum": (partial(batch, p2=SAID * 0.8), "p_y_x2: row 0 sums to 0.8"),
    "predictions of other labels": (partial(batch, p12=np.full((N, 3), 1 / 3)), "one set of labels"),
    "coupling of few rows": (partial(batch, *(each[:9] for each in (X1, X2, SAID, SAID, SAID))), "at least 20 rows"),
    "coupling without steps": (partial(batch, max_steps=0), "max_steps must be a whole number from 1"),
    "coupling with half a layer": (partial(batch, hidden=0.5), "hidden must be a whole number"),
    "threshold in percent": (
        partial(confident_or_uniform, SAID, np.ones(len(SAID)), threshold=30),
        "threshold must be at least 0 and at most",
    ),
    "planted case that is unknown": (partial(planted, names=["moon"]), "names must be taken from .* found 'moon'"),
    "planted dims of two": (partial(planted, dims=(2, 2)), "must be 3 whole numbers of at least 1"),
    "planted rows as text": (partial(planted, "60"), "n must be a whole number"),
    "group labels as dates of objects": (
        partial(gaussian, groups=np.array([datetime.date(2020, 1, 1)] * N)),
        "mixes or nests labels",
    ),
}


def test_the_table_is_long():
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_sentence(name):
    call, sentence = REFUSED[name]
    with pytest.raises(PidflowError, match=sentence) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400


PLAIN = gaussian()["broja"].synergy

ACCEPTED = {
    "lists": (partial(gaussian, X1.tolist(), X2.tolist(), Y.tolist()), PLAIN),
    "a frame": (partial(gaussian, pd.DataFrame(X1, columns=["a", "b"])), PLAIN),
    "another order in memory": (partial(gaussian, np.asfortranarray(X1)), PLAIN),
    "a tensor with gradient": (partial(gaussian, torch.tensor(X1, requires_grad=True)), PLAIN),
    "an empty mask": (partial(gaussian, np.ma.array(X1)), PLAIN),
    "counts as floats": (partial(gaussian, permutations=20.0, jackknife=20.0, seed=0.0, folds=5.0), PLAIN),
    "definitions from a generator": (partial(gaussian, definitions=(d for d in ("dep", "broja"))), PLAIN),
    "groups as text": (partial(gaussian, groups=[f"image {i:02d}" for i in range(N)]), None),
    "groups as categories": (partial(gaussian, groups=pd.Categorical(np.arange(N) % 12)), None),
    "a constant column": (partial(gaussian, np.column_stack([X1, np.ones(N)])), PLAIN),
    "a boolean target": (partial(gaussian, y=Y[:, 0] > 0), None),
    "brain floats": (partial(gaussian, torch.tensor(X1).bfloat16()), PLAIN),
    "a large seed": (partial(gaussian, seed=2**63 - 1), None),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_input_that_is_right(name):
    call, expected = ACCEPTED[name]
    found = call()["broja"].synergy
    assert np.isfinite(found)
    if expected is not None:
        assert found == pytest.approx(expected, abs=0.01 if "brain" in name else 0.0)
