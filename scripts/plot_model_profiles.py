"""Rule ``plot_model_profiles``: the four atoms of several models over relative depth, task by task."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.model_profiles(
            pid=snakemake.input.pid,
            output=snakemake.output.figure,
            models=snakemake.params.models,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
