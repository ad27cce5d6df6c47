"""Rule ``plot_sweep_edges``: every edge's effect over the windows, with random controls and transfer windows."""

from pidflow.logs import job_log
from pidflow.stages import sweep_figures

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        sweep_figures.edges(
            sweeps=snakemake.input.sweeps,
            transfer=snakemake.input.transfer,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            tasks=snakemake.params.tasks,
        )
