"""What each set of tables was made from, and a comparison with another run: target `reproduce`.

Inputs from elsewhere: the tables of a set, the questions and what models said to them; the results of the other run.
Outputs: results/provenance/{tables}.json, one a target that makes tables
"""

# Tables by the target that makes them.
TABLE_SETS = {
    "figures": [*rules.collect_pid.output, *rules.calibrate.output],
    "sweeps": rules.collect_sweeps.output,
    "spectrum": rules.collect_spectrum.output,
    "systems": rules.compare_systems.output,
}
ANSWERED = expand("results/answers/{model}/{task}/intact.parquet", model=RUN["models"], task=RUN["tasks"])


rule record_provenance:
    input:
        tables=lambda wildcards: [path for path in TABLE_SETS[wildcards.tables] if path.endswith(".parquet")],
        questions=expand("results/items/{task}.parquet", task=RUN["tasks"]),
        answered=lambda wildcards: predicted() if wildcards.tables == "spectrum" else ANSWERED,
    output:
        record="results/provenance/{tables}.json",
    log:
        "results/logs/record_provenance/{tables}.log",
    benchmark:
        "results/benchmarks/record_provenance/{tables}.tsv"
    wildcard_constraints:
        tables="|".join(TABLE_SETS),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        configuration=unrecorded(resolved),
        digests=unrecorded(code_of_run),
        sources=unrecorded(sources),
        repository=unrecorded(repository),
        code=code_digest("record_provenance"),
    script:
        "../../scripts/record_provenance.py"


# Leaves nothing, not even a benchmark, so that it is done whenever it is asked for.
rule reproduce:
    input:
        records=lambda wildcards: [f"results/provenance/{name}.json" for name in sets_of(config["other"], TABLE_SETS)],
        tables=lambda wildcards: [path for name in sets_of(config["other"], TABLE_SETS) for path in TABLE_SETS[name]],
    log:
        "results/logs/reproduce/run.log",
    conda:
        "../../envs/figures.yaml"
    threads: 1
    params:
        tables=lambda wildcards, input: str(Path(input.records[0]).parents[1] / "tables"),
        other=config["other"],
        code=code_digest("reproduce"),
    script:
        "../../scripts/reproduce.py"
