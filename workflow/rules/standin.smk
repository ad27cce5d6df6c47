"""Small models trained on request: the stand-in and its variants.

Outputs: results/standins/{standin} (weights, processor, checkpoints, training.json). A run uses the shipped copies in
workflow/resources; point models.{model}.path here to use these. Target `zoo` trains every stand-in that a model names as
its series.
"""


rule train_standin:
    output:
        model=directory("results/standins/{standin}"),
    log:
        "results/logs/train_standin/{standin}.log",
    benchmark:
        "results/benchmarks/train_standin/{standin}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    params:
        settings=lambda wildcards: design.training(config, wildcards.standin),
        folders=unrecorded(standin_folders),
        begun_from=lambda wildcards: {
            name: weights.source_digest(folder, None) for name, folder in standin_folders(wildcards).items()
        },
        seed=config["seed"],
        code=code_digest("train_standin"),
    script:
        "../../scripts/train_standin.py"


rule zoo:
    input:
        expand(
            "results/standins/{standin}",
            standin=sorted({each.get("series") for each in config["models"].values()} & set(config["standins"])),
        ),
