"""Questions: read or drawn, one parquet file per task, folds split by image.

Outputs: results/items/{task}.parquet, which holds the pictures of drawn scenes and digests of all pictures;
results/items/{task}.dropped.csv, what of the source became no question and why.
"""


rule prepare_items:
    output:
        table="results/items/{task}.parquet",
        dropped="results/items/{task}.dropped.csv",
    log:
        "results/logs/prepare_items/{task}.log",
    benchmark:
        "results/benchmarks/prepare_items/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    params:
        task="{task}",
        settings=unrecorded(task_settings),
        shape=task_shape,
        folds=config["items"]["folds"],
        seed=config["seed"],
        code=lambda wildcards: code_digest("prepare_items", dataset(wildcards).reader.__name__),
    script:
        "../../scripts/prepare_items.py"
