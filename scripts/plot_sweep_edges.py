"""Rule ``plot_sweep_edges``: every edge's effect over the windows, with random controls and transfer windows."""

from pidflow.logs import job_log
from pidflow.stages import plot_sweeps

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot_sweeps.edges(
            sweeps=snakemake.input.sweeps,
            transfer=snakemake.input.transfer,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            tasks=snakemake.params.tasks,
        )
