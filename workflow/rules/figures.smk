"""Tables of everything a run measured, and the figures of all tables: one rule a file of pidflow/figures.

Inputs from elsewhere: decompositions, answers and flow diagnostics of every unit of the run; answers without the image;
the tables of calibration and of sweeps.
Outputs: results/tables/*.{parquet,csv}, results/figures/*.{svg,png}, results/figures/{model}/*.{svg,png}
"""


rule collect_pid:
    input:
        pid=decompositions(),
        answers=units("results/answers/{model}/{task}/{condition}.parquet"),
        blind=blind_answers(),
        flows=units("results/flows/{model}/{task}/{condition}.h5"),
    output:
        pid=table("pid"),
        differences=table("differences"),
        answers=table("answers"),
        lens=table("lens"),
        gaussianity=table("gaussianity"),
        dependence=table("dependence"),
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
        knockout=design.judged_knockout(config),
        blind=config["claims"]["blind"],
        control=design.control_of(config, config["claims"]["knockout"]),
        controls=design.controls(config),
        estimators=config["claims"]["estimators"],
        definitions=config["claims"]["definitions"],
        code=code_digest("collect_tables"),
    script:
        "../../scripts/collect_pid.py"


# Tables of the report; those of sweeps where they have been made.
REPORTED = ["pid", "answers", "claims"] + ["sweeps"] * Path("results/tables/sweeps.parquet").exists()


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
                category=figure.category,
                labels=figure.labels,
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
            tasks=SHOWN.tasks,
            code=code_digest("plot", figure.module.__name__),
        script:
            "../../scripts/plot.py"


rule figures:
    input:
        rules.collect_pid.output,
        drawn("figures"),


rule write_report:
    input:
        **{name: f"results/tables/{name}.parquet" for name in REPORTED},
        page=workflow.source_path("../report/page/page.html.j2"),
        style=workflow.source_path("../report/page/style.css"),
        script=workflow.source_path("../report/page/page.js"),
    output:
        page="results/report.html",
    log:
        "results/logs/write_report/run.log",
    benchmark:
        "results/benchmarks/write_report/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        tables=REPORTED,
        configuration=config,
        titles=design.task_titles(config),
        code=code_digest("write_report"),
    script:
        "../../scripts/write_report.py"


rule report:
    input:
        rules.write_report.output,
