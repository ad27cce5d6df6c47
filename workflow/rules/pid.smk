"""The decomposition of one layer of one unit, and its calibration on planted truth of the same size.

Inputs from elsewhere: scores of fit_pca (estimators gaussian and copula), latents of train_flow (flow).
Outputs: results/pid/{model}/{task}/{condition}/layer-{layer}.json, results/tables/calibration.{parquet,csv}
"""


rule estimate_pid:
    input:
        pca="results/pca/{model}/{task}/{condition}.h5",
        flow="results/flows/{model}/{task}/{condition}.h5",
    output:
        pid="results/pid/{model}/{task}/{condition}/layer-{layer}.json",
    log:
        "results/logs/estimate_pid/{model}/{task}/{condition}/layer-{layer}.log",
    benchmark:
        "results/benchmarks/estimate_pid/{model}/{task}/{condition}/layer-{layer}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        layer="{layer}",
        estimators=config["pid"]["estimators"],
        definitions=config["pid"]["definitions"],
        permutations=config["pid"]["permutations"],
        jackknife_groups=config["pid"]["jackknife_groups"],
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("estimate_pid"),
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
        code=code_digest("calibrate"),
    script:
        "../../scripts/calibrate.py"


rule pid:
    input:
        decompositions(),
