"""What the stages that run a model over questions share: the items table, its pictures, the model, batches ahead."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from pidflow.data.pictures import Picture, picture_file
from pidflow.errors import ConfigError, DataError, PidflowError, first_line
from pidflow.files import store
from pidflow.interventions.intervention import intervention_of
from pidflow.interventions.model_check import ModelCheck
from pidflow.models.continuous_time import continuous_attention
from pidflow.models.dynamics import dynamics_of
from pidflow.models.images import image_size, read_image
from pidflow.models.inputs import Batch, Example, encode
from pidflow.models.loading import LoadedModel, load
from pidflow.models.room import fitting, free_memory, peak_of
from pidflow.stages._ahead import ahead
from pidflow.stages._checked import checked

log = logging.getLogger(__name__)

COLUMNS = ("item_id", "image_id", "image_path", "question", "answer", "options", "boxes", "fold")
MODEL_KEYS = (
    "family",
    "path",
    "blocks",
    "revision",
    "dtype",
    "device",
    "device_map",
    "batch_size",
    "quantize",
    "prompt",
    "attention",
    "closed",
    "image",
    "title",
    "series",
    "step",
)
BATCH_SIZE, AUTO = 16, "auto"
_AHEAD = 2  # batches that are read and encoded while the model is at one

T = TypeVar("T")


@contextmanager
def asking(
    *,
    items: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    kept_check: Mapping[str, str] | None = None,
    shaped: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
) -> Iterator[tuple["Questions", store.Identity]]:
    """A model that attends as its entry states, and the questions of a table, while a job works on them.

    Parameters
    ----------
    items, model, model_id, task, instruction, image_root, threads
        See :func:`pidflow.stages._extraction.run`.
    kept_check
        See :func:`pidflow.stages._checked.checked`.
    shaped
        What is made of the items table before it is asked.

    Raises
    ------
    ConfigError, DataError, NumericsError
        Whatever goes wrong inside, with model and task in front.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        table = shaped(read_items(Path(items)))
        files = image_files(table, Path(image_root) if image_root is not None else Path(items).parent)
        loaded, batch_size = load_model(model, instruction=instruction)
        identity = identity_of_run(loaded, model=model_id, task=task, items=items)
        with own_attention(loaded, model):
            yield Questions(loaded, table, files, batch_size=batch_size, kept_check=kept_check), identity
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err


def load_model(model: Mapping[str, Any], *, instruction: str | None = None) -> tuple[LoadedModel, int | str]:
    """The model of a configuration entry, its prompt with the task's instruction in it, and its batch size."""
    unknown = set(model) - set(MODEL_KEYS)
    if unknown or not {"family", "path"} <= set(model):
        raise ConfigError(
            f"a model has {', '.join(MODEL_KEYS)}, of which family and path must be; found {', '.join(model)}"
        )
    settings = {key: value for key, value in model.items() if value is not None}
    batch_size = settings.pop("batch_size", BATCH_SIZE)
    if batch_size != AUTO and (not isinstance(batch_size, int) or batch_size < 1):
        raise ConfigError(f"batch_size must be a whole number of at least 1, or {AUTO}, found {batch_size!r}")
    for name in ("title", "series", "step"):  # its name and its place among others change nothing
        settings.pop(name, None)
    attention = settings.pop("attention", None)  # see own_attention
    closed = [dict(edge) for edge in settings.pop("closed", ())]
    depth = settings.pop("blocks", None)
    loaded = load(settings.pop("family"), settings.pop("path"), **settings, instruction=instruction)
    if depth is not None and depth != loaded.depth:
        raise ConfigError(
            f"the model at {model['path']} has {loaded.depth} decoder blocks, the configuration says {depth}; "
            f"set its blocks to {loaded.depth}"
        )
    if attention is not None or closed:  # the weights alone are another model
        digest = store.digest_of({"attention": attention, "closed": closed})
        always = tuple(intervention_of({"kind": "cut"} | edge, depth=loaded.depth) for edge in closed)
        loaded = replace(loaded, always=always, revision=f"{loaded.revision}+{digest}")
    return loaded, batch_size


def own_attention(loaded: LoadedModel, model: Mapping[str, Any]) -> AbstractContextManager[None]:
    """How the model of a configuration entry attends in every condition: in continuous time if it was trained so."""
    settings = model.get("attention")
    if settings is None:
        return nullcontext()
    return continuous_attention(loaded.text_model, dynamics_of(settings, depth=loaded.depth))


def identity_of_run(loaded: LoadedModel, *, model: str, task: str, items: str) -> store.Identity:
    """What the results of a model on a table of items are about and made from, condition and settings apart."""
    return store.Identity(
        model=model,
        task=task,
        revision=loaded.revision,
        prompt=loaded.prompting.digest,
        dtype=str(loaded.dtype).removeprefix("torch."),
        items=store.checksum_of(items),
    )


def read_items(path: Path) -> pd.DataFrame:
    """The items table, checked."""
    table = store.read_table(path, columns=COLUMNS)
    if not len(table):
        raise DataError(f"{path}: holds no items")
    for column in ("item_id", "image_id", "image_path", "question", "answer"):
        bad = [index for index, value in enumerate(table[column]) if not isinstance(value, str) or not value.strip()]
        if bad:
            raise DataError(f"{path}: row {bad[0]} has no text in '{column}'; every item needs one")
    twice = table["item_id"][table["item_id"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: item_id '{twice.iloc[0]}' occurs more than once; item ids must be unique")
    if not pd.api.types.is_integer_dtype(table["fold"]):
        raise DataError(f"{path}: column 'fold' holds {table['fold'].dtype}, expected whole numbers")
    return table


def image_files(table: pd.DataFrame, root: Path | None) -> list[Picture]:
    """All pictures, their files found before any time is spent on the model.

    Items carry their picture in the column ``picture`` or name a file below ``root``; where the table has their
    ``image_digest``, reading one that changed since is an error.
    """
    found = []
    columns = [table[name] if name in table else [None] * len(table) for name in ("picture", "image_digest")]
    for item, path, content, digest in zip(table["item_id"], table["image_path"], *columns, strict=True):
        digest = digest if isinstance(digest, str) else None
        try:
            if isinstance(content, bytes):
                found.append(Picture(path, content=content, digest=digest))
            elif root is None:
                raise DataError(f"image {path} is a file, but the dataset has no folder of images")
            else:
                found.append(replace(picture_file(path, root=root), digest=digest))
        except DataError as err:
            raise DataError(f"item {item}: {err}") from err
    return found


def examples_of(table: pd.DataFrame) -> list[Example]:
    """The questions of an items table."""
    examples = []
    columns = table.reindex(columns=["item_id", "question", "answer", "options", "boxes", "objects", "offered"])
    for item, question, answer, options, boxes, objects, offered in columns.itertuples(index=False):
        try:
            corners = np.array([list(box) for box in _listed(boxes)], dtype=float).reshape(-1, 4)
        except (TypeError, ValueError) as err:
            raise DataError(f"item {item}: boxes must be a list of [x, y, width, height], found {boxes}") from err
        words = _listed(options)
        if not all(isinstance(word, str) for word in words):
            raise DataError(f"item {item}: options must be a list of words, found {options}")
        places = tuple(map(tuple, corners.tolist()))
        texts = tuple(_listed(offered))
        if texts and len(texts) != len(words):
            raise DataError(f"item {item}: {len(words)} options, but {len(texts)} texts are offered; expected one each")
        names = tuple(_listed(objects))
        examples.append(Example(question, tuple(words), places, f"item {item}", answer, names, texts))
    return examples


class Questions:
    """The questions of one task, run through a model batch by batch.

    Batches hold prompts of like length, since a short one among long ones costs as much as these. The next batches are
    read and encoded by a thread while the model works on this one, their pictures by as many threads as torch has.
    Before the first the model is checked. A batch size of ``"auto"`` is what a GPU has room for, found on the longest
    prompts of the first chunk; elsewhere it is 16. Where a GPU has no room for a batch, it is halved, as all after it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        table: pd.DataFrame,
        files: Sequence[Picture],
        *,
        batch_size: int | str,
        kept_check: Mapping[str, str] | None = None,
    ) -> None:
        self.kept_check = kept_check
        self.loaded, self.table, self.files, self.batch_size = loaded, table, files, batch_size
        self.readers = ThreadPoolExecutor(max_workers=torch.get_num_threads())
        self.names = list(table["item_id"])
        self.examples = examples_of(table)

    @cached_property
    def check(self) -> ModelCheck:
        """What is true of the model, by :func:`pidflow.stages._checked.checked`, whose errors these are."""
        return checked(self.loaded, kept=self.kept_check)

    def __len__(self) -> int:
        return len(self.names)

    def run(self, work: Callable[[Batch, np.ndarray], T], rows: np.ndarray) -> Iterator[tuple[np.ndarray, T]]:
        """``work(batch, rows)`` of one batch after the other, each with the numbers of its questions.

        Parameters
        ----------
        work
            Gets a batch on the model's device and the numbers of its questions.
        rows
            Which questions; the order in which they come back is another.

        Raises
        ------
        DataError
            Naming the question whose picture or text is at fault.
        ConfigError
            If the GPU has no room for a single question.
        NumericsError
            If the model fails the self-check of knockouts.
        """
        _ = self.check  # once, before anything else
        rows = self._by_length(rows)
        if self.batch_size == AUTO:
            self.batch_size = self._fitting(work, rows)
        for chunk, batch in ahead(self._batches(rows), count=_AHEAD):
            done = 0
            while done < len(chunk):
                part = slice(done, done + self.batch_size)
                try:
                    given = batch if len(chunk[part]) == len(batch) else batch.take(part)
                    result = work(given.to(self.loaded), chunk[part])
                except torch.OutOfMemoryError as err:
                    self._halve(len(chunk[part]), err)
                    torch.cuda.empty_cache()
                    continue
                yield chunk[part], result
                done += len(chunk[part])

    def _halve(self, size: int, err: Exception) -> None:
        if size == 1:
            raise ConfigError(
                f"the GPU has no room for a single item ({first_line(err)}); set dtype to float16 or "
                "bfloat16, or use another device"
            ) from err
        self.batch_size = size // 2
        log.warning("the GPU ran out of memory; going on with batches of %d", self.batch_size)

    def _fitting(self, work: Callable[[Batch, np.ndarray], T], rows: np.ndarray) -> int:
        """The batch size that there is room for, by what the work takes on the longest prompts."""
        free = free_memory(self.loaded.devices)
        if free is None or len(rows) < 2:
            return BATCH_SIZE
        peaks = []
        for count in (1, 2):
            longest = rows[-count:]
            batch = self.batch_of(longest)
            peaks.append(peak_of(partial(work, batch, longest), self.loaded.devices))
        sizes = []
        for device, one, two, there in zip(self.loaded.devices, *peaks, free, strict=True):
            sizes.append(fitting(one, two, free=there))
            gigabytes = np.array([one, two, there]) / 1e9
            log.info("%s: %d at once: one question takes %.3g GB, two %.3g, of %.3g", device, sizes[-1], *gigabytes)
        return min(sizes)

    def _by_length(self, rows: np.ndarray) -> np.ndarray:
        """The questions, those with the shortest prompts first."""
        lengths = dict(zip(map(int, rows), self.readers.map(self._length, rows), strict=True))
        return np.array(sorted(lengths, key=lengths.__getitem__))

    def _batches(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Batch]]:
        """Numbers of questions and batch, ready to be moved to the device."""
        while len(rows):
            chunk, rows = rows[: self.batch_size], rows[self.batch_size :]
            yield chunk, self._encoded(chunk).staged(self.loaded)

    def batch_of(self, rows: np.ndarray) -> Batch:
        """Some questions, in this order, on the model's device."""
        return self._encoded(rows).to(self.loaded)

    def _encoded(self, rows: np.ndarray) -> Batch:
        pictures = list(self.readers.map(partial(self._named, read=read_image), rows))
        return encode(self.loaded, [self.examples[row] for row in rows], pictures)

    def _length(self, row: int) -> tuple[int, int]:
        """Image tokens, of which the tiled families have more or fewer, and tokens of the question."""
        layout = self.loaded.layout(self._named(row, image_size))
        return 0 if layout is None else len(layout), len(self.loaded.tokenizer.tokenize(self.examples[row].question))

    def _named(self, row: int, read: Callable[[Picture], Any]) -> Any:
        try:
            return read(self.files[row])
        except DataError as err:
            raise DataError(f"{self.examples[row].name}: {err}") from err


def _listed(value: Any) -> list[Any]:
    """The entries of a list cell of a table; a missing cell has none."""
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []
