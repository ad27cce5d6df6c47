"""pidflow: partial information decomposition of vision-language models, layer by layer.

Everything that a notebook needs is here: ``from pidflow import gaussian_pid, estimate_pid, read_tables``.
"""

from importlib import import_module

# Looked up on first use, so that importing pidflow costs nothing; a Snakemake job imports only what it computes with.
_HOME = {
    "Activations": "pidflow.files.store",
    "BatchPID": "pidflow.pid.batch_estimator",
    "CriticBound": "pidflow.validation.critic",
    "DEFAULT_EDGES": "pidflow.interventions.edges",
    "Example": "pidflow.models.inputs",
    "Expected": "pidflow.models.answers",
    "FlowConfig": "pidflow.flows.settings",
    "Gaussianized": "pidflow.flows.gaussianize",
    "MIEstimate": "pidflow.pid.results",
    "PIDAtoms": "pidflow.pid.gaussian",
    "PIDEstimate": "pidflow.pid.results",
    "PairedDifference": "pidflow.pid.paired",
    "PredictedRows": "pidflow.spectrum.decompose",
    "batch_pid": "pidflow.pid.batch_estimator",
    "critic_information": "pidflow.validation.critic",
    "decompose_predictions": "pidflow.spectrum.decompose",
    "discrete_pid": "pidflow.pid.discrete",
    "draw_question": "pidflow.data.scenes",
    "draw_scene": "pidflow.data.scenes",
    "encode": "pidflow.models.inputs",
    "estimate_mi": "pidflow.pid.estimate",
    "estimate_pid": "pidflow.pid.estimate",
    "estimate_pid_from_latents": "pidflow.pid.from_latents",
    "gaussian_mi": "pidflow.pid.gaussian_system",
    "gaussian_pid": "pidflow.pid.gaussian",
    "gaussianize": "pidflow.flows.gaussianize",
    "load_model": "pidflow.models.loading",
    "load_run": "pidflow.analysis.run",
    "measure_sweep": "pidflow.interventions.sweep",
    "paired_difference": "pidflow.pid.paired",
    "planted_cases": "pidflow.validation.planted_cases",
    "read_activations": "pidflow.files.store",
    "read_tables": "pidflow.files.store",
    "summarise_sweep": "pidflow.interventions.sweep",
    "sweep_probes": "pidflow.interventions.probes",
}
# What is called otherwise where it lives.
_THERE = {
    "draw_question": "ask_about_new_scene",
    "draw_scene": "render",
    "load_model": "load",
    "measure_sweep": "measure",
    "read_activations": "reading_activations",
    "summarise_sweep": "summarise",
    "sweep_probes": "probes",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("pidflow.versions").own_version()
    if name not in _HOME:
        raise AttributeError(f"module 'pidflow' has no attribute {name!r}; it offers {', '.join(__all__)}")
    try:
        module = import_module(_HOME[name])
    except ModuleNotFoundError as err:
        if (err.name or "").split(".")[0] == "pidflow":
            raise
        raise ImportError(
            f"pidflow.{name} needs {err.name}, which is not installed; pip install 'pidflow[workflow]' brings it"
        ) from err
    return getattr(module, _THERE.get(name, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
