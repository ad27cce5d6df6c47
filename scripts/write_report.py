"""Rule ``write_report``: one page with everything a run found."""

from pidflow.logs import job_log
from pidflow.stages import write_report

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        write_report.run(
            output=snakemake.output.page,
            tables={name: snakemake.input[name] for name in snakemake.params.tables},
            questions=snakemake.input.questions,
            page=snakemake.input.page,
            style=snakemake.input.style,
            script=snakemake.input.script,
            configuration=snakemake.params.configuration,
            titles=snakemake.params.titles,
            provenance=snakemake.input.provenance,
        )
