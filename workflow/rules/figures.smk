"""Tables of everything a run found, and the figures drawn from them.

Inputs from elsewhere: decompositions, answers and flow diagnostics of every unit of the run; the calibration table.
Outputs: results/tables/*.{parquet,csv}, results/figures/*.{svg,png}
"""


def table(name):
    """The two files of one table: parquet for programs, csv for eyes."""
    return [f"results/tables/{name}.parquet", f"results/tables/{name}.csv"]


rule collect_pid:
    input:
        pid=decompositions(),
        answers=units("results/answers/{model}/{task}/{condition}.parquet"),
        flows=units("results/flows/{model}/{task}/{condition}.h5"),
    output:
        pid=table("pid"),
        differences=table("differences"),
        answers=table("answers"),
        lens=table("lens"),
        gaussianity=table("gaussianity"),
        claims=table("claims"),
    log:
        "results/logs/collect_pid/run.log",
    benchmark:
        "results/benchmarks/collect_pid/run.tsv"
    params:
        knockout=design.judged_knockout(config),
        routes=config["claims"]["routes"],
        definitions=config["claims"]["definitions"],
        code=code_digest("tables"),
    conda:
        "../../envs/figures.yaml"
    script:
        "../../scripts/collect_pid.py"
