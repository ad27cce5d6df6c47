"""Rule ``plot_overview``: the run in one picture."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.overview(
            pid=snakemake.input.pid,
            differences=snakemake.input.differences,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            knockout=snakemake.params.knockout,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
