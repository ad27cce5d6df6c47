"""Rule ``compare_systems``: states and predictions, decomposed on the same models and tasks."""

from pidflow.logs import job_log
from pidflow.stages import compare_systems

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        compare_systems.run(
            pid=snakemake.input.pid,
            spectrum=snakemake.input.spectrum,
            two_systems=snakemake.output.two_systems,
            agreement=snakemake.output.agreement,
            estimator=snakemake.params.estimator,
            definition=snakemake.params.definition,
        )
