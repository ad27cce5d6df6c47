"""Work that a thread does ahead of the one that needs it."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(values: Iterator[T], *, count: int) -> Iterator[T]:
    """The same values; so many of the next are made by a thread while the caller is at one."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        upcoming = deque(worker.submit(next, values, None) for _ in range(count))
        while (value := upcoming.popleft().result()) is not None:
            upcoming.append(worker.submit(next, values, None))
            yield value
