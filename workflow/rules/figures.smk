"""Tables of everything a run found, and the figures drawn from them.

Inputs from elsewhere: decompositions, answers and flow diagnostics of every unit of the run; answers without the image;
the calibration table.
Outputs: results/tables/*.{parquet,csv}, results/figures/calibration.{svg,png}, results/figures/{model}/*.{svg,png}
"""

SHOWN = {"estimator": config["claims"]["estimators"][0], "definition": config["claims"]["definitions"][0]}


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


rule plot_layer_profiles:
    input:
        pid="results/tables/pid.parquet",
    output:
        figure=drawn("{model}/layer-profiles", category="{model}", figure="layer profiles"),
    log:
        "results/logs/plot_layer_profiles/{model}.log",
    benchmark:
        "results/benchmarks/plot_layer_profiles/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        conditions=design.compared(config),
        tasks=RUN["tasks"],
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_layer_profiles.py"


rule plot_model_profiles:
    input:
        pid="results/tables/pid.parquet",
    output:
        figure=drawn("model-profiles", category="first of all", figure="models side by side"),
    log:
        "results/logs/plot_model_profiles/run.log",
    benchmark:
        "results/benchmarks/plot_model_profiles/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        models=design.side_by_side(config),
        tasks=RUN["tasks"],
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_model_profiles.py"


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
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_fingerprint.py"


rule plot_knockout_changes:
    input:
        differences="results/tables/differences.parquet",
        answers="results/tables/answers.parquet",
    output:
        figure=drawn(
            "{model}/knockout-changes-{condition}", category="{model}", figure="change", condition="{condition}"
        ),
    log:
        "results/logs/plot_knockout_changes/{model}/{condition}.log",
    benchmark:
        "results/benchmarks/plot_knockout_changes/{model}/{condition}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        condition="{condition}",
        tasks=RUN["tasks"],
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_knockout_changes.py"


rule plot_dependence:
    input:
        dependence="results/tables/dependence.parquet",
        claims="results/tables/claims.parquet",
    output:
        figure=drawn("{model}/dependence", category="{model}", figure="what the change depends on"),
    log:
        "results/logs/plot_dependence/{model}.log",
    benchmark:
        "results/benchmarks/plot_dependence/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        knockout=design.judged_knockout(config),
        tasks=RUN["tasks"],
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_dependence.py"


rule plot_lens_courses:
    input:
        lens="results/tables/lens.parquet",
    output:
        figure=drawn("{model}/lens-courses", category="{model}", figure="logit lens"),
    log:
        "results/logs/plot_lens_courses/{model}.log",
    benchmark:
        "results/benchmarks/plot_lens_courses/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        tasks=RUN["tasks"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_lens_courses.py"


rule plot_latent_gaussianity:
    input:
        gaussianity="results/tables/gaussianity.parquet",
    output:
        figure=drawn("{model}/latent-gaussianity", category="{model}", figure="latent Gaussianity"),
    log:
        "results/logs/plot_latent_gaussianity/{model}.log",
    benchmark:
        "results/benchmarks/plot_latent_gaussianity/{model}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        model="{model}",
        tasks=RUN["tasks"],
        code=code_digest("plot"),
    script:
        "../../scripts/plot_latent_gaussianity.py"


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
        estimator=SHOWN["estimator"],
        definition=SHOWN["definition"],
        code=code_digest("plot"),
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
        code=code_digest("plot"),
    script:
        "../../scripts/plot_calibration.py"


rule figures:
    input:
        rules.collect_pid.output,
        "results/figures/calibration.svg",
        expand(
            "results/figures/{model}/{name}.svg",
            model=RUN["models"],
            name=["overview", "layer-profiles", "lens-courses", "latent-gaussianity"],
        ),
        "results/figures/model-profiles.svg" if len(design.side_by_side(config)) > 1 else [],
        expand("results/figures/{model}/fingerprint-{condition}.svg", model=RUN["models"], condition=RUN["conditions"]),
        expand(
            "results/figures/{model}/knockout-changes-{condition}.svg",
            model=RUN["models"],
            condition=[name for name in RUN["conditions"] if name != INTACT],
        ),
        expand("results/figures/{model}/dependence.svg", model=RUN["models"] if design.compares_tasks(config) else []),
