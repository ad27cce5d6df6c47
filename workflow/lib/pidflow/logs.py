"""Logging of one job: everything to its log file, what a reader follows to stderr, errors as one sentence."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pidflow.errors import PidflowError

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def job_log(path: str | Path) -> Iterator[None]:
    """Log to ``path`` and to stderr while the body runs; turn an error into a logged one and a non-zero exit.

    Details of pidflow (level debug, a line a layer or step) go to the file alone.
    A :class:`~pidflow.errors.PidflowError` is a sentence written for the user: stderr shows that sentence, the file
    ends with it and has the traceback above it. Any other exception is a defect, and its traceback goes to both.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(target, mode="w", encoding="utf-8")
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setLevel(logging.INFO)
    root, log = logging.getLogger(), logging.getLogger("pidflow")
    levels = {root: logging.INFO, log: logging.DEBUG}
    before = {logger: logger.level for logger in levels}
    for handler in (to_file, to_stderr):
        handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%H:%M:%S"))
        root.addHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)
    logging.captureWarnings(True)
    try:
        yield
    except PidflowError as error:
        root.removeHandler(to_stderr)
        log.exception("where it happened")
        root.addHandler(to_stderr)
        log.error("%s", error)
        raise SystemExit(1) from None
    except Exception:
        log.exception("a defect in pidflow or in a library it calls")
        raise SystemExit(1) from None
    finally:
        logging.captureWarnings(False)
        for logger, level in before.items():
            logger.setLevel(level)
        for handler in (to_file, to_stderr):
            root.removeHandler(handler)
            handler.close()


def spoken(seconds: float) -> str:
    """A duration in words, to the precision that one plans with: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
