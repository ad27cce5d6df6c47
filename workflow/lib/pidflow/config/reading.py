"""Files of the configuration, read more strictly than Snakemake reads them: one meaning each, and no code in them.

``python -m pidflow.config.reading study.yaml`` states what is wrong with a file, and in which line.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pidflow.errors import ConfigError, first_line

# A top-level key with which Snakemake runs expressions of a YAML file as Python.
TEMPLATE_KEY = "__use_yte__"


class _Strict(yaml.SafeLoader):
    """Plain values only; a key that stands in a mapping twice is refused, where YAML's own reader drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, list | dict):
                raise ConfigError(f"line {line}: a key is a list or a mapping, expected text")
            if key in seen:
                raise ConfigError(
                    f"line {line}: key '{key}' stands here again, first in line {seen[key]}; keep one of them"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """A configuration file, YAML or JSON.

    Raises
    ------
    ConfigError
        If it is missing or no such file, has the same key twice, values with tags, or asks for expressions to be run.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except ConfigError as err:
        raise ConfigError(f"{path} {err}") from None
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read as a file of the configuration ({err.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        why = getattr(err, "problem", None) or first_line(err)
        tabs = "; indent with blanks, not with tabs" * ("'\\t'" in why)
        raise ConfigError(f"{path}{line}: is no plain YAML ({why}){tabs}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds {type(found).__name__}, expected keys and values of the configuration")
    if TEMPLATE_KEY in found:
        raise ConfigError(
            f"{path}: '{TEMPLATE_KEY}' makes Snakemake run what the file holds as Python; pidflow takes values only, "
            "remove it (SECURITY.md)"
        )
    return found


def check(paths: Iterable[str | Path]) -> None:
    """Refuse files that :func:`read` refuses."""
    for path in paths:
        read(Path(path))


if __name__ == "__main__":
    try:
        check(sys.argv[1:])
    except ConfigError as err:
        sys.exit(str(err))
