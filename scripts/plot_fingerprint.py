"""Rule ``plot_fingerprint``: shares of the atoms at the last layer."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.fingerprint(
            pid=snakemake.input.pid,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            condition=snakemake.params.condition,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
