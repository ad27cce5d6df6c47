"""Plug-ins: a file in a folder is the registration, and its name is what the configuration calls it.

A plug-in is one module. It holds ``Settings`` (a subclass of :class:`pidflow.plugins.settings.Settings`, where it has
any), its code, and nothing that is slow to import at its top: the workflow reads the settings of all plug-ins before it
plans.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pidflow.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
# Folder of each kind of plug-in below the package, and what one of them is called in a sentence.
KINDS = {
    "models.families": "model family",
    "data.readers": "reader",
    "interventions.kinds": "kind of intervention",
    "pid.estimators": "estimator",
    "flows.maps": "map of the flow",
    "figures": "figure",
}


@cache
def available(folder: str) -> tuple[str, ...]:
    """Ids of the plug-ins in a folder, in alphabetical order: names of files, with dashes for underscores."""
    files = PACKAGE.joinpath(*folder.split(".")).glob("[!_]*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files))


def module_of(folder: str, name: str) -> str:
    """Full name of the module of a plug-in, which a digest of the code covers.

    Raises
    ------
    ConfigError
        If the folder holds no such file.
    """
    if name not in available(folder):
        raise ConfigError(f"unknown {KINDS[folder]} '{name}', expected one of: {', '.join(available(folder))}")
    return f"pidflow.{folder}.{name.replace('-', '_')}"


def load(folder: str, name: str) -> ModuleType:
    """The plug-in of that id; raises as :func:`module_of` does."""
    return import_module(module_of(folder, name))
