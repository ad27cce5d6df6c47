"""Rule ``collect_pid``: everything the run found, as tidy tables, and the claims judged on them."""

from pidflow.logs import job_log
from pidflow.stages import tables

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        tables.run(
            pid=snakemake.input.pid,
            answers=snakemake.input.answers,
            flows=snakemake.input.flows,
            pid_table_to=snakemake.output.pid,
            differences_to=snakemake.output.differences,
            answers_to=snakemake.output.answers,
            lens_to=snakemake.output.lens,
            gaussianity_to=snakemake.output.gaussianity,
            claims_to=snakemake.output.claims,
            knockout=snakemake.params.knockout,
            claim_routes=snakemake.params.routes,
            claim_definitions=snakemake.params.definitions,
        )
