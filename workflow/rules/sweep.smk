"""Attention edges cut in windows of blocks, one after another, and in which blocks each carries the answer.

Inputs from elsewhere: the intact answers tell which questions count as answered correctly.
Outputs: results/sweeps/{model}/{task}/{summary,details}.parquet,
results/tables/{sweeps,transfer-windows,two-stages}.{parquet,csv}
"""

HEADS = "results/sweeps/{model}/{task}/heads.parquet"
SWEPT_KINDS = ["cut", *config["sweep"]["controls"], *(each["kind"] for each in design.moved(config).values())]
SWEPT = {"model": RUN["models"], "task": RUN["tasks"]}


rule sweep_knockout:
    input:
        table="results/items/{task}.parquet",
        answers="results/answers/{model}/{task}/intact.parquet",
    output:
        **({"heads": HEADS} if config["sweep"].get("heads") else {}),
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
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        kept_check=kept_check,
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        swept={
            name: config["sweep"][name] for name in ("edges", "window", "controls", "other_windows", "answer_tokens")
        },
        head_edges=config["sweep"].get("heads", []),
        spared=config["sweep"].get("spared"),
        moved=design.moved(config),
        rule=config["extract"]["rule"],
        seed=config["seed"],
        code=lambda wildcards: code_digest(
            "sweep_knockout",
            *design.plug_ins(config, model=wildcards.model, kinds=SWEPT_KINDS),
        ),
    script:
        "../../scripts/sweep_knockout.py"


rule collect_sweeps:
    input:
        summaries=expand("results/sweeps/{model}/{task}/summary.parquet", **SWEPT),
        details=expand("results/sweeps/{model}/{task}/details.parquet", **SWEPT),
        heads=expand(HEADS, **SWEPT) if config["sweep"].get("heads") else [],
    output:
        **({"heads": table("sweep-heads")} if config["sweep"].get("heads") else {}),
        sweeps=table("sweeps"),
        transfer_windows=table("transfer-windows"),
        two_stages=[
            "results/tables/two-stages.parquet",
            report(
                "results/tables/two-stages.csv",
                caption="../report/two-stages.rst",
                category="first of all",
                labels={"table": "two stages"},
            ),
        ],
    log:
        "results/logs/collect_sweeps/run.log",
    benchmark:
        "results/benchmarks/collect_sweeps/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        window=config["sweep"]["window"],
        least=config["sweep"]["least"],
        seed=config["seed"],
        code=code_digest("collect_sweeps"),
    script:
        "../../scripts/collect_sweeps.py"


rule sweeps:
    input:
        rules.collect_sweeps.output,
        drawn("sweeps"),
        "results/provenance/sweeps.json",
