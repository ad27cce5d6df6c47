"""How far a long job is: a bar on a terminal, and a line in the log now and then."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pidflow.logs import spoken

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two lines


class Progress:
    """Counts items. Short jobs leave no line."""

    def __init__(self, bar: tqdm, total: int, done: int) -> None:
        self.bar, self.total, self.done, self.begun_with = bar, total, done, done
        self.began = self.said = time.monotonic()

    def update(self, count: int) -> None:
        """Note that ``count`` more items are done."""
        self.bar.update(count)
        self.done += count
        now = time.monotonic()
        if now - self.said >= EVERY:
            self.said = now
            left = (now - self.began) / (self.done - self.begun_with) * (self.total - self.done)
            log.info("%d of %d items done, %s left", self.done, self.total, spoken(left))


@contextmanager
def progress_of(total: int, *, done: int = 0, shown: bool | None = None) -> Iterator[Progress]:
    """The progress of a loop over items.

    Parameters
    ----------
    total, done
        Items in all, and those that were done before.
    shown
        Show a bar; None: only on a terminal.
    """
    with tqdm(total=total, initial=done, unit="item", disable=None if shown is None else not shown) as bar:
        yield Progress(bar, total, done)
