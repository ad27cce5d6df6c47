"""Hidden states and answers of one model on one task under one condition.

The job of the intact condition runs the model under all conditions of the run at once and leaves the others' results
waiting; their jobs, which come after it, take them. A condition added later is run by its own job and by no other.

With extract.shards: k the questions are asked in k jobs, and the job of the intact condition joins what they did.

Outputs: results/activations/{model}/{task}/{condition}.h5, results/answers/{model}/{task}/{condition}.parquet; of the
conditions in run.answered, and of those without the image and without the question where these are none of the run,
answers only.
"""


rule extract_activations:
    input:
        table="results/items/{task}.parquet",
        first=after_intact,
        shards=shards_of,
    output:
        activations="results/activations/{model}/{task}/{condition}.h5",
        answers="results/answers/{model}/{task}/{condition}.parquet",
    log:
        "results/logs/extract_activations/{model}/{task}/{condition}.log",
    benchmark:
        "results/benchmarks/extract_activations/{model}/{task}/{condition}.tsv"
    wildcard_constraints:
        condition=ID_PATTERN,
    conda:
        "../../envs/extract.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        part=unrecorded(lambda wildcards: [0, 1]),
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        kept_check=kept_check,
        key=unrecorded(lambda wildcards: extraction_key(wildcards, wildcards.condition)),
        along=unrecorded(run_along),
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        condition="{condition}",
        intervention=lambda wildcards: design.intervention(config, wildcards.condition),
        target=config["extract"]["target"],
        stored={name: config["extract"][name] for name in ("storage", "layers", "blocks")},
        judged={name: config["extract"][name] for name in ("rule", "answer_tokens")},
        seed=config["seed"],
        code=lambda wildcards: extraction_code(wildcards, wildcards.condition),
    script:
        "../../scripts/extract_activations.py"


if design.answers_only(config):

    ruleorder: extract_answers > extract_activations

    use rule extract_activations as extract_answers with:
        output:
            answers="results/answers/{model}/{task}/{condition}.parquet",
        log:
            "results/logs/extract_answers/{model}/{task}/{condition}.log",
        benchmark:
            "results/benchmarks/extract_answers/{model}/{task}/{condition}.tsv"
        wildcard_constraints:
            condition="|".join(map(re.escape, design.answers_only(config))),


if config["extract"]["shards"] > 1:

    use rule extract_activations as extract_shard with:
        input:
            table="results/items/{task}.parquet",
        output:
            shard=temp(directory("results/shards/{model}/{task}/{condition}/{shard}")),
        log:
            "results/logs/extract_shard/{model}/{task}/{condition}/{shard}.log",
        benchmark:
            "results/benchmarks/extract_shard/{model}/{task}/{condition}/{shard}.tsv"
        wildcard_constraints:
            condition=ID_PATTERN,
            shard="[0-9]+",
        params:
            part=lambda wildcards: [int(wildcards.shard), config["extract"]["shards"]],
            conditions=lambda wildcards: sorted(run_along(wildcards)),


rule activations:
    input:
        units("results/activations/{model}/{task}/{condition}.h5"),
