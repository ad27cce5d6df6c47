"""Rule ``plot_dependence``: what a task's change under the knockout depends on."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.dependence(
            dependence=snakemake.input.dependence,
            claims=snakemake.input.claims,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            tasks=snakemake.params.tasks,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
