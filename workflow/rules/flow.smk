"""Normalizing flows of all layers of one unit, trained together and cross-fitted.

Outputs: results/flows/{model}/{task}/{condition}.h5 (latents, losses, diagnostics) and .safetensors (weights)
"""


rule train_flow:
    input:
        pca="results/pca/{model}/{task}/{condition}.h5",
    output:
        flow="results/flows/{model}/{task}/{condition}.h5",
        weights="results/flows/{model}/{task}/{condition}.safetensors",
    log:
        "results/logs/train_flow/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/train_flow/{model}/{task}/{condition}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        settings=config["flow"],
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("train_flow"),
    script:
        "../../scripts/train_flow.py"
