"""Rule ``record_provenance``: what a set of tables was made from, with what, and where."""

from pidflow.logs import job_log
from pidflow.stages import record_provenance

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        record_provenance.run(
            output=snakemake.output.record,
            tables=snakemake.input.tables,
            items=snakemake.input.questions,
            answered=snakemake.input.answered,
            sources=snakemake.params.sources,
            configuration=snakemake.params.configuration,
            code=snakemake.params.digests,
            repository=snakemake.params.repository,
            threads=snakemake.threads,
        )
