"""A published study beside a run of its kit (config/2602.15580.yaml and the like): target `reproduction`.

Inputs from elsewhere: the tables of judged statements that the study is about.
Outputs: results/tables/reproduction.{parquet,csv}
"""

STUDY = config["reproduces"]
# The table of statements that judges each study, and the target whose figures are laid out as the study's.
JUDGED_BY = {
    "2602.15580": ("claims", "figures"),
    "2411.18620": ("two-stages", "sweeps"),
    "6WsBGk4Iag": ("spectrum-claims", "spectrum"),
}


rule collect_reproduction:
    input:
        claims=[f"results/tables/{JUDGED_BY[STUDY][0]}.parquet"] if STUDY else [],
    output:
        table=[
            "results/tables/reproduction.parquet",
            report(
                "results/tables/reproduction.csv",
                category="first of all",
                labels={"table": "published and here"},
            ),
        ],
    log:
        "results/logs/collect_reproduction/run.log",
    benchmark:
        "results/benchmarks/collect_reproduction/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        study=STUDY,
        code=code_digest("collect_reproduction"),
    script:
        "../../scripts/collect_reproduction.py"


rule reproduction:
    input:
        rules.collect_reproduction.output if STUDY else [],
        drawn(JUDGED_BY[STUDY][1]) if STUDY else [],
        f"results/provenance/{JUDGED_BY[STUDY][1]}.json" if STUDY else [],
