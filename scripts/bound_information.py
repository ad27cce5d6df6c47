"""Rule ``bound_information``: what a held-out critic proves of the joint information of every layer of one unit."""

from pidflow.logs import job_log
from pidflow.stages import bound_information

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        bound_information.run(
            pca=snakemake.input.pca,
            flow=snakemake.input.flow,
            output=snakemake.output.bound,
            seed=snakemake.params.seed,
            unit=snakemake.params.unit,
            threads=snakemake.threads,
            code=snakemake.params.code,
        )
