"""Rule ``extract_activations``: hidden states and answers of one model on one task under one condition."""

from pidflow.logs import job_log
from pidflow.stages import extract_activations

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        extract_activations.run(
            items=snakemake.input.table,
            answers=snakemake.output.get("answers"),
            activations=snakemake.output.get("activations"),
            shard=snakemake.output.get("shard"),
            part=snakemake.params.part,
            shards=snakemake.input.get("shards", ()),
            condition=snakemake.params.condition,
            intervention=snakemake.params.intervention,
            key=snakemake.params.key,
            along=snakemake.params.along,
            image_root=snakemake.params.images,
            model=snakemake.params.model,
            model_id=snakemake.params.model_id,
            task=snakemake.params.task,
            instruction=snakemake.params.instruction,
            target_kind=snakemake.params.target,
            **snakemake.params.stored,
            **snakemake.params.judged,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            kept_check=snakemake.params.kept_check,
        )
