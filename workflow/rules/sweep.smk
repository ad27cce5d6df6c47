"""Attention edges cut in windows of blocks, one after another, on one shared intact pass per question.

Inputs from elsewhere: the intact answers say which questions count as answered rightly.
Outputs: results/sweeps/{model}/{task}/{summary,details}.parquet
"""


rule sweep_knockout:
    input:
        table="results/items/{task}.parquet",
        answers="results/answers/{model}/{task}/intact.parquet",
    output:
        summary="results/sweeps/{model}/{task}/summary.parquet",
        details="results/sweeps/{model}/{task}/details.parquet",
    log:
        "results/logs/sweep_knockout/{model}/{task}.log",
    benchmark:
        "results/benchmarks/sweep_knockout/{model}/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        images=image_root,
        model=model_settings,
        model_id="{model}",
        task="{task}",
        edges=config["sweep"]["edges"],
        window=config["sweep"]["window"],
        controls=config["sweep"]["controls"],
        other_windows=config["sweep"]["other_windows"],
        answer_tokens=config["sweep"]["answer_tokens"],
        seed=config["seed"],
        code=code_digest("sweep"),
    script:
        "../../scripts/sweep_knockout.py"


rule sweeps:
    input:
        expand("results/sweeps/{model}/{task}/summary.parquet", model=RUN["models"], task=RUN["tasks"]),
