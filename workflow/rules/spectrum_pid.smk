"""The spectrum of predictions decomposed: model by model, over models, sizes and training, beside the decomposition of states.

Inputs from elsewhere: predictions of extract_predictions or of an import; the table of collect_pid for the comparison.
Outputs: results/spectrum/{model}/{task}.json, results/tables/{spectrum,passes,breadth,…}.{parquet,csv}
"""

STUDIED = {model: {key: config["models"][model].get(key) for key in design.STUDIED} for model in RUN["models"]}
SPECTRUM_TABLES = (
    *("spectrum", "passes", "breadth", "correlations", "types", "scaling"),
    *("order", "training", "emergence", "catalogue"),
)


rule estimate_spectrum:
    input:
        predictions="results/predictions/{model}/{task}.h5",
    output:
        spectrum="results/spectrum/{model}/{task}.json",
    log:
        "results/logs/estimate_spectrum/{model}/{task}.log",
    benchmark:
        "results/benchmarks/estimate_spectrum/{model}/{task}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        model_id="{model}",
        task="{task}",
        settings=config["spectrum_pid"],
        seed=config["seed"],
        code=code_digest("estimate_spectrum"),
    script:
        "../../scripts/estimate_spectrum.py"


rule collect_spectrum:
    input:
        spectra=[
            *expand("results/spectrum/{model}/{task}.json", model=RUN["models"], task=RUN["tasks"]),
            *(f"results/spectrum/{each['model']}/{each['task']}.json" for each in SPECTRUM["imports"]),
        ],
        expected=lambda wildcards: expected_orders(),
    output:
        **{name: table(name) for name in SPECTRUM_TABLES},
        spectrum_claims=[
            "results/tables/spectrum-claims.parquet",
            report(
                "results/tables/spectrum-claims.csv",
                caption="../report/spectrum-claims.rst",
                category="first of all",
                labels={"table": "claims about the spectrum"},
            ),
        ],
    log:
        "results/logs/collect_spectrum/run.log",
    benchmark:
        "results/benchmarks/collect_spectrum/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        models=STUDIED,
        catalogue=config["breadth"]["catalogue"],
        seed=config["seed"],
        code=code_digest("collect_spectrum"),
    script:
        "../../scripts/collect_spectrum.py"


rule compare_systems:
    input:
        pid="results/tables/pid.parquet",
        spectrum="results/tables/spectrum.parquet",
    output:
        two_systems=table("two-systems"),
        agreement=table("agreement"),
    log:
        "results/logs/compare_systems/run.log",
    benchmark:
        "results/benchmarks/compare_systems/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        estimator=config["claims"]["estimators"][0],
        definition=config["claims"]["definitions"][0],
        code=code_digest("compare_systems"),
    script:
        "../../scripts/compare_systems.py"


rule spectrum:
    input:
        rules.collect_spectrum.output,
        drawn("spectrum"),
        "results/provenance/spectrum.json",


rule systems:
    input:
        rules.compare_systems.output,
        drawn("systems"),
        "results/provenance/systems.json",
