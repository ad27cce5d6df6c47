"""Work that survives a kill: what a job has finished of a task, and how it becomes results.

A folder beside the results holds a journal, whose first line says what everything is made from, with a line for each
chunk of questions that is on the disk; and a file of states for each condition that stores them. The next job of the
same results goes on where the last whole chunk ends. Where the first line would be another, it starts afresh.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.files.journal import Journal, entries
from pidflow.files.writing import put_in_place, writing_to
from pidflow.running import WORK
from pidflow.stages._checked import MODEL_CHECK
from pidflow.stages._results import Condition
from pidflow.stages._states import StatesFile, Stored, begin

log = logging.getLogger(__name__)

_JOURNAL = "journal.jsonl"
# What shards of one task may differ in, and does not decide about results.
_OWN = ("rows", MODEL_CHECK)


def work_folder(result: str | Path) -> Path:
    """Where the work on a result lies until that is whole."""
    result = Path(result)
    return result.parent / WORK / result.stem


class Work(AbstractContextManager):
    """The unfinished results of one job.

    Parameters
    ----------
    folder
        See :func:`work_folder`.
    header
        Plain values that everything is made from, among them ``rows`` ``[first, stop]``, ``stored`` (of
        :class:`Stored`), ``attrs`` and ``identity`` of the files of states, ``candidates``, and ``conditions``: by name
        the intervention's ``entry`` and whether ``states`` are stored.
    table
        All questions of the task.
    kept
        Whether chunks are kept for the next job when this one fails, and those of the last are gone on with.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], table: pd.DataFrame, *, kept: bool) -> None:
        self.folder, self.table, self.kept = folder, table, kept
        self.header: dict[str, Any] = plain(header)
        self.rows = range(*self.header["rows"])
        self.files: dict[str, StatesFile] = {}

    def __enter__(self) -> "Work":
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(self.folder / _JOURNAL)
        try:
            stored = stored_of(self.header)
            wanted = {name: self.folder / f"{name}.h5" for name in self._with_states()}
            if not (self._same() and all(path.is_file() for path in wanted.values())):
                self._start_afresh(wanted, stored)
            elif self.done:
                log.info("%d of %d questions were done before, going on from there", self.done, len(self.rows))
            try:
                self.files = self._opened(wanted, stored)
            except DataError as err:
                log.warning("%s: starting afresh", err)
                self._start_afresh(wanted, stored)
                self.files = self._opened(wanted, stored)
        except BaseException:
            self.__exit__(DataError)
            raise
        return self

    def _opened(self, wanted: Mapping[str, Path], stored: Stored) -> dict[str, StatesFile]:
        return {name: StatesFile(path, stored, first=self.rows.start) for name, path in wanted.items()}

    def _with_states(self) -> list[str]:
        return [name for name, each in self.header["conditions"].items() if each["states"]]

    def _same(self) -> bool:
        begun = self.journal.first if self.kept else None
        if begun is not None:
            begun = begun | {MODEL_CHECK: self.header[MODEL_CHECK]}
        if begun == self.header:
            return True
        if begun is not None:
            names = sorted(name for name in {*begun, *self.header} if begun.get(name) != self.header.get(name))
            log.info("unfinished work is about something else (%s), starting afresh", ", ".join(names))
        return False

    def _start_afresh(self, wanted: Mapping[str, Path], stored: Stored) -> None:
        self.journal.clear()
        for path in self.folder.iterdir():
            if path != self.journal.path:
                path.unlink()
        questions = self.table.iloc[self.rows.start : self.rows.stop]
        for name, path in wanted.items():
            about = self.header["attrs"] | {
                "condition": name,
                "intervention": self.header["conditions"][name]["entry"],
                MODEL_CHECK: self.header[MODEL_CHECK],
            }
            begin(
                path,
                questions,
                stored,
                identity=replace(identity_of(self.header), condition=name),
                attrs=about,
                candidates=self.header["candidates"],
            )
        self.journal.append(self.header)

    @property
    def done(self) -> int:
        """How many of its questions are on the disk."""
        return 0 if self.journal.length < 2 else self.journal.last["rows"][1] - self.rows.start

    @property
    def last(self) -> Mapping[str, Any]:
        """What was noted of the last chunk; nothing of none."""
        return {} if self.journal.length < 2 else self.journal.last

    def commit(self, entry: Mapping[str, Any], states: Mapping[str, tuple[Any, Any]]) -> None:
        """Put one chunk on the disk, and then the note that it is there.

        Parameters
        ----------
        entry
            ``rows`` ``[first, stop]``, ``columns`` by condition, and what else is known of the chunk; noted with the
            checksum of the states by condition.
        states
            By condition, states and targets.
        """
        first = entry["rows"][0]
        written = {name: self.files[name].write(first, values, goals) for name, (values, goals) in states.items()}
        with writing_to(self.journal.path):
            self.journal.append({**entry, "states": written})

    def notes(self) -> Iterator[dict[str, Any]]:
        """The chunks in the order of the questions."""
        notes = entries(self.journal.path)
        next(notes)
        return notes

    def join(self, folders: Sequence[Path]) -> None:
        """Take all chunks of other work, whose questions follow one another, into this one, which has none."""
        for folder in folders:
            header = header_of(folder)
            rows = range(*header["rows"])
            for name, file in self.files.items():
                other = StatesFile(folder / f"{name}.h5", file.stored, first=rows.start)
                file.copy(other, len(rows))
                other.close()
            for note in islice(entries(folder / _JOURNAL), 1, None):
                self.journal.append(note)
            self._compare(since=rows.start, where=f"{folder}: states", mend="delete it and run again")

    def _compare(self, *, since: int, where: str, mend: str) -> None:
        """Refuse states that are not what was written, from a question on."""
        for note in self.notes():
            first, stop = note["rows"]
            for name, written in note["states"].items() if first >= since else ():
                if self.files[name].checksum(first, stop) != written:
                    self.kept = False
                    raise DataError(
                        f"{where} of condition '{name}', questions {first} to {stop - 1}, changed since they were "
                        f"written; {mend}"
                    )

    def hand_over(self, shard: Path) -> None:
        """Let a folder of that name hold this work, for :meth:`join`."""
        with writing_to(shard):
            os.replace(self.folder, shard)

    def finish(self, conditions: Sequence[Condition]) -> None:
        """Make results of it; they take their names after the last of them is whole.

        Raises
        ------
        DataError
            If states have changed on the disk, and the work is removed.
        """
        self._compare(since=0, where=f"{self.folder}: states", mend="they were removed, run again")
        _gather(self.notes(), conditions)
        with ExitStack() as stack:
            unfinished = {each.name: stack.enter_context(store.replacing(each.answers)) for each in conditions}
            for each in conditions:
                each.check()
                each.warn(self.header["at_most"])
                known = replace(identity_of(self.header), condition=each.name)
                about = {MODEL_CHECK: self.header[MODEL_CHECK]}
                store.save_table(unfinished[each.name], each.frame(self.table), identity=known, about=about)
            for file in self.files.values():
                with writing_to(file.path):
                    store.seal_h5(file.path)
            for each in conditions:
                if each.name in self.files:
                    with writing_to(each.activations):
                        Path(each.activations).parent.mkdir(parents=True, exist_ok=True)
                        put_in_place(self.files[each.name].path, Path(each.activations))
        self._warn()

    def _warn(self) -> None:
        """Say once what makes some questions worth less than others under any condition."""
        counts = {"unknown": 0, "mute": 0}
        for note in self.notes():
            counts = {name: count + note[name] for name, count in counts.items()}
        for name, what in (
            ("unknown", "ask with words that the tokenizer does not know"),
            ("mute", "have an answer that no token tells from the others; their answer_probability is empty"),
        ):
            if counts[name]:
                log.warning("%d of %d items %s", counts[name], len(self.rows), what)

    def __exit__(self, failed: Any = None, *_: object) -> None:
        keep = self.kept and failed is not None and self.done
        for file in self.files.values():
            file.close()
        if not keep:
            remove(self.folder)
        self.journal.__exit__()


def check_room(work: Work) -> None:
    """Say what the states will take on the disk, and refuse to begin what cannot end.

    Raises
    ------
    DataError
        If less is free.
    """
    files, n, stored = len(work.files), len(work.rows), stored_of(work.header)
    needed, free = files * stored.bytes_of(n), shutil.disk_usage(work.folder).free
    log.info(
        "states take %.3g GB on the disk (%d conditions x %d questions x %d layers x %d blocks of width %d in %s, "
        "and the targets); %.3g GB are free",
        *(needed / 1e9, files, n, len(stored.layers), len(stored.blocks), stored.width, stored.dtype, free / 1e9),
    )
    if files * stored.bytes_of(n - work.done) > free:
        raise DataError(
            f"{work.folder}: states take {needed / 1e9:.3g} GB on the disk, {free / 1e9:.3g} GB are free; free "
            "some, or store less of them (extract.layers, extract.blocks)"
        )


def joined_header(shards: Sequence[str | Path], *, questions: int) -> dict[str, Any]:
    """What the work of all shards together begins with.

    Raises
    ------
    DataError
        If they differ in more than their questions, or do not hold all of these, each once and in order.
    """
    headers = [header_of(shard) for shard in shards]
    for shard, header in zip(shards, headers, strict=True):
        names = sorted(name for name in header if name not in _OWN and header[name] != headers[0].get(name))
        if names:
            raise DataError(f"{shard} and {shards[0]} differ in {', '.join(names)}; delete both and run again")
    ends = [0, *(header["rows"][1] for header in headers)]
    if [header["rows"][0] for header in headers] != ends[:-1] or ends[-1] != questions:
        raise DataError(
            f"{Path(shards[0]).parent}: shards are not about all {questions} questions; delete it and run again"
        )
    for shard, header in zip(shards, headers, strict=True):
        done = sum(1 for _ in entries(Path(shard) / _JOURNAL)) - 1
        if done * header["chunk"] < header["rows"][1] - header["rows"][0]:
            raise DataError(f"{shard}: its questions were not all asked; delete it and run again")
    return headers[0] | {"rows": [0, questions]}


def plain(values: Any) -> Any:
    """Values as a journal gives them back."""
    return json.loads(json.dumps(values))


def remove(folder: Path) -> None:
    """Remove unfinished work, and the folder that it lies in if nothing else does."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def header_of(folder: str | Path) -> dict[str, Any]:
    """The first line of a journal.

    Raises
    ------
    DataError
        If there is none.
    """
    path = Path(folder) / _JOURNAL
    header = next(entries(path), None) if path.is_file() else None
    if header is None:
        raise DataError(f"{folder}: holds no work of an extraction; delete it and run again")
    return header


def identity_of(header: Mapping[str, Any]) -> store.Identity:
    """What results are about and made from, the condition apart."""
    return store.Identity(**header["identity"])


def stored_of(header: Mapping[str, Any]) -> Stored:
    """What files of states hold."""
    given = header["stored"]
    return Stored(**given | {name: tuple(given[name]) for name in ("layers", "blocks")})


def _gather(notes: Iterator[Mapping[str, Any]], conditions: Sequence[Condition]) -> None:
    """All columns of all conditions, from the chunks."""
    for each in conditions:
        each.begin(range(0))
    for note in notes:
        for each in conditions:
            columns = note["columns"][each.name]
            columns["lens"] = list(np.array(columns["lens"]))  # a tenth of the memory of a list of lists
            for name, values in columns.items():
                each.columns[name] += values
