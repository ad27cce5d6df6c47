"""What a model predicts from all of its input and from each part of it: the spectrum of predictions.

Inputs from elsewhere: the questions.
Outputs: results/probes/{model}/{task}.h5, what replacements of picture and words are made of;
results/predictions/{model}/{task}.h5, raw log-probabilities of every option in every pass, or what another program left.
"""


ruleorder: import_predictions > extract_predictions


rule probe_statistics:
    input:
        table="results/items/{task}.parquet",
    output:
        statistics="results/probes/{model}/{task}.h5",
    log:
        "results/logs/probe_statistics/{model}/{task}.log",
    benchmark:
        "results/benchmarks/probe_statistics/{model}/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        kept_check=kept_check,
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        training=lambda wildcards: design.training_folds(config),
        donors=SPECTRUM["donors"],
        answers=lambda wildcards: design.scored_answers(config, wildcards.task),
        seed=config["seed"],
        code=lambda wildcards: code_digest("probe_statistics", *design.plug_ins(config, model=wildcards.model)),
    script:
        "../../scripts/probe_statistics.py"


rule extract_predictions:
    input:
        table="results/items/{task}.parquet",
        statistics="results/probes/{model}/{task}.h5",
    output:
        predictions="results/predictions/{model}/{task}.h5",
    log:
        "results/logs/extract_predictions/{model}/{task}.log",
    benchmark:
        "results/benchmarks/extract_predictions/{model}/{task}.tsv"
    conda:
        "../../envs/extract.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        images=unrecorded(image_root),
        model=unrecorded(model_settings),
        kept_check=kept_check,
        shape=model_shape,
        model_id="{model}",
        task="{task}",
        instruction=lambda wildcards: design.instruction(config, wildcards.task),
        training=lambda wildcards: design.training_folds(config),
        passes=SPECTRUM["passes"],
        replacements=SPECTRUM["replacements"],
        draws=SPECTRUM["draws"],
        answers=lambda wildcards: design.scored_answers(config, wildcards.task),
        most=SPECTRUM["most"],
        lens=SPECTRUM["lens"],
        answer_tokens=config["extract"]["answer_tokens"],
        seed=config["seed"],
        code=lambda wildcards: code_digest("extract_predictions", *design.plug_ins(config, model=wildcards.model)),
    script:
        "../../scripts/extract_predictions.py"


rule import_predictions:
    input:
        training=lambda wildcards: local(imported(wildcards)["training"]),
        held_out=lambda wildcards: local(imported(wildcards)["held_out"]),
    output:
        predictions="results/predictions/{model}/{task}.h5",
    log:
        "results/logs/import_predictions/{model}/{task}.log",
    benchmark:
        "results/benchmarks/import_predictions/{model}/{task}.tsv"
    wildcard_constraints:
        model="|".join(sorted({re.escape(each["model"]) for each in SPECTRUM["imports"]})) or "(?!)",
    conda:
        "../../envs/extract.yaml"
    params:
        model_id="{model}",
        task="{task}",
        format=lambda wildcards: imported(wildcards)["format"],
        vision=lambda wildcards: imported(wildcards).get("vision"),
        language=lambda wildcards: imported(wildcards).get("language"),
        seed=config["seed"],
        code=code_digest("import_predictions"),
    script:
        "../../scripts/import_predictions.py"


rule predictions:
    input:
        predicted(),
