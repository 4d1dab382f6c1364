"""Read ``hf://OWNER/NAME[:SPLIT]``, a dataset on the Hugging Face hub, with the ``datasets`` library (extra ``hub``).

first image column         the images, decoded like the files of a folder, with the same formats and limits
first class column         the labels, or else a column named label
numbers, text, booleans    attributes
train, validation, test    the parts; a single split is divided like a folder without parts
a column named split       the parts too, if its entries are names of parts
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
from vaekit.errors import UserError, counted
from vaekit.pixels.byte_ranges import Span
from vaekit.pixels.image_form import Form
from vaekit.system.notes import note

__all__ = ["is_hub", "read_hub", "rows_of"]

_SCHEME = "hf://"
_LOCAL = "or download its images on another machine and pass their folder"
_LONGEST_TEXT = 200  # characters; longer texts are captions, which do not define groups


def is_hub(source: str) -> bool:
    """Whether ``source`` refers to a dataset on the hub.

    >>> is_hub("hf://ylecun/mnist:train"), is_hub("ylecun/mnist")
    (True, False)
    """
    return source.startswith(_SCHEME)


def read_hub(source: str, form: Form, may_fetch: bool = True) -> Rows:
    """Read a dataset from the hub, announcing network use on stderr.

    Without ``may_fetch``, only the cache of the ``datasets`` library is read, without the user's token.

    Raises:
        UserError: If the extra is not installed, the network fails, or the set or split does not exist.
    """
    name, colon, split = source.removeprefix(_SCHEME).partition(":")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name, re.ASCII) or (colon and not split):
        raise UserError(
            f"{source!r}: expected hf://OWNER/NAME or hf://OWNER/NAME:SPLIT, such as hf://ylecun/mnist:train"
        )
    return rows_of(_opened(source, name, split or None, may_fetch), source, form)


def rows_of(dataset: Any, where: str, form: Form) -> Rows:
    """Read the rows of an opened ``datasets.Dataset``, or of a ``DatasetDict`` with several splits.

    Raises:
        UserError: If there is no image column, or too few images can be read.
    """
    splits, given, notes = _splits(dataset)
    names, counts = _names(splits), [len(split) for split in splits.values()]
    if not names:
        raise UserError(f"{where} contains no images; use another set or split")
    loaded = load_files(_files(where, splits, names), names, "", form)
    label, columns, left_out = _columns(next(iter(splits.values())).features)
    texts = {column: _texts(splits, column, loaded.kept) for column in columns}
    labels, classes, label_notes = _labels(splits, label, loaded.kept)
    long = [column for column, values in texts.items() if max(map(len, values)) > _LONGEST_TEXT]
    by_split = np.repeat(given, counts)[loaded.kept]
    split, split_notes = _split(texts, where)
    column_notes = [*label_notes, *split_notes]
    if left_out or long:
        column_notes.append(
            f"columns not used, because they are not numbers or short text: {', '.join([*left_out, *long])}"
        )
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
        notes=[*notes, *loaded.notes, *column_notes],
        dim=loaded.dim,
    )


def _opened(source: str, name: str, split: str | None, may_fetch: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{source} needs the datasets library: pip install 'vaekit[hub]', {_LOCAL}") from error
    # the library would open a local folder, or its own module, of that name
    if Path(name).is_dir() or hasattr(datasets.packaged_modules, name):
        raise UserError(f"{source} refers to a local folder, not to a set on the hub; pass the folder itself")
    if not may_fetch:
        return _cached(source, name, split)
    # network use is always announced, even if the rest is quiet
    where, cache = datasets.config.HF_ENDPOINT, datasets.config.HF_DATASETS_CACHE
    note(f"{source}: opening from {where}; downloads are kept in {cache}")
    try:
        with _without_warnings():
            return datasets.load_dataset(name, split=split)
    except Exception as error:  # the library may raise anything
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" .:")
        raise UserError(f"{source} cannot be opened ({text}); check the name and the network, {_LOCAL}") from error


def _cached(source: str, name: str, split: str | None) -> Any:
    import datasets

    try:
        with _without_warnings(), _offline():
            return datasets.load_dataset(name, split=split, token=False)
    except Exception as error:  # as above
        raise UserError(
            f"the run was trained on {source}, which is not in the cache of the datasets library; pass {source} as "
            "DATA to download it, or pass other images"
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Disable the network in both libraries; they read HF_HUB_OFFLINE only when they are imported."""
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
    """Silence the library's log of every attempt; failures are reported in one sentence."""
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
    """Return the splits by the prefix of their names, the part of each (-1: none), and notes."""
    if not hasattr(dataset, "items"):
        return {"": dataset}, [-1], []
    parts = {name: split_of(str(name)) for name in dataset}
    if all(part is None for part in parts.values()):
        return {f"{name}/": split for name, split in dataset.items()}, [-1] * len(parts), []
    known = {name: part for name, part in parts.items() if part is not None}
    left = [name for name, part in parts.items() if part is None]
    notes = [f"splits not used, because they are not train, val or test: {', '.join(left)}"] if left else []
    return {f"{name}/": dataset[name] for name in known}, list(known.values()), notes


def _names(splits: dict[str, Any]) -> list[str]:
    return [name for prefix, split in splits.items() for name in number_names(len(split), prefix)]


def _files(where: str, splits: dict[str, Any], names: Sequence[str]) -> Files:
    """Return the images as files, still encoded."""
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
    """An image cell of a table."""

    split: Any
    row: int
    column: str

    def read(self) -> bytes:
        """Return the encoded image."""
        return _bytes(self.split[self.row][self.column])


def _bytes(cell: dict[str, Any] | None) -> bytes:
    """Return the bytes of an image from a table cell, or from the file that the library downloaded for it."""
    if cell is None:
        raise ValueError("no image in this row")
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    path = Path(cell["path"] or "").resolve()
    if not any(path.is_relative_to(folder) for folder in _download_folders()):
        raise ValueError("no image in this row, only the path of a local file that is not part of the set")
    if not path.is_file():  # reading a device or pipe may never end
        raise ValueError("no image in this row, and its file does not exist")
    return Span(str(path)).read()


def _download_folders() -> list[Path]:
    """Return the folders into which the libraries download files."""
    import datasets
    from huggingface_hub import constants

    return [Path(folder).resolve() for folder in (datasets.config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)]


def _image_column(features: Any, where: str) -> str:
    from datasets import Image

    columns = [column for column, feature in features.items() if isinstance(feature, Image)]
    if not columns:
        raise UserError(f"{where} has no image column (it has {', '.join(features) or 'none'}); use another set")
    result: str = columns[0]
    return result


def _columns(features: Any) -> tuple[str | None, list[str], list[str]]:
    """Return the label column, the attribute columns, and the other columns, without the image column."""
    from datasets import ClassLabel

    image = _image_column(features, "")
    scalar = [column for column, feature in features.items() if _is_scalar(feature)]
    classes = [column for column in scalar if isinstance(features[column], ClassLabel) and column != SPLIT]
    named = [column for column in ("label", "labels") if column in scalar and "float" not in features[column].dtype]
    label = next((column for column in (*named, *classes) if column in classes), None) or next(iter(named), None)
    others = [column for column in features if column not in (image, label, *scalar)]
    return label, [column for column in scalar if column != label], others


def _split(texts: dict[str, list[str]], where: str) -> tuple[list[int] | None, list[str]]:
    """Return the parts from the column split and remove it, or keep it as an attribute with a note."""
    if SPLIT not in texts:
        return None, []
    try:
        parts = named_parts(texts[SPLIT], where)
    except UserError as error:  # the user cannot correct a published dataset
        return None, [f"the column {SPLIT} is an attribute and defines no parts: {error}"]
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
    """Return the labels of the images kept, the classes in the order of the set if it has one, and notes."""
    if column is None:
        return None, None, []
    labels = _texts(splits, column, kept)
    missing = sum(not label for label in labels)
    if missing:
        note = (
            f"no labels: {missing:,} of {counted(len(labels), 'image')} have none in the column {column}; a "
            "split may have them"
        )
        return None, None, [note]
    order = getattr(next(iter(splits.values())).features[column], "names", None)
    return labels, [name for name in order if name in set(labels)] if order else None, []


def _texts(splits: dict[str, Any], column: str, kept: Sequence[int]) -> list[str]:
    """Return a column over all splits as text: '' for missing values, and class names for class numbers."""
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
