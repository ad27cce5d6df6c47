"""Rule ``import_predictions``: what another program left of one model on one task, as predictions."""

from pidflow.logs import job_log
from pidflow.stages import import_predictions

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        import_predictions.run(
            training=snakemake.input.training,
            held_out=snakemake.input.held_out,
            output=snakemake.output.predictions,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            format=snakemake.params.format,
            vision=snakemake.params.vision,
            language=snakemake.params.language,
            seed=snakemake.params.seed,
        )
