"""Tables of everything a run measured, and the figures of all tables: one rule a file of pidflow/figures.

Inputs from elsewhere: decompositions, answers and flow diagnostics of every unit of the run; answers without the image;
the tables of calibration and of sweeps.
Outputs: results/tables/*.{parquet,csv}, results/figures/*.{svg,png}, results/figures/{model}/*.{svg,png}
"""


rule collect_pid:
    input:
        pid=decompositions(),
        answers=units("results/answers/{model}/{task}/{condition}.parquet"),
        unseen=answers_only(),
        pca=units("results/pca/{model}/{task}/{condition}.h5"),
        flows=units("results/flows/{model}/{task}/{condition}.h5"),
    output:
        pid=table("pid"),
        differences=table("differences"),
        answers=table("answers"),
        lens=table("lens"),
        gaussianity=table("gaussianity"),
        dependence=table("dependence"),
        baselines=table("baselines"),
        predictions=table("predictions"),
        claims=[
            "results/tables/claims.parquet",
            report(
                "results/tables/claims.csv",
                caption="../report/claims.rst",
                category="first of all",
                labels={"table": "claims"},
            ),
        ],
    log:
        "results/logs/collect_pid/run.log",
    benchmark:
        "results/benchmarks/collect_pid/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        complete=unrecorded(lambda wildcards: stored.last_layers_stored(config)),
        knockout=design.judged_knockout(config),
        blind=config["claims"]["blind"],
        unasked=config["claims"]["unasked"],
        control=design.control_of(config, config["claims"]["knockout"]),
        controls=design.controls(config),
        estimators=config["claims"]["estimators"],
        definitions=config["claims"]["definitions"],
        code=code_digest("collect_tables"),
    script:
        "../../scripts/collect_pid.py"


for figure in FIGURES:

    rule:
        name:
            figure.rule
        input:
            **{name: f"results/tables/{name}.parquet" for name in figure.tables},
        output:
            report(
                f"results/figures/{figure.path}.svg",
                caption=caption(figure),
                category=category(figure),
                labels=labels(figure),
            ),
            f"results/figures/{figure.path}.png",
        log:
            f"results/logs/{figure.rule}/{figure.job}.log",
        benchmark:
            f"results/benchmarks/{figure.rule}/{figure.job}.tsv"
        conda:
            "../../envs/figures.yaml"
        params:
            **{name: value for name, value in figure.given(SHOWN).items() if name != "tasks"},
            figure=figure.id,
            called=called(figure),
            titles=TITLES,
            code=code_digest("plot", figure.module.__name__),
        script:
            "../../scripts/plot.py"


rule tables:
    input:
        rules.collect_pid.output,


rule figures:
    input:
        rules.collect_pid.output,
        drawn("figures"),
        "results/provenance/figures.json",
