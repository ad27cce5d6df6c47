"""A choice among the plug-ins of a folder, as a type: one of their settings each, told apart by a key that names it."""

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from pidflow.plugins import registry
from pidflow.plugins.settings import Settings


def chosen(folder: str, key: str, *common: type[Settings]) -> Any:
    """The type of a mapping whose `key` names a plug-in, which brings its settings beside those that all share.

    Parameters
    ----------
    folder
        Of the plug-ins, as in :data:`pidflow.plugins.registry.KINDS`.
    common
        Settings of every such entry; a plug-in's own go before them.
    """
    entries = tuple(
        create_model(
            f"{registry.KINDS[folder].capitalize().replace(' ', '')}_{name}",
            __base__=_bases(getattr(registry.load(folder, name), "Settings", Settings), *common),
            **{key: (Literal[name], Field(description=f"Names the {registry.KINDS[folder]}."))},
        )
        for name in registry.available(folder)
    )
    entry = entries[0]
    for other in entries[1:]:
        entry = entry | other
    return Annotated[entry, Field(discriminator=key)] if len(entries) > 1 else entry


def _bases(*classes: type[Settings]) -> tuple[type[Settings], ...]:
    """The classes without those that another one derives from."""
    return tuple(each for each in classes if not any(each in other.__mro__[1:] for other in classes)) or classes[:1]
