"""pidflow: partial information decomposition of vision-language models, layer by layer.

The numerics are usable on their own: ``from pidflow import gaussian_pid, estimate_pid, estimate_mi``.
"""

from importlib import import_module

# Looked up on first use, so that importing pidflow costs nothing; a Snakemake job imports only what it computes with.
_HOME = {
    "PIDAtoms": "pidflow.pid.gaussian",
    "PIDEstimate": "pidflow.pid.results",
    "estimate_mi": "pidflow.pid.estimate",
    "estimate_pid": "pidflow.pid.estimate",
    "estimate_pid_from_latents": "pidflow.pid.from_latents",
    "gaussian_mi": "pidflow.pid.gaussian_system",
    "gaussian_pid": "pidflow.pid.gaussian",
    "paired_difference": "pidflow.pid.results",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pidflow' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
