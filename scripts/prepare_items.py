"""Rule ``prepare_items``: the questions of one task, with folds split by image."""

from pidflow.logs import job_log
from pidflow.stages import prepare_items

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        prepare_items.run(
            output=snakemake.output.table,
            dropped=snakemake.output.dropped,
            task=snakemake.params.task,
            settings=snakemake.params.settings,
            folds=snakemake.params.folds,
            seed=snakemake.params.seed,
        )
