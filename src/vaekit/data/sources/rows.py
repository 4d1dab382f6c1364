"""Rows: what every reader hands over, and the one way from there to Images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from vaekit.data.fingerprint import fingerprint_of, row_digests
from vaekit.data.images import Images
from vaekit.data.ingest.mapped import copy, empty, is_large, is_mapped
from vaekit.data.ranges import Dim, dark_notes
from vaekit.data.sources.layout import sort_classes
from vaekit.data.splits import SPLIT, assign_parts, uniforms
from vaekit.errors import storable
from vaekit.pixels.decode import formed
from vaekit.pixels.form import Form
from vaekit.pixels.sizes import crop_notes
from vaekit.pixels.worker import place

__all__ = ["Rows", "number_names", "reshape_pixels"]


@dataclass
class Rows:
    """Images that were read but not yet split. Pixels uint8 [N,C,H,W]; labels are class names."""

    pixels: np.ndarray
    names: Sequence[str]
    contents: list[bytes]
    labels: Sequence[str] | None = None
    classes: Sequence[str] | None = None  #: None: the labels that occur, sorted
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    given: Sequence[int] | None = None  #: the part that the source names (0, 1, 2), or -1
    split: Sequence[int] | None = None  #: as ``given``, where a column says it: then it is part of the fingerprint
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    dim: Dim | None = None  #: they use less than 1 % of the range of their values
    sizes: Sequence[tuple[int, ...]] = ()  #: (height, width) before the form, of all images or of a sample

    def images(self, source: str, seed: int, form: Form) -> Images:
        """The Images of these rows, which are in ``form``, split by content and ``seed``."""
        given = np.full(len(self.names), -1, np.int8) if self.given is None else np.asarray(self.given, np.int8)
        parts, notes = assign_parts(uniforms(self.contents, seed), given)
        column = {} if self.split is None else {SPLIT: np.asarray(self.split, np.int64)}
        digests = row_digests(self.names, self.contents, self.labels, {**self.attributes, **column})
        classes = tuple(self.classes or sort_classes(set(self.labels or ())))
        pixels = _shareable(self.pixels)
        return Images(
            pixels=_tensor(pixels),
            names=tuple(self.names),
            labels=_indices(self.labels, classes),
            classes=tuple(map(storable, classes)) if self.labels is not None else (),
            attributes={storable(name): _storable(column) for name, column in self.attributes.items()},
            parts=parts,
            fingerprint=fingerprint_of(digests),
            source=source,
            skipped=tuple(self.skipped),
            notes=(
                *self.notes,
                *crop_notes(self.sizes, form),
                *([self.dim.note] if self.dim else dark_notes(pixels)),
                *notes,
            ),
            part_notes=tuple(notes),
            split_seed=seed,
            has_splits=bool((given >= 0).any()),
            digests=digests,
            is_mapped=is_large(pixels),
            form=form,
        )


def _storable(column: np.ndarray) -> np.ndarray:
    """The column with every text in it as files can hold it."""
    if column.dtype.kind != "U" or all(map(str.isprintable, set(column.tolist()))):
        return column
    return np.array([storable(text) for text in column.tolist()], np.str_)


def number_names(count: int, prefix: str = "") -> list[str]:
    """Names of rows that have none.

    >>> number_names(2, "test/")
    ['test/000000', 'test/000001']
    """
    return [f"{prefix}{index:06d}" for index in range(count)]


def reshape_pixels(pixels: np.ndarray, form: Form) -> np.ndarray:
    """Brings uint8 [N,C,H,W] (C 1, 3 or 4) to a form.

    What fits already is returned as it is. Channels None keep gray gray and colour colour.

    >>> reshape_pixels(np.full((1, 4, 4, 4), 7, np.uint8), Form((2, 2), 1)).shape
    (1, 1, 2, 2)
    """
    channels = form.channels or (1 if pixels.shape[1] == 1 else 3)
    size = form.size or (pixels.shape[2], pixels.shape[3])
    if pixels.shape[1:] == (channels, *size):
        return pixels
    out = empty((len(pixels), channels, *size))
    if pixels.shape[1] == 1 and channels == 3 and pixels.shape[2:] == size:
        np.copyto(out, pixels)
        return out
    for source, target in zip(pixels, out, strict=True):
        place(target, np.asarray(formed(_image(source), replace(form, channels=channels))))
    return out


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))


def _shareable(pixels: np.ndarray) -> np.ndarray:
    """What a tensor may lie on: a constant of the caller's is copied, but not what lies in a file."""
    return pixels if pixels.flags.writeable or is_mapped(pixels) else copy(pixels)


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # of memory that is not writable: nothing here writes to the pixels of Images
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _indices(labels: Sequence[str] | None, classes: tuple[str, ...]) -> torch.Tensor | None:
    if labels is None:
        return None
    number = {name: index for index, name in enumerate(classes)}
    return torch.tensor([number[label] for label in labels], dtype=torch.int64)
