"""Windows of decoder blocks that an edge is cut in: centred on each block, single blocks, a range, or all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pidflow.errors import ConfigError


@dataclass(frozen=True, order=True)
class Window:
    """Consecutive blocks ``first`` … ``last``, both included, counted from 0.

    Attributes
    ----------
    size
        Blocks asked for; a centred window that sticks out of the model holds fewer.
    centre
        The block it is centred on (of a range: its middle, rounded down).
    """

    size: int
    centre: int
    first: int
    last: int

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks in the window."""
        return tuple(range(self.first, self.last + 1))


def windows(wanted: int | str | Sequence[int], *, depth: int) -> list[Window]:
    """The windows that a setting asks for in a model of ``depth`` blocks.

    Parameters
    ----------
    wanted
        A size k: one window of k blocks around every block (an even k reaches one block further up), cut off at the
        ends of the model; 1 gives single blocks. ``"all"``: one window of all blocks. ``[first, last]``: that range.

    Raises
    ------
    ConfigError
        If a window is empty or reaches beyond the last block.
    """
    if wanted == "all":
        return [_range(0, depth - 1)]
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if len(wanted) != 2 or not all(_is_whole(end) for end in wanted):
            raise ConfigError(f"a range of blocks is [first, last], found {list(wanted)!r}")
        first, last = wanted
        if first > last:
            raise ConfigError(f"the window [{first}, {last}] is empty; its first block must not come after its last")
        if first < 0 or last >= depth:
            raise ConfigError(
                f"the window [{first}, {last}] reaches beyond the model's blocks, which are counted 0 to {depth - 1}"
            )
        return [_range(first, last)]
    if not _is_whole(wanted):
        raise ConfigError(f"a window is a number of blocks, [first, last] or 'all', found {wanted!r}")
    if wanted < 1:
        raise ConfigError(f"a window of {wanted} blocks is empty; give at least 1")
    if wanted > depth:
        raise ConfigError(
            f"a window of {wanted} blocks reaches beyond the model's {depth}; give at most {depth}, or 'all'"
        )
    below = (wanted - 1) // 2
    return [
        Window(size=wanted, centre=centre, first=max(0, centre - below), last=min(depth, centre - below + wanted) - 1)
        for centre in range(depth)
    ]


def _range(first: int, last: int) -> Window:
    return Window(size=last - first + 1, centre=(first + last) // 2, first=first, last=last)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
