"""Rule ``fit_pca``: principal components of every layer and block of one unit."""

from pidflow.logs import job_log
from pidflow.stages import fit_pca

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        fit_pca.run(
            activations=snakemake.input.activations,
            answers=snakemake.input.answers,
            output=snakemake.output.pca,
            correct_only=snakemake.params.correct_only,
            language=snakemake.params.language,
            variance=snakemake.params.variance,
            max_components=snakemake.params.max_components,
            target_components=snakemake.params.target_components,
            seed=snakemake.params.seed,
            unit=snakemake.params.unit,
            target=snakemake.input.get("target") or None,
        )
