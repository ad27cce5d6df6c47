"""Rule ``calibrate``: the estimator of this run, judged on planted cases of this run's size."""

from pidflow.logs import job_log
from pidflow.stages import calibrate

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        calibrate.run(
            pca=snakemake.input.pca,
            scorecard=snakemake.output.scorecard,
            estimators=snakemake.params.estimators,
            definitions=snakemake.params.definitions,
            permutations=snakemake.params.permutations,
            jackknife_groups=snakemake.params.jackknife_groups,
            folds=snakemake.params.folds,
            settings=snakemake.params.settings,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
        )
