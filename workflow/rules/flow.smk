"""Normalizing flows of all layers of one unit, trained together and cross-fitted; what tells how far to believe them.

The job that trains the flows makes twins and bounds as well, while torch is there, and leaves them waiting for their own
jobs. These make them where nothing waits, as after a change that concerns them alone.

Outputs: results/flows/{model}/{task}/{condition}.h5 (latents, losses, diagnostics) and .safetensors (weights),
results/twins/{model}/{task}/{condition}.h5 (parametric bootstrap twins and the latents found in them),
results/bounds/{model}/{task}/{condition}.h5 (what a held-out critic proves of the joint information)
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
        along=along_with_flow,
        everywhere=design.flows_everywhere(config),
        settings=config["flow"],
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("train_flow", FLOW_MAPS, *LABELS),
    script:
        "../../scripts/train_flow.py"


rule plant_twin:
    input:
        pca="results/pca/{model}/{task}/{condition}.h5",
        flow="results/flows/{model}/{task}/{condition}.h5",
        weights="results/flows/{model}/{task}/{condition}.safetensors",
    output:
        twin="results/twins/{model}/{task}/{condition}.h5",
    log:
        "results/logs/plant_twin/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/plant_twin/{model}/{task}/{condition}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        settings=config["flow"],
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("plant_twin", FLOW_MAPS),
    script:
        "../../scripts/plant_twin.py"


rule bound_information:
    input:
        pca="results/pca/{model}/{task}/{condition}.h5",
        flow="results/flows/{model}/{task}/{condition}.h5",
    output:
        bound="results/bounds/{model}/{task}/{condition}.h5",
    log:
        "results/logs/bound_information/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/bound_information/{model}/{task}/{condition}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    params:
        seed=config["seed"],
        unit=unit_of,
        code=code_digest("bound_information"),
    script:
        "../../scripts/bound_information.py"
