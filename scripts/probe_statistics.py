"""Rule ``probe_statistics``: what replacements of picture and words are made of, for one model on one task."""

from pidflow.logs import job_log
from pidflow.stages import probe_statistics

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        probe_statistics.run(
            items=snakemake.input.table,
            output=snakemake.output.statistics,
            image_root=snakemake.params.images,
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            training=snakemake.params.training,
            donors=snakemake.params.donors,
            answers=snakemake.params.answers,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            kept_check=snakemake.params.kept_check,
        )
