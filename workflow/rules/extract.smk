"""Hidden states and answers of one model on one task under one condition, in one pass over the questions.

Outputs: results/activations/{model}/{task}/{condition}.h5, results/answers/{model}/{task}/{condition}.parquet
"""


rule extract_activations:
    input:
        table="results/items/{task}.parquet",
    output:
        activations="results/activations/{model}/{task}/{condition}.h5",
        answers="results/answers/{model}/{task}/{condition}.parquet",
    log:
        "results/logs/extract_activations/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/extract_activations/{model}/{task}/{condition}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        condition="{condition}",
        intervention=lambda wildcards: design.intervention(config, wildcards.condition),
        target=config["extract"]["target"],
        storage=config["extract"]["storage"],
        rule=config["extract"]["rule"],
        answer_tokens=config["extract"]["answer_tokens"],
        seed=config["seed"],
        code=lambda wildcards: code_digest(
            "extract_activations", *design.plug_ins(config, model=wildcards.model, conditions=[wildcards.condition])
        ),
    script:
        "../../scripts/extract_activations.py"


rule activations:
    input:
        units("results/activations/{model}/{task}/{condition}.h5"),
