"""Rule ``extract_predictions``: what one model predicts on one task from all of its input, and from each part of it."""

from pidflow.logs import job_log
from pidflow.stages import extract_predictions

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        extract_predictions.run(
            items=snakemake.input.table,
            statistics=snakemake.input.statistics,
            output=snakemake.output.predictions,
            image_root=snakemake.params.images,
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            training=snakemake.params.training,
            passes=snakemake.params.passes,
            replacements=snakemake.params.replacements,
            draws=snakemake.params.draws,
            answers=snakemake.params.answers,
            most=snakemake.params.most,
            lens=snakemake.params.lens,
            answer_tokens=snakemake.params.answer_tokens,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            kept_check=snakemake.params.kept_check,
        )
