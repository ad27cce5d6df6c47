"""Rule ``collect_pid``: everything the run found, as tidy tables, and the claims judged on them."""

from pidflow.logs import job_log
from pidflow.stages import collect_tables

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        collect_tables.run(
            pid=snakemake.input.pid,
            answers=snakemake.input.answers,
            blind_answers=snakemake.input.unseen,
            pca=snakemake.input.pca,
            flows=snakemake.input.flows,
            pid_table=snakemake.output.pid,
            differences_table=snakemake.output.differences,
            answers_table=snakemake.output.answers,
            lens_table=snakemake.output.lens,
            gaussianity_table=snakemake.output.gaussianity,
            dependence_table=snakemake.output.dependence,
            baselines_table=snakemake.output.baselines,
            predictions_table=snakemake.output.predictions,
            claims_table=snakemake.output.claims,
            knockout=snakemake.params.knockout,
            blind=snakemake.params.blind,
            unasked=snakemake.params.unasked,
            control=snakemake.params.control,
            controls=snakemake.params.controls,
            claim_estimators=snakemake.params.estimators,
            claim_definitions=snakemake.params.definitions,
        )
