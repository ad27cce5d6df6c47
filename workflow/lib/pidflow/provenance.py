"""What a result was made from: digests of the code behind a stage."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pidflow.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent


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
        digest.update(f"{module} {_module_digest(module)}\n".encode())
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
def _tree(module: str) -> ast.Module:
    path = _module_file(module)
    if path is None:
        raise ConfigError(f"no module '{module}' under {PACKAGE}")
    return ast.parse(path.read_text(encoding="utf-8"))


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
    found = set()
    for node in _statements(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "pidflow")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pidflow":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if _module_file(inner) else node.module)
    return tuple(found)


@cache
def _module_digest(module: str) -> str:
    tree = _tree(module)
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
