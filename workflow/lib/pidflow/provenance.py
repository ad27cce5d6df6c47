"""What a result was made from: digests of the code of a stage."""

import ast
import atexit
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from pidflow.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent
# What was read of sources, by their content: the digest, and what they import as pairs of a module and a name in it.
_known: dict[str, tuple[str, list[tuple[str, str]]]] = {}


def remember(path: Path) -> None:
    """Keep in a file what is read of sources, by their content: parsing all of them takes a second at each start.

    A file that cannot be read or written is left alone.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        _known.update({key: (str(digest), [(a, b) for a, b in imports]) for key, (digest, imports) in kept.items()})
    atexit.register(_keep, path, frozenset(_known), os.getpid())


def _keep(path: Path, before: frozenset[str], process: int) -> None:
    if os.getpid() != process or before == _known.keys():
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{process}")
        unfinished.write_text(json.dumps(_known), encoding="utf-8")
        unfinished.replace(path)


def code_digest(stage: str, *modules: str) -> str:
    """Digest of every pidflow module that ``stages/<stage>.py`` imports, directly or not, and of that module itself.

    Parameters
    ----------
    stage
        Name of the stage.
    modules
        Plug-ins that the job names, which the stage loads by name (see :func:`pidflow.plugins.registry.module_of`);
        what they import counts too.

    Notes
    -----
    Comments, docstrings, descriptions of settings and layout do not enter, so only a change of what the code does
    changes the digest. A rule takes it as a parameter, and Snakemake then reruns exactly the stages whose code changed.

    Raises
    ------
    ConfigError
        If there is no such stage.
    """
    start = f"pidflow.stages.{stage}"
    if _module_file(start) is None:
        raise ConfigError(f"unknown stage '{stage}', expected one of: {', '.join(stages())}")
    return modules_digest(start, *modules)


def modules_digest(*modules: str) -> str:
    """Digest of modules and of every pidflow module that they import, directly or not."""
    digest = hashlib.sha256()
    for module in sorted(set().union(*map(modules_behind, modules))):
        digest.update(f"{module} {_read(module)[0]}\n".encode())
    return digest.hexdigest()[:16]


def stages() -> list[str]:
    """Names of all stages."""
    return sorted(path.stem for path in (PACKAGE / "stages").glob("[!_]*.py"))


def modules_behind(module: str) -> set[str]:
    """Names of the pidflow modules that ``module`` imports, directly or not, itself included.

    Imports are read from the source, those inside functions too; nothing is imported.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += direct_imports(name)
    return found


def _module_file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _source(module: str) -> bytes:
    path = _module_file(module)
    if path is None:
        raise ConfigError(f"no module '{module}' under {PACKAGE}")
    return path.read_bytes()


@cache
def _reader() -> bytes:
    """What reads sources: this file, by this Python."""
    return Path(__file__).read_bytes() + sys.version.encode()


@cache
def _read(module: str) -> tuple[str, list[tuple[str, str]]]:
    """Digest of a module, and what it imports of pidflow."""
    source = _source(module)
    key = hashlib.sha256(_reader() + source).hexdigest()
    if key not in _known:
        tree = ast.parse(source)
        imports = _imports(tree)  # before the digest, which changes the tree
        _known[key] = _digest(tree), imports
    return _known[key]


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and every statement in it, however deep. Expressions hold none and are most of a tree."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, [])


@cache
def direct_imports(module: str) -> tuple[str, ...]:
    """The pidflow modules that a module imports, those imported inside functions too, read from its source."""
    _, imports = _read(module)
    found = {f"{outer}.{name}" if name and _module_file(f"{outer}.{name}") else outer for outer, name in imports}
    return tuple(sorted(found))


def _imports(tree: ast.Module) -> list[tuple[str, str]]:
    found = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "pidflow"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pidflow":
            found |= {(node.module, alias.name) for alias in node.names}
    return sorted(found)


def _digest(tree: ast.Module) -> str:
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            node.value.keywords = [word for word in node.value.keywords if word.arg != "description"]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
