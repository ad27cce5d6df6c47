"""Rule ``collect_sweeps``: all sweeps as tidy tables, their transfer windows, and the two-stage statements."""

from pidflow.logs import job_log
from pidflow.stages import collect_sweeps

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        collect_sweeps.run(
            summaries=snakemake.input.summaries,
            details=snakemake.input.details,
            sweeps_table=snakemake.output.sweeps,
            transfer_windows_table=snakemake.output.transfer_windows,
            two_stages_table=snakemake.output.two_stages,
            heads=snakemake.input.heads,
            heads_table=snakemake.output.get("heads", ()),
            window=snakemake.params.window,
            least=snakemake.params.least,
            seed=snakemake.params.seed,
        )
