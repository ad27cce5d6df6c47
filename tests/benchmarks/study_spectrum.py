"""How far spectra of predictions are from what is known, as given and held against the joint predictions (`calibrate`).

    python tests/benchmarks/study_spectrum.py                # planted predictions: two minutes
    snakemake spectrum --cores 2 --configfile config/easy-vqa.yaml
    python tests/benchmarks/study_spectrum.py results        # predictions of easy-VQA in that run as well

Planted predictions are given as they are (`honest`), as a sure answer drawn from each (`overconfident`), and with a
sure guess in place of what the picture or the words alone tell (`guess`): what a model may say that reads noise. The
truth of easy-VQA is the table of what a picture shows, the question and the right answer over the whole split, on the
rows of the run.
"""

import argparse
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from pidflow.data.readers import easy_vqa
from pidflow.names import ATOMS
from pidflow.spectrum.clustered import clustered_predictions, merged_predictions
from pidflow.spectrum.decompose import PredictedRows, decompose_predictions
from pidflow.spectrum.labels import labels_of
from pidflow.spectrum.planted import planted_rows
from pidflow.spectrum.predictions_file import read_predictions
from pidflow.spectrum.scores import TAU, right, scored
from pidflow.spectrum.tuned_lens import calibrated

SYSTEMS = {
    "all alike": dict.fromkeys(ATOMS, 0.2),
    "synergy": dict.fromkeys(ATOMS, 0.0) | {"synergy": 0.8},
    "words": dict.fromkeys(ATOMS, 0.0) | {"unique_language": 0.6, "synergy": 0.2},
    "redundant": dict.fromkeys(ATOMS, 0.0) | {"redundancy": 0.6, "synergy": 0.2},
}
REPLACEMENTS = ("noise", "mean", "shuffle")


def disturbed(rows, how, rng):
    """Predictions of single sources as a model may give them; the joint ones stay."""
    if how == "honest":
        return rows
    labels = rows.joint.shape[1]

    def sure(p):
        """An answer drawn from each prediction, with certainty 0.96 and more."""
        drawn = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
        return 0.96 * np.eye(labels)[drawn] + 0.04 / labels

    if how == "overconfident":
        return replace(rows, vision=sure(rows.vision), language=sure(rows.language))
    return replace(rows, **{how.split()[-1]: sure(np.full_like(rows.joint, 1 / labels))})


def truth_of(truth, how):
    """Atoms in bits: a guess takes a source's information away, what is left is the other's or synergy."""
    if not how.startswith("guess"):
        return [truth[atom] for atom in ATOMS]
    vision = how.endswith("language")
    left = truth["redundancy"] + truth["unique_vision" if vision else "unique_language"]
    rest = truth["mi_joint"] - left
    return [0.0, left, 0.0, rest] if vision else [0.0, 0.0, left, rest]


def planted(sizes, labels, draws):
    print("planted predictions: errors of atoms in bits (R, vision, language, synergy), each of the system where worst")
    for how, n, k in product(("honest", "overconfident", "guess for vision", "guess for language"), sizes, labels):
        errors = np.array([mean_errors(bits, how, n, k, draws) for bits in SYSTEMS.values()])  # (systems, 2, atoms)
        worst = np.take_along_axis(errors, np.abs(errors).argmax(axis=0)[None], axis=0)[0]
        found = ["  ".join(f"{value:+.3f}" for value in row) for row in worst]
        print(f"{how:20} n {n:5} labels {k}   as given {found[0]}   calibrated {found[1]}", flush=True)


def mean_errors(bits, how, n, labels, draws):
    """Found minus true atoms, mean over draws: as given, and calibrated."""
    found = np.zeros((2, len(ATOMS)))
    for seed in range(draws):
        rows, truth = planted_rows(bits, labels, n, seed=seed)
        given = disturbed(rows, how, np.random.default_rng(seed))
        for place, used in enumerate((given, calibrated(given, seed=seed))):
            atoms = decompose_predictions(used, tolerance_bits=5e-3).bits
            found[place] += np.array([atoms[atom] for atom in ATOMS]) - truth_of(truth, how)
    return found / draws


def shown_in(questions):
    """Shape and colour of each picture, as far as answers tell them: "is no red shape present?" "no" tells red."""
    colours = {q.answer for q in questions if q.task == easy_vqa.TASKS["colour"]}
    shown = {}
    for q in questions:
        words = set(q.text.split())
        if q.task == easy_vqa.TASKS["yesno"]:
            holds = (q.answer == "yes") != bool(words & {"no", "not"})
        else:
            words, holds = {q.answer}, True
        told = words & (colours | set(easy_vqa.SHAPES)) if holds else ()
        shown.setdefault(q.image_index, {}).update({word in colours: word for word in told})
    return {image: tuple(sorted(each.items())) for image, each in shown.items()}


def entropy(*columns):
    """Joint entropy of columns, bits."""
    counts = np.array(list(Counter(zip(*columns, strict=True)).values())) / len(columns[0])
    return float(-(counts * np.log2(counts)).sum())


def exact(split="train"):
    """The numbers of the whole split by two readings: all pictures, and those whose shape and colour are both told."""
    asked = easy_vqa.questions(split)
    shown = shown_in(asked)
    for name, kept in (
        ("all pictures", asked),
        ("shape and colour told", [q for q in asked if len(shown[q.image_index]) == 2]),
    ):
        answer, text, seen = zip(*((q.answer, q.text, shown[q.image_index]) for q in kept), strict=True)
        left = entropy(text, answer) - entropy(text)
        print(
            f"easy-VQA {split}, {name}: {len(kept)} questions, {len({q.image_index for q in kept})} pictures; "
            f"H(A) {entropy(answer):.2f}  I(Q;A) {entropy(answer) - left:.2f}  "
            f"I(V;A) {entropy(answer) + entropy(seen) - entropy(seen, answer):.2f}  "
            f"I(V;A|Q) {left - entropy(text, seen, answer) + entropy(text, seen):.2f}"
        )


def known(rows, whole):
    """The right answers of some questions, and what picture and words alone tell about them by the table of all."""
    shown = shown_in(whole)
    place = {answer: i for i, answer in enumerate(sorted({q.answer for q in whole}))}
    tables = {}
    for q in whole:
        for key in (("picture", shown[q.image_index]), ("words", q.text)):
            tables.setdefault(key, np.zeros(len(place)))[place[q.answer]] += 1
    tables = {key: counts / counts.sum() for key, counts in tables.items()}
    return PredictedRows(
        vision=np.array([tables["picture", shown[q.image_index]] for q in rows]),
        language=np.array([tables["words", q.text] for q in rows]),
        joint=np.eye(len(place))[[place[q.answer] for q in rows]],
        images=np.array([q.image_index for q in rows]),
    )


def real(folder):
    exact()
    asked = easy_vqa.questions("train")
    for path in sorted(folder.glob("predictions/*/easy-train*.h5")):
        predictions = read_predictions(path)
        rows = [asked[int(each.split("-")[1])] for each in predictions.item_id]
        tasks = {q.task for q in rows}
        best = decompose_predictions(known(rows, [q for q in asked if q.task in tasks]), tolerance_bits=5e-3)
        print(f"\n{path.parent.name}, {path.stem}: {len(rows)} questions; H(A) {best.entropy:.3f} bits")
        print(f"{'':28}R      vision  words   synergy joint   gap    off exact BROJA, merged, lost  right")
        print(line("known", best))
        for replacement, hold in product(REPLACEMENTS, (False, True)):
            keys = [f"question-masked/{replacement}", f"language-only/{replacement}", "joint"]
            labels = labels_of(predictions.options)
            given = [labels.spread(scored(predictions, key, threshold=TAU).probabilities) for key in keys]
            said = PredictedRows(*given, predictions.image_id)
            said = calibrated(said) if hold else said
            found, check = decompose_predictions(said), clustered_predictions(said)
            apart = [off(check, found), off(check, decompose_predictions(merged_predictions(said))), check.lost_bits]
            right_in = [float(right(predictions, key).mean()) for key in keys[::-1]]
            numbers = (
                "  ".join(f"{value:.4f}" for value in apart) + "  " + " ".join(f"{value:.3f}" for value in right_in)
            )
            print(line(f"{replacement}, {'held' if hold else 'as given'}", found), numbers, flush=True)


def off(check, found):
    """Largest difference of an atom."""
    return max(abs(check.bits[atom] - found.bits[atom]) for atom in ATOMS)


def line(label, found):
    bits = "  ".join(f"{found.bits[atom]:6.3f}" for atom in (*ATOMS, "mi_joint"))
    return f"{label:26} {bits}  {found.gap_bits:.3f} "


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, help="folder of a run of config/easy-vqa.yaml")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 900])
    parser.add_argument("--labels", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--draws", type=int, default=3)
    given = parser.parse_args()
    planted(given.sizes, given.labels, given.draws)
    if given.results is not None:
        real(given.results)


if __name__ == "__main__":
    main()
