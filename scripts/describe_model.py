"""Rule ``describe_model``: one question as a model meets it, and what the check at load found."""

from pidflow.logs import job_log
from pidflow.stages import describe_model

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        describe_model.run(
            items=snakemake.input.table,
            output=snakemake.output.page,
            findings=snakemake.output.findings,
            page=snakemake.input.template,
            style=snakemake.input.style,
            title=snakemake.params.title,
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            image_root=snakemake.params.images,
        )
