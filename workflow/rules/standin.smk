"""The stand-in model, trained again from nothing on request.

Outputs: results/standin (weights, processor, checkpoints, training.json). The run uses the shipped copy in
workflow/resources/standin; point models.standin.path here to use this one.
"""


rule train_standin:
    output:
        model=directory("results/standin"),
    log:
        "results/logs/train_standin/standin.log",
    benchmark:
        "results/benchmarks/train_standin/standin.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    params:
        seed=config["seed"],
        code=code_digest("standin"),
    script:
        "../../scripts/train_standin.py"
