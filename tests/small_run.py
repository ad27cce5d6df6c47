"""A whole study at its smallest, from questions to tables, laid out as a run of the workflow leaves it."""

from pathlib import Path

from pidflow.stages import (
    bound_information,
    collect_tables,
    estimate_pid,
    extract_activations,
    fit_pca,
    plant_twin,
    prepare_items,
    train_flow,
)

CUT = {"kind": "cut", "source": "image", "target": "last", "blocks": "all"}
TABLES = ("pid", "differences", "answers", "lens", "gaussianity", "dependence", "claims", "baselines", "predictions")
FLOW = {"max_steps": 5}


def small_run(folder, *, model, name, task, dataset, select=None, count=1000, depth, images=None):
    """Results of one model on one task, intact (decomposed too) and with the image cut from the last position."""
    results = Path(folder, "results")

    def file(kind, condition="", suffix=".h5"):
        path = (
            results / kind / name / task / f"{condition}{suffix}" if condition else results / kind / f"{task}{suffix}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    settings = {"dataset": dataset, "items": count} | ({"select": select} if select else {})
    items = file("items", suffix=".parquet")
    prepare_items.run(
        output=items, dropped=file("items", suffix=".dropped.csv"), task=task, settings=settings, folds=3, seed=0
    )
    for condition, intervention in (("intact", None), ("image-last", CUT)):
        extract_activations.run(
            items=items,
            answers=file("answers", condition, ".parquet"),
            activations=file("activations", condition),
            condition=condition,
            intervention=intervention,
            model=model,
            model_id=name,
            task=task,
            image_root=images,
            storage="float32",
        )
    paths = {kind: file(f"{kind}s", "intact") for kind in ("flow", "twin", "bound")} | {"pca": file("pca", "intact")}
    weights, answers = file("flows", "intact", ".safetensors"), file("answers", "intact", ".parquet")
    how = {"seed": 0, "unit": {"model": name, "task": task, "condition": "intact"}}
    fit_pca.run(
        activations=file("activations", "intact"),
        answers=answers,
        output=paths["pca"],
        correct_only=False,
        language="text",
        variance=0.9,
        max_components=2,
        target_components=2,
        **how,
    )
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=FLOW, threads=1, **how)
    plant_twin.run(
        pca=paths["pca"], flow=paths["flow"], weights=weights, output=paths["twin"], settings=FLOW, threads=1, **how
    )
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], threads=1, **how)
    layers = [str(results / f"pid/{name}/{task}/intact/layer-{layer:02d}.json") for layer in range(depth + 1)]
    estimate_pid.run(
        **paths,
        outputs=layers,
        estimators=["gaussian", "flow"],
        definitions=["broja"],
        permutations=20,
        jackknife_groups=9,
        **how,
    )
    collect_tables.run(
        pid=layers,
        answers=[answers, file("answers", "image-last", ".parquet")],
        flows=[paths["flow"]],
        pca=[paths["pca"]],
        knockout=None,
        **{f"{table}_table": [str(results / f"tables/{table}.parquet")] for table in TABLES},
    )
    return results
