"""Rule ``plant_twin``: a parametric bootstrap twin of every layer of one unit, and the latents found in it."""

from pidflow.logs import job_log
from pidflow.stages import plant_twin

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plant_twin.run(
            pca=snakemake.input.pca,
            flow=snakemake.input.flow,
            weights=snakemake.input.weights,
            output=snakemake.output.twin,
            settings=snakemake.params.settings,
            seed=snakemake.params.seed,
            unit=snakemake.params.unit,
            threads=snakemake.threads,
            code=snakemake.params.code,
        )
