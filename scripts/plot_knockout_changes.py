"""Rule ``plot_knockout_changes``: what an intervention changes, layer by layer."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.knockout_changes(
            differences=snakemake.input.differences,
            answers=snakemake.input.answers,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            condition=snakemake.params.condition,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
