"""Rule ``sweep_knockout``: edges cut in windows of blocks, and what becomes of the model's answers."""

from pidflow.logs import job_log
from pidflow.stages import sweep_knockout

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        sweep_knockout.run(
            items=snakemake.input.table,
            answers=snakemake.input.answers,
            output=snakemake.output.summary,
            details=snakemake.output.details,
            heads=snakemake.output.get("heads"),
            head_edges=snakemake.params.head_edges,
            spared=snakemake.params.spared,
            moved=snakemake.params.moved,
            image_root=snakemake.params.images,
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            **snakemake.params.swept,
            rule=snakemake.params.rule,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            kept_check=snakemake.params.kept_check,
        )
