"""Rule ``plot_lens_courses``: probability of the answer read out at each layer."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.lens_courses(
            lens=snakemake.input.lens,
            output=snakemake.output.figure,
            model=snakemake.params.model,
            tasks=snakemake.params.tasks,
        )
