"""The decomposition of every layer of one unit, and its calibration on planted truth of the same size.

Inputs from elsewhere: scores of fit_pca; latents of train_flow; the twin that estimators are tried on; the critic's bound.
Outputs: results/pid/{model}/{task}/{condition}/layer-{layer}.json, results/tables/calibration.{parquet,csv}
"""

# What each estimator does is in a file of its own, and only those that are asked for count.
ESTIMATORS = [module_of("pid.estimators", name) for name in config["pid"]["estimators"]]


# One job writes a file for each layer, and models have different numbers of layers: hence a rule a model. Its files
# begin with the model's name rather than a wildcard, else every file is held against every layer of every model.
for model in config["models"]:

    rule:
        name:
            f"estimate_pid_{model}"
        input:
            pca=f"results/pca/{model}/{{task}}/{{condition}}.h5",
            flow=f"results/flows/{model}/{{task}}/{{condition}}.h5",
            twin=f"results/twins/{model}/{{task}}/{{condition}}.h5",
            bound=f"results/bounds/{model}/{{task}}/{{condition}}.h5",
        output:
            pid=layer_files(f"results/pid/{model}/{{task}}/{{condition}}", model),
        log:
            f"results/logs/estimate_pid/{model}/{{task}}/{{condition}}.log",
        benchmark:
            f"results/benchmarks/estimate_pid/{model}/{{task}}/{{condition}}.tsv"
        conda:
            "../../envs/analysis.yaml"
        threads: 1
        params:
            estimators=config["pid"]["estimators"],
            definitions=config["pid"]["definitions"],
            permutations=config["pid"]["permutations"],
            jackknife_groups=config["pid"]["jackknife_groups"],
            seed=config["seed"],
            unit=unit_of_model(model),
            code=code_digest("estimate_pid", *ESTIMATORS),
        script:
            "../../scripts/estimate_pid.py"


rule calibrate:
    input:
        pca=units("results/pca/{model}/{task}/{condition}.h5"),
    output:
        scorecard=table("calibration"),
    log:
        "results/logs/calibrate/run.log",
    benchmark:
        "results/benchmarks/calibrate/run.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        estimators=config["pid"]["estimators"],
        definitions=config["pid"]["definitions"],
        permutations=config["pid"]["permutations"],
        jackknife_groups=config["pid"]["jackknife_groups"],
        folds=config["items"]["folds"],
        settings=config["flow"],
        seed=config["seed"],
        code=code_digest("calibrate", FLOW_MAPS, *ESTIMATORS),
    script:
        "../../scripts/calibrate.py"


rule pid:
    input:
        decompositions(),
