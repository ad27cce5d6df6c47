"""pidflow: partial information decomposition of vision-language models, layer by layer.

Everything that a notebook needs is here: ``from pidflow import gaussian_pid, estimate_pid, read_tables``.
"""

from importlib import import_module

# Looked up on first use, so that importing pidflow costs nothing; a Snakemake job imports only what it computes with.
_HOME = {
    "Activations": "pidflow.store",
    "BatchPID": "pidflow.pid.batch_estimator",
    "CriticBound": "pidflow.validation.critic",
    "FlowConfig": "pidflow.flows.settings",
    "Gaussianized": "pidflow.flows.gaussianize",
    "MIEstimate": "pidflow.pid.results",
    "PIDAtoms": "pidflow.pid.gaussian",
    "PIDEstimate": "pidflow.pid.results",
    "PairedDifference": "pidflow.pid.results",
    "batch_pid": "pidflow.pid.batch_estimator",
    "critic_information": "pidflow.validation.critic",
    "discrete_pid": "pidflow.pid.discrete",
    "estimate_mi": "pidflow.pid.estimate",
    "estimate_pid": "pidflow.pid.estimate",
    "estimate_pid_from_latents": "pidflow.pid.from_latents",
    "gaussian_mi": "pidflow.pid.gaussian_system",
    "gaussian_pid": "pidflow.pid.gaussian",
    "gaussianize": "pidflow.flows.gaussianize",
    "load_model": "pidflow.models.loading",
    "paired_difference": "pidflow.pid.results",
    "planted_cases": "pidflow.validation.planted_cases",
    "read_activations": "pidflow.store",
    "read_tables": "pidflow.store",
}
# What is called otherwise where it lives.
_THERE = {"load_model": "load", "read_activations": "reading_activations"}
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
