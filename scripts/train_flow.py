"""Rule ``train_flow``: cross-fitted Gaussian latents of every layer of one unit."""

from pidflow.logs import job_log
from pidflow.stages import train_flow

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        train_flow.run(
            pca=snakemake.input.pca,
            output=snakemake.output.flow,
            weights=snakemake.output.weights,
            settings=snakemake.params.settings,
            seed=snakemake.params.seed,
            unit=snakemake.params.unit,
            threads=snakemake.threads,
            everywhere=snakemake.params.everywhere,
            along=snakemake.params.along,
        )
