"""Versions of pidflow and of the libraries it requires, which results keep; from one place, pyproject.toml."""

import re
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pidflow.errors import ConfigError

# Beside the library in a clone, which jobs use without installing it.
_PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Extras that shape no result.
_TOOLS = ("dev", "docs")


@cache
def _project() -> dict | None:
    """What pyproject.toml of the clone states; None in an installation, where another project's may lie there."""
    if not _PROJECT.is_file():
        return None
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8")).get("project", {})
    return project if project.get("name") == "pidflow" else None


@cache
def own_version() -> str:
    """Version of pidflow: that of the clone, else that of the installation."""
    project = _project()
    return version("pidflow") if project is None else project["version"]


def check(pyproject: str | Path) -> None:
    """Refuse rules of another version than this library.

    Raises
    ------
    ConfigError
        If the project file that lies beside the rules has another version.
    """
    rules = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]["version"]
    if rules != own_version():
        raise ConfigError(
            f"the rules are of pidflow {rules}, the installed library is {own_version()}: install the same version"
        )


@cache
def required() -> tuple[str, ...]:
    """Names of the libraries that pidflow requires, in alphabetical order; tools for developers left out."""
    if (project := _project()) is not None:
        extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in _TOOLS}
        lines = [*project["dependencies"], *(line for group in extras.values() for line in group)]
    else:
        tools = re.compile(rf"extra == ['\"]({'|'.join(_TOOLS)})['\"]")
        lines = [line for line in requires("pidflow") or [] if not tools.search(line)]
    return tuple(sorted({_NAME.match(line)[0] for line in lines} - {"pidflow"}))


def library_versions() -> dict[str, str]:
    """Versions of pidflow and of the required libraries that are installed."""
    found = {"pidflow": own_version()}
    for name in required():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a stage's own environment holds what that stage needs
    return found
