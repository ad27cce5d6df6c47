"""Rules ``plot_*``: the figure that the rule names, from its tables."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.run(
            figure=snakemake.params.figure,
            tables=dict(snakemake.input.items()),
            output=list(snakemake.output),
            titles=snakemake.params.titles,
            given=dict(snakemake.params.items()),
        )
