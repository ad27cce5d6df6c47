"""Rule ``plot_calibration``: estimates against planted truth."""

from pidflow.logs import job_log
from pidflow.stages import plot

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        plot.calibration(
            scorecard=snakemake.input.calibration,
            output=snakemake.output.figure,
            definition=snakemake.params.definition,
        )
