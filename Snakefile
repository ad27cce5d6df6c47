"""pidflow: what drives a vision-language model's answer, layer by layer.

snakemake                    what run.targets names: tables and figures of the run in the configuration
snakemake activations        hidden states and answers only
snakemake pid                up to the decomposition, no tables or figures
snakemake tables             tables without figures
snakemake figures            tables and figures
snakemake report             results/report.html: everything on one page that opens without a network
snakemake reproduction       a published study beside this run of its kit, for example config/2602.15580.yaml
snakemake sweeps             attention cut window by window: tables and figures, not part of the first
snakemake predictions        what models predict from each part of their input: not part of the first
snakemake spectrum           what models predict from each part of their input, decomposed: tables and figures
snakemake systems            the same beside the decomposition of states
snakemake reproduce --config other=PATH    this run compared with the one whose results folder is PATH: what differs, line by line
snakemake show_model           results/models: spans over tokens, patches over a picture, what the check at load found
snakemake results/standins/standin    train the shipped model again (about two hours on one core)
"""

from snakemake.utils import min_version

min_version("9.8")


include: "workflow/rules/common.smk"
include: "workflow/rules/standin.smk"
include: "workflow/rules/items.smk"
include: "workflow/rules/extract.smk"
include: "workflow/rules/pca.smk"
include: "workflow/rules/flow.smk"
include: "workflow/rules/pid.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/reproduction.smk"
include: "workflow/rules/spectrum.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/spectrum_pid.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


onsuccess:
    running.clear_unclaimed(Path("results"), conditions=[*analyses(), config["claims"]["blind"]])


rule all:
    input:
        *(getattr(rules, target).input for target in RUN["targets"]),
