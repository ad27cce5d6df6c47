"""Rule ``estimate_spectrum``: the decomposition of one model's predictions on one task."""

from pidflow.logs import job_log
from pidflow.stages import estimate_spectrum

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        estimate_spectrum.run(
            predictions=snakemake.input.predictions,
            spectrum=snakemake.output.spectrum,
            model=snakemake.params.model_id,
            task=snakemake.params.task,
            settings=snakemake.params.settings,
            threads=snakemake.threads,
            seed=snakemake.params.seed,
        )
