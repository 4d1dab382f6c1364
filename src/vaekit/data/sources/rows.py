"""Rows: what every reader returns, and their conversion to Images."""

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
from vaekit.pixels.image_form import Form
from vaekit.pixels.sizes import crop_notes
from vaekit.pixels.worker import place

__all__ = ["Rows", "number_names", "reshape_pixels"]


@dataclass
class Rows:
    """Images that were read but not yet split: pixels uint8 ``[N, C, H, W]``, labels as class names."""

    pixels: np.ndarray
    names: Sequence[str]
    contents: list[bytes]
    labels: Sequence[str] | None = None
    classes: Sequence[str] | None = None  #: None: the labels that occur, sorted
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    given: Sequence[int] | None = None  #: part that the source defines (0, 1, 2), or -1
    split: Sequence[int] | None = None  #: like ``given``, if from a column; it then enters the fingerprint
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    dim: Dim | None = None  #: set if the images use less than 1 % of their value range
    sizes: Sequence[tuple[int, ...]] = ()  #: original (height, width) of all images or of a sample

    def images(self, source: str, seed: int, form: Form) -> Images:
        """Convert to Images, already in ``form``, and split them by content and ``seed``."""
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
    """Escape strings that files cannot store."""
    if column.dtype.kind != "U" or all(map(str.isprintable, set(column.tolist()))):
        return column
    return np.array([storable(text) for text in column.tolist()], np.str_)


def number_names(count: int, prefix: str = "") -> list[str]:
    """Return names for rows without names.

    >>> number_names(2, "test/")
    ['test/000000', 'test/000001']
    """
    return [f"{prefix}{index:06d}" for index in range(count)]


def reshape_pixels(pixels: np.ndarray, form: Form) -> np.ndarray:
    """Convert uint8 ``[N, C, H, W]`` with 1, 3 or 4 channels to a form.

    Pixels that already fit are returned unchanged. With channels None, gray stays gray and color stays color.

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
    """Return pixels that a tensor may share: read-only arrays of the caller are copied, mapped files are not."""
    return pixels if pixels.flags.writeable or is_mapped(pixels) else copy(pixels)


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # torch warns about read-only memory, but nothing writes to the pixels of Images
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _indices(labels: Sequence[str] | None, classes: tuple[str, ...]) -> torch.Tensor | None:
    if labels is None:
        return None
    number = {name: index for index, name in enumerate(classes)}
    return torch.tensor([number[label] for label in labels], dtype=torch.int64)
