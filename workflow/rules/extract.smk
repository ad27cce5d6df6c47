"""Hidden states and answers of one model on one task under one condition.

The job of the intact condition runs the model under all conditions of the run at once and leaves the others' results
waiting; their jobs, which come after it, take them. A condition added later is run by its own job and by no other.

Outputs: results/activations/{model}/{task}/{condition}.h5, results/answers/{model}/{task}/{condition}.parquet; of the
condition without the image, where it is no condition of the run, answers only.
"""


def extraction_key(wildcards, condition):
    """Everything but the questions that the results of a condition depend on."""
    return {
        "shape": model_shape(wildcards),
        "instruction": design.instruction(config, wildcards.task),
        "intervention": design.intervention(config, condition),
        "extract": config["extract"],
        "seed": config["seed"],
        "code": extraction_code(wildcards, condition),
    }


def extraction_code(wildcards, condition):
    """Digest of the code behind the results of a condition."""
    return code_digest("extract_activations", *design.plug_ins(config, model=wildcards.model, conditions=[condition]))


def run_along(wildcards):
    """The conditions that the intact one takes along; no other takes any."""
    if wildcards.condition != INTACT:
        return {}
    states = {condition: True for condition in RUN["conditions"] if condition != INTACT}
    answers_only = {config["claims"]["blind"]: False} if blind_answers() else {}
    return {
        condition: {
            "intervention": design.intervention(config, condition),
            "key": extraction_key(wildcards, condition),
            "states": wanted,
        }
        for condition, wanted in (states | answers_only).items()
    }


def after_intact(wildcards):
    """What other conditions wait for: the job that may have run them along."""
    return (
        [] if wildcards.condition == INTACT else f"results/answers/{wildcards.model}/{wildcards.task}/{INTACT}.parquet"
    )


rule extract_activations:
    input:
        table="results/items/{task}.parquet",
        first=after_intact,
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
        key=unrecorded(lambda wildcards: extraction_key(wildcards, wildcards.condition)),
        along=unrecorded(run_along),
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
        code=lambda wildcards: extraction_code(wildcards, wildcards.condition),
    script:
        "../../scripts/extract_activations.py"


if blind_answers():

    ruleorder: extract_answers > extract_activations

    use rule extract_activations as extract_answers with:
        output:
            answers="results/answers/{model}/{task}/{condition}.parquet",
        log:
            "results/logs/extract_answers/{model}/{task}/{condition}.log",
        benchmark:
            "results/benchmarks/extract_answers/{model}/{task}/{condition}.tsv"
        wildcard_constraints:
            condition=config["claims"]["blind"],


rule activations:
    input:
        units("results/activations/{model}/{task}/{condition}.h5"),
