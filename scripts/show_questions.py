"""Rule ``show_questions``: a few questions of a task as a model meets them."""

from pidflow.logs import job_log
from pidflow.stages import show_questions

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        show_questions.run(
            items=snakemake.input.table,
            images=snakemake.params.images,
            answers=dict(zip(snakemake.params.conditions, snakemake.input.answers, strict=True)),
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            count=snakemake.params.shown,
            output=snakemake.output[0],
        )
