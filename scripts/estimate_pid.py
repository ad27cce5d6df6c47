"""Rule ``estimate_pid``: decompositions of all layers of one unit."""

from pidflow.logs import job_log
from pidflow.stages import estimate_pid

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        estimate_pid.run(
            pca=snakemake.input.pca,
            flow=snakemake.input.flow,
            twin=snakemake.input.twin,
            bound=snakemake.input.bound,
            outputs=snakemake.output.pid,
            estimators=snakemake.params.estimators,
            definitions=snakemake.params.definitions,
            permutations=snakemake.params.permutations,
            jackknife_groups=snakemake.params.jackknife_groups,
            seed=snakemake.params.seed,
            unit=snakemake.params.unit,
        )
