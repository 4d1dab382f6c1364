"""``hf://OWNER/NAME[:SPLIT]``: a set of the Hugging Face hub, through the ``datasets`` library (extra ``hub``).

first column of images     the images, decoded as files in a folder are, with the same formats and limits
first column of classes    the labels, or a column called label
numbers, words, yes/no     attributes
train, validation, test    the parts; a split that is asked for alone is divided like a folder without parts
a column called split      the parts too, where its words name them
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.data.ingest.files import Files
from vaekit.data.ingest.loader import load_files
from vaekit.data.sources.metadata import as_column, as_text
from vaekit.data.sources.rows import Rows, number_names
from vaekit.data.splits import SPLIT, named_parts, split_of
from vaekit.errors import UserError
from vaekit.pixels.form import Form
from vaekit.pixels.spans import Span
from vaekit.system.notes import note

__all__ = ["is_hub", "read_hub", "rows_of"]

_SCHEME = "hf://"
_LOCAL = "or fetch its images on another machine and name their folder"
_LONGEST_TEXT = 200  # characters; a longer one is a caption, not a group to ask for


def is_hub(source: str) -> bool:
    """Whether ``source`` names a set of the hub.

    >>> is_hub("hf://ylecun/mnist:train"), is_hub("ylecun/mnist")
    (True, False)
    """
    return source.startswith(_SCHEME)


def read_hub(source: str, form: Form, may_fetch: bool = True) -> Rows:
    """The images of a set of the hub; says on stderr what it is about to ask the network for.

    Without ``may_fetch`` only the cache of the ``datasets`` library is read, and the user's token is not.
    Raises :class:`UserError` without the extra, without the network, and for a set or a split that is not there.
    """
    name, colon, split = source.removeprefix(_SCHEME).partition(":")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name, re.ASCII) or (colon and not split):
        raise UserError(f"{source!r}: expected hf://OWNER/NAME or hf://OWNER/NAME:SPLIT, as in hf://ylecun/mnist:train")
    return rows_of(_opened(source, name, split or None, may_fetch), source, form)


def rows_of(dataset: Any, where: str, form: Form) -> Rows:
    """The rows of an opened ``datasets.Dataset``, or of a ``DatasetDict`` of several splits.

    Raises :class:`UserError` if it has no column of images or none that can be read, as a folder would.
    """
    splits, given, notes = _splits(dataset)
    names, counts = _names(splits), [len(split) for split in splits.values()]
    if not names:
        raise UserError(f"{where} holds no images; name another set or split")
    loaded = load_files(_files(where, splits, names), names, "", form)
    label, columns, left_out = _columns(next(iter(splits.values())).features)
    texts = {column: _texts(splits, column, loaded.kept) for column in columns}
    labels, classes, said = _labels(splits, label, loaded.kept)
    long = [column for column, values in texts.items() if max(map(len, values)) > _LONGEST_TEXT]
    by_split = np.repeat(given, counts)[loaded.kept]
    split, odd = _split(texts, where)
    said += odd
    if left_out or long:
        said.append(f"columns left out, since they are no numbers or short words: {', '.join([*left_out, *long])}")
    return Rows(
        pixels=loaded.pixels,
        names=loaded.names,
        contents=loaded.contents,
        labels=labels,
        classes=classes,
        attributes={column: as_column(values) for column, values in texts.items() if column not in long},
        given=(by_split if split is None else np.where(np.array(split) < 0, by_split, split)).tolist(),
        split=split,
        skipped=loaded.skipped,
        sizes=loaded.sizes,
        notes=[*notes, *loaded.notes, *said],
        dim=loaded.dim,
    )


def _opened(source: str, name: str, split: str | None, may_fetch: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{source} needs the datasets library: pip install 'vaekit[hub]', {_LOCAL}") from error
    # of both, the library would open what lies here, or whatever pictures the working folder has
    if Path(name).is_dir() or hasattr(datasets.packaged_modules, name):
        raise UserError(f"{source} names no set of the hub but what is on this machine; name the folder itself")
    if not may_fetch:
        return _cached(source, name, split)
    # what uses the network is said however quiet the rest is
    where, cache = datasets.config.HF_ENDPOINT, datasets.config.HF_DATASETS_CACHE
    note(f"{source}: opening from {where}; what is fetched is kept in {cache}")
    try:
        with _without_warnings():
            return datasets.load_dataset(name, split=split)
    except Exception as error:  # the library, the network and each kind of file have their own
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" .:")
        raise UserError(f"{source} cannot be opened ({text}); check the name and the network, {_LOCAL}") from error


def _cached(source: str, name: str, split: str | None) -> Any:
    import datasets

    try:
        with _without_warnings(), _offline():
            return datasets.load_dataset(name, split=split, token=False)
    except Exception as error:  # as above
        raise UserError(
            f"the run was trained on {source}, which is not in the cache of the datasets library; name {source} as "
            "DATA to fetch it, or name other images"
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Both libraries without the network, as with HF_HUB_OFFLINE=1, which they read only when they are imported."""
    import datasets
    from huggingface_hub import constants

    switches = [(constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in switches]
    try:
        for module, name in switches:
            setattr(module, name, True)
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the library's log of every try; what comes of them is said in one sentence."""
    logs = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    before = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.ERROR)
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _splits(dataset: Any) -> tuple[dict[str, Any], list[int], list[str]]:
    """The splits to read by the prefixes of their names, the part that each is (-1: none), and notes."""
    if not hasattr(dataset, "items"):
        return {"": dataset}, [-1], []
    parts = {name: split_of(str(name)) for name in dataset}
    if all(part is None for part in parts.values()):
        return {f"{name}/": split for name, split in dataset.items()}, [-1] * len(parts), []
    known = {name: part for name, part in parts.items() if part is not None}
    left = [name for name, part in parts.items() if part is None]
    notes = [f"splits left out, since they are not train, val or test: {', '.join(left)}"] if left else []
    return {f"{name}/": dataset[name] for name in known}, list(known.values()), notes


def _names(splits: dict[str, Any]) -> list[str]:
    return [name for prefix, split in splits.items() for name in number_names(len(split), prefix)]


def _files(where: str, splits: dict[str, Any], names: Sequence[str]) -> Files:
    """The images as files, still as they were packed."""
    from datasets import Image

    encoded = {}
    for prefix, split in splits.items():
        column = _image_column(split.features, where)
        encoded[prefix] = (
            column,
            split.with_format(None).select_columns([column]).cast_column(column, Image(decode=False)),
        )

    def cell(name: str) -> _Cell:
        prefix, number = name[: name.rfind("/") + 1], name[name.rfind("/") + 1 :]
        column, split = encoded[prefix]
        return _Cell(split, int(number), column)

    return Files(where, tuple(names), cell)


@dataclass(frozen=True)
class _Cell:
    """An image in a table."""

    split: Any
    row: int
    column: str

    def read(self) -> bytes:
        return _bytes(self.split[self.row][self.column])


def _bytes(cell: dict[str, Any] | None) -> bytes:
    """The bytes of an image in a table, or in the file of the set that the library fetched for it."""
    if cell is None:
        raise ValueError("no image in this row")
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    path = Path(cell["path"] or "").resolve()
    if not any(path.is_relative_to(folder) for folder in _fetched_to()):
        raise ValueError("no image in this row but the name of a file of this machine, which is not part of the set")
    if not path.is_file():  # a device or a pipe would never end
        raise ValueError("no image in this row, and no file where it points")
    return Span(str(path)).read()


def _fetched_to() -> list[Path]:
    """The folders that the libraries put files of sets into."""
    import datasets
    from huggingface_hub import constants

    return [Path(folder).resolve() for folder in (datasets.config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)]


def _image_column(features: Any, where: str) -> str:
    from datasets import Image

    found = [column for column, feature in features.items() if isinstance(feature, Image)]
    if not found:
        raise UserError(f"{where} has no column of images (it has {', '.join(features) or 'none'}); name another set")
    return found[0]


def _columns(features: Any) -> tuple[str | None, list[str], list[str]]:
    """The column of labels, those of attributes, and those of neither kind; the images are not among them."""
    from datasets import ClassLabel

    image = _image_column(features, "")
    scalar = [column for column, feature in features.items() if _is_scalar(feature)]
    classes = [column for column in scalar if isinstance(features[column], ClassLabel) and column != SPLIT]
    called = [column for column in ("label", "labels") if column in scalar and "float" not in features[column].dtype]
    label = next((column for column in (*called, *classes) if column in classes), None) or next(iter(called), None)
    others = [column for column in features if column not in (image, label, *scalar)]
    return label, [column for column in scalar if column != label], others


def _split(texts: dict[str, list[str]], where: str) -> tuple[list[int] | None, list[str]]:
    """The parts in the column split, which is then no attribute; with other words it stays one, and a note says so."""
    if SPLIT not in texts:
        return None, []
    try:
        parts = named_parts(texts[SPLIT], where)
    except UserError as error:  # nobody can correct a set of others
        return None, [f"the column {SPLIT} is an attribute and divides nothing: {error}"]
    del texts[SPLIT]
    return parts, []


def _is_scalar(feature: Any) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, ClassLabel | Value) and bool(
        re.fullmatch(r"bool|u?int\d+|float\d+|(large_)?string", feature.dtype)
    )


def _labels(
    splits: dict[str, Any], column: str | None, kept: Sequence[int]
) -> tuple[list[str] | None, list[str] | None, list[str]]:
    """Labels of the images kept, the classes in the order of the set where it has one, and notes."""
    if column is None:
        return None, None, []
    labels = _texts(splits, column, kept)
    missing = sum(not label for label in labels)
    if missing:
        said = f"no labels: {missing} of {len(labels)} images have none in the column {column}; a split may have them"
        return None, None, [said]
    order = getattr(next(iter(splits.values())).features[column], "names", None)
    return labels, [name for name in order if name in set(labels)] if order else None, []


def _texts(splits: dict[str, Any], column: str, kept: Sequence[int]) -> list[str]:
    """A column over all splits, as a table would have it: '' for what is missing, a name for the number of a class."""
    texts: list[str] = []
    for split in splits.values():
        if column not in split.features:
            texts += [""] * len(split)
            continue
        names = getattr(split.features[column], "names", None)
        values = split.with_format(None).select_columns([column])[:][column]
        texts += [_class(names, value) if names is not None else as_text(value) for value in values]
    return [texts[index] for index in kept]


def _class(names: Sequence[str], number: int | None) -> str:
    return names[number] if number is not None and 0 <= number < len(names) else ""
