"""Rule ``collect_spectrum``: the spectra of a run as tables, with claims."""

from pidflow.logs import job_log
from pidflow.stages import collect_spectrum

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        collect_spectrum.run(
            spectra=snakemake.input.spectra,
            tables={name.replace("_", "-"): list(paths) for name, paths in snakemake.output.items()},
            models=snakemake.params.models,
            catalogue=snakemake.params.catalogue,
            expected=snakemake.input.get("expected") or None,
            seed=snakemake.params.seed,
        )
