"""Rule ``plot_layer_profiles``: the four atoms over the layers, task by task."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.layer_profiles(
            pid=snakemake.input.pid,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            conditions=snakemake.params.conditions,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
