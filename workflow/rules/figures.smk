"""Tables of everything a run found, and the figures drawn from them.

Inputs from elsewhere: decompositions, answers and flow diagnostics of every unit of the run; the calibration table.
Outputs: results/tables/*.{parquet,csv}, results/figures/calibration.{svg,png}, results/figures/{model}/*.{svg,png}
"""


def table(name):
    """The two files of one table: parquet for programs, csv for eyes."""
    return [f"results/tables/{name}.parquet", f"results/tables/{name}.csv"]


def drawn(name, **labels):
    """The two files of one figure: svg, which the report shows with its caption, and png."""
    stem = f"results/figures/{name}"
    caption = f"../report/{name.split('/')[-1].split('-')[0]}.rst"
    return [report(f"{stem}.svg", caption=caption, category=labels.pop("category"), labels=labels), f"{stem}.png"]


SHOWN = {"route": config["claims"]["routes"][0], "definition": config["claims"]["definitions"][0]}


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
    conda:
        "../../envs/figures.yaml"
    params:
        knockout=design.judged_knockout(config),
        routes=config["claims"]["routes"],
        definitions=config["claims"]["definitions"],
        code=code_digest("tables"),
    script:
        "../../scripts/collect_pid.py"


rule plot_profiles:
    input:
        pid="results/tables/pid.parquet",
    output:
        figure=drawn("{model}/profiles", category="{model}", figure="layer profiles"),
    log:
        "results/logs/plot_profiles/{model}.log",
    benchmark:
        "results/benchmarks/plot_profiles/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        tasks=RUN["tasks"],
        route=SHOWN["route"],
        definition=SHOWN["definition"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_profiles.py"


rule plot_fingerprint:
    input:
        pid="results/tables/pid.parquet",
    output:
        figure=drawn(
            "{model}/fingerprint-{condition}", category="{model}", figure="last layer", condition="{condition}"
        ),
    log:
        "results/logs/plot_fingerprint/{model}/{condition}.log",
    benchmark:
        "results/benchmarks/plot_fingerprint/{model}/{condition}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        condition="{condition}",
        tasks=RUN["tasks"],
        route=SHOWN["route"],
        definition=SHOWN["definition"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_fingerprint.py"


rule plot_knockout:
    input:
        differences="results/tables/differences.parquet",
    output:
        figure=drawn("{model}/knockout-{condition}", category="{model}", figure="change", condition="{condition}"),
    log:
        "results/logs/plot_knockout/{model}/{condition}.log",
    benchmark:
        "results/benchmarks/plot_knockout/{model}/{condition}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        condition="{condition}",
        tasks=RUN["tasks"],
        route=SHOWN["route"],
        definition=SHOWN["definition"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_knockout.py"


rule plot_lens:
    input:
        lens="results/tables/lens.parquet",
    output:
        figure=drawn("{model}/lens", category="{model}", figure="logit lens"),
    log:
        "results/logs/plot_lens/{model}.log",
    benchmark:
        "results/benchmarks/plot_lens/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        tasks=RUN["tasks"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_lens.py"


rule plot_gaussianity:
    input:
        gaussianity="results/tables/gaussianity.parquet",
    output:
        figure=drawn("{model}/gaussianity", category="{model}", figure="latent Gaussianity"),
    log:
        "results/logs/plot_gaussianity/{model}.log",
    benchmark:
        "results/benchmarks/plot_gaussianity/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        tasks=RUN["tasks"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_gaussianity.py"


rule plot_overview:
    input:
        pid="results/tables/pid.parquet",
        differences="results/tables/differences.parquet",
    output:
        figure=drawn("{model}/overview", category="{model}", figure="overview"),
    log:
        "results/logs/plot_overview/{model}.log",
    benchmark:
        "results/benchmarks/plot_overview/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        knockout=design.judged_knockout(config),
        tasks=RUN["tasks"],
        route=SHOWN["route"],
        definition=SHOWN["definition"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_overview.py"


rule plot_calibration:
    input:
        calibration="results/tables/calibration.parquet",
    output:
        figure=drawn("calibration", category="first of all", figure="calibration"),
    log:
        "results/logs/plot_calibration/run.log",
    benchmark:
        "results/benchmarks/plot_calibration/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        definition=SHOWN["definition"],
        code=code_digest("figures"),
    script:
        "../../scripts/plot_calibration.py"


rule figures:
    input:
        rules.collect_pid.output,
        "results/figures/calibration.svg",
        expand(
            "results/figures/{model}/{name}.svg",
            model=RUN["models"],
            name=["overview", "profiles", "lens", "gaussianity"],
        ),
        expand("results/figures/{model}/fingerprint-{condition}.svg", model=RUN["models"], condition=RUN["conditions"]),
        expand(
            "results/figures/{model}/knockout-{condition}.svg",
            model=RUN["models"],
            condition=[name for name in RUN["conditions"] if name != design.INTACT],
        ),
