"""Rule ``train_standin``: the stand-in model, or a variant of it."""

import torch

from pidflow.logs import job_log
from pidflow.stages import train_standin

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        train_standin.run(
            output=snakemake.output.model,
            **(snakemake.params.settings | snakemake.params.folders),
            seed=snakemake.params.seed,
        )
