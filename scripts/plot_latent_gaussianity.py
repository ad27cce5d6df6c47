"""Rule ``plot_latent_gaussianity``: how far from normal data and latents are."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.latent_gaussianity(
            gaussianity=snakemake.input.gaussianity,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            tasks=snakemake.params.tasks,
        )
