"""What a model sees: its first question on a page, spans over tokens and patches over the picture, with its checks.

Inputs from elsewhere: the items of each task.
Outputs: results/models/{model}/{task}.{html,json}
"""


rule describe_model:
    input:
        table="results/items/{task}.parquet",
        template=workflow.source_path("../report/page/model.html.j2"),
        style=workflow.source_path("../report/page/style.css"),
    output:
        page="results/models/{model}/{task}.html",
        findings="results/models/{model}/{task}.json",
    log:
        "results/logs/describe_model/{model}/{task}.log",
    benchmark:
        "results/benchmarks/describe_model/{model}/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    params:
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        title=lambda wildcards: f"{TITLES['model'][wildcards.model]}: {TITLES['task'][wildcards.task]}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        code=lambda wildcards: code_digest("describe_model", *design.plug_ins(config, model=wildcards.model)),
    script:
        "../../scripts/describe_model.py"


rule show_model:
    input:
        expand("results/models/{model}/{task}.html", model=RUN["models"], task=RUN["tasks"]),
