"""Principal components of every layer and block, fitted on the questions that are kept.

Inputs from elsewhere: the intact answers decide which questions are kept, in every condition; the intact activations
hold the target of ``{condition}@intact``.
Outputs: results/pca/{model}/{task}/{condition}.h5
"""


rule fit_pca:
    input:
        activations=sources_of,
        target=other_target,
        answers="results/answers/{model}/{task}/intact.parquet",
    output:
        pca="results/pca/{model}/{task}/{condition}.h5",
    log:
        "results/logs/fit_pca/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/fit_pca/{model}/{task}/{condition}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        correct_only=config["pca"]["correct_only"],
        language=lambda wildcards: stored.language_block(config),
        variance=config["pca"]["variance"],
        max_components=config["pca"]["max_components"],
        target_components=config["pca"]["target_components"],
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("fit_pca"),
    script:
        "../../scripts/fit_pca.py"
