"""Rule ``collect_reproduction``: published results beside those of this run."""

from pidflow.logs import job_log
from pidflow.stages import collect_reproduction

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        collect_reproduction.run(
            study=snakemake.params.study,
            claims=snakemake.input.claims,
            outputs=snakemake.output.table,
        )
