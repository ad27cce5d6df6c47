"""Rule ``reproduce``: this run compared with another, what differs on one line each."""

from pidflow.logs import job_log
from pidflow.stages import reproduce

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        reproduce.run(
            records=snakemake.input.records,
            tables=snakemake.params.tables,
            other=snakemake.params.other,
        )
