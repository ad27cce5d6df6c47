"""The report: one page that opens without a network, with a few questions of each task as the models meet them.

Inputs from elsewhere: tables of the run, items and answers.
Outputs: results/questions/{model}/{task}.json, results/report.html
"""


rule show_questions:
    input:
        table="results/items/{task}.parquet",
        answers=lambda wildcards: expand(
            "results/answers/{{model}}/{{task}}/{condition}.parquet", condition=RUN["conditions"]
        ),
    output:
        "results/questions/{model}/{task}.json",
    log:
        "results/logs/show_questions/{model}/{task}.log",
    benchmark:
        "results/benchmarks/show_questions/{model}/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    params:
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        conditions=RUN["conditions"],
        shown=config["report"]["questions"],
        code=lambda wildcards: code_digest("show_questions", *design.plug_ins(config, model=wildcards.model)),
    script:
        "../../scripts/show_questions.py"


rule write_report:
    input:
        unpack(reported),
        questions=expand("results/questions/{model}/{task}.json", model=RUN["models"], task=RUN["tasks"]),
        provenance="results/provenance/figures.json",
        page=workflow.source_path("../report/page/page.html.j2"),
        style=workflow.source_path("../report/page/style.css"),
        script=workflow.source_path("../report/page/page.js"),
    output:
        page="results/report.html",
    log:
        "results/logs/write_report/run.log",
    benchmark:
        "results/benchmarks/write_report/run.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        tables=lambda wildcards: list(reported(wildcards)),
        configuration=config,
        titles=TITLES,
        code=code_digest("write_report"),
    script:
        "../../scripts/write_report.py"


rule report:
    input:
        rules.write_report.output,
