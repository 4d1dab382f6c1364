"""The record that every image source is converted to and everything downstream reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from vaekit.data.binarize import binarized
from vaekit.data.fingerprint import fingerprint_of
from vaekit.data.groups import match_group
from vaekit.data.ingest.mapped import is_mapped
from vaekit.data.selection import Selection
from vaekit.data.splits import PARTS, check_split
from vaekit.errors import counted, printable
from vaekit.pixels.image_form import Form
from vaekit.system.arguments import checked

__all__ = ["Images"]


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """A set of images of one shape, with their names, labels, attributes and parts.

    Indexing with an int, a slice, a list of ints, an int tensor or a bool mask returns Images. A slice shares its
    pixels with the original.

    >>> images = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), ("a", "b", "c"))
    >>> len(images[1:]), images.shape, images[2].names
    (2, (1, 2, 2), ('c',))
    """

    pixels: torch.Tensor  #: uint8 [N, C, H, W]
    names: tuple[str, ...]  #: relative to the source, or the row number
    labels: torch.Tensor | None = None  #: int64 [N], indices into classes
    classes: tuple[str, ...] = ()  #: names of the labels
    attributes: dict[str, np.ndarray] = field(default_factory=dict)  #: [N] float64 or str by column
    parts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))  #: uint8 [N]: 0 train, 1 val, 2 test
    fingerprint: str = ""  #: sha256 of the content of these images in hexadecimal, independent of their size
    source: str = "array"  #: the source as the user named it; folders are absolute paths
    skipped: tuple[tuple[str, str], ...] = ()  #: (name, reason) of each unreadable file
    notes: tuple[str, ...] = ()  #: sentences for the user
    part_notes: tuple[str, ...] = ()  #: the subset of the notes that is about train, val and test
    split_seed: int = 0  #: seed of the parts that the source does not define
    has_splits: bool = False  #: whether the source defines train, val or test images
    digests: np.ndarray | None = None  #: uint8 [N, 32], hash of each image with its name, label and attributes
    is_mapped: bool = False  #: whether the pixels are in a memory-mapped file and may not fit into memory
    form: Form = Form()  #: the form that the images were converted to

    def __post_init__(self) -> None:
        count = len(self.pixels)
        assert self.pixels.dtype == torch.uint8 and self.pixels.ndim == 4, "pixels are uint8 [N, C, H, W]"
        if len(self.parts) == 0 and count:
            object.__setattr__(self, "parts", np.zeros(count, np.uint8))
        columns: list[Any] = [self.names, self.parts, *self.attributes.values()]
        columns += [c for c in (self.labels, self.digests) if c is not None]
        assert all(len(column) == count for column in columns), "every column has one entry per image"

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor | np.ndarray) -> Images:
        rows = _rows(index, len(self))
        picked = np.arange(len(self))[rows]
        return replace(
            self,
            pixels=self.pixels[rows] if isinstance(rows, slice) else self.pixels[torch.from_numpy(rows)],
            names=tuple(self.names[i] for i in picked),
            labels=None if self.labels is None else self.labels[torch.from_numpy(picked)],
            attributes={name: column[rows] for name, column in self.attributes.items()},
            parts=self.parts[rows],
            fingerprint=self._fingerprint_of(picked),
            digests=None if self.digests is None else self.digests[rows],
            is_mapped=self.is_mapped and isinstance(rows, slice),
        )

    @property
    def order_fingerprint(self) -> str:
        """Hexadecimal sha256 of these images in their order, and of the part of each."""
        digest = hashlib.sha256(self.parts.tobytes())
        digest.update(self.fingerprint.encode() if self.digests is None else self.digests.tobytes())
        return digest.hexdigest()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes and skipped files, which a user should read before training."""
        notes = tuple(map(printable, self.notes))
        if not self.skipped:
            return notes
        first = "; ".join(f"{name} ({reason})" for name, reason in self.skipped[:3])
        more = f"; and {len(self.skipped) - 3} more" if len(self.skipped) > 3 else ""
        return (*notes, f"skipped {counted(len(self.skipped), 'unreadable file')}: {printable(first)}{more}")

    def part(self, split: str) -> Images:
        """Return the images of 'train', 'val', 'test' or 'all'; contiguous parts share their pixels."""
        if check_split(split) == "all":
            return self
        return self[self.parts == PARTS.index(split)]

    def selection(self, mask: np.ndarray) -> Selection:
        """Return the images of a bool mask ``[N]`` or of row numbers, without reading their pixels yet.

        >>> images = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), ("a", "b", "c"))
        >>> images.selection(np.array([True, False, True])).shape
        (2, 1, 2, 2)
        """
        return Selection(self.pixels, torch.from_numpy(np.arange(len(self))[_rows(mask, len(self))]))

    def binarized(self, kind: str | None) -> Images:
        """Return the images in black and white (:mod:`vaekit.data.binarize`), or unchanged if ``kind`` is None.

        >>> Images(torch.full((1, 1, 1, 2), 200, dtype=torch.uint8), ("a",)).binarized("threshold").pixels.unique()
        tensor([255], dtype=torch.uint8)
        """
        if kind is None:
            return self
        pixels = binarized(self.pixels.numpy(), kind)
        return replace(self, pixels=torch.from_numpy(pixels), is_mapped=is_mapped(pixels))

    def select(self, query: str) -> Images:
        """Return the images of a group, such as ``label:smiling`` or ``attr:glasses=1,male=0``.

        Raises:
            UserError: If the group is unknown or empty. The message lists the groups that exist.
        """
        labels = None if self.labels is None else self.labels.numpy()
        return self[match_group(query, labels, self.classes, self.attributes)]

    def __repr__(self) -> str:
        counts = Counter(self.parts.tolist())
        facts = [f"{len(self):,} of {'×'.join(map(str, self.shape))}"]
        if self.classes:
            more = ", …" if len(self.classes) > 10 else ""
            facts.append(f"{counted(len(self.classes), 'class')} ({', '.join(self.classes[:10])}{more})")
        if self.attributes:
            facts.append(f"attributes {', '.join(self.attributes)}")
        facts.append(" ".join(f"{name} {counts[number]:,}" for number, name in enumerate(PARTS)))
        if self.skipped:
            facts.append(f"{len(self.skipped)} skipped")
        return f"Images({'; '.join(facts)}; {self.source})"

    def _fingerprint_of(self, picked: np.ndarray) -> str:
        if len(picked) == len(self) and (picked == np.arange(len(self))).all():
            return self.fingerprint
        if self.digests is not None:
            return fingerprint_of(self.digests[picked])
        return hashlib.sha256(self.fingerprint.encode() + np.sort(picked).tobytes()).hexdigest()


def _rows(index: Any, count: int) -> slice | np.ndarray:
    """Convert an index to a slice if possible, so that pixels are shared, else to int64 row numbers."""
    if isinstance(index, slice):
        # torch does not support negative steps
        return index if (index.step or 1) > 0 else np.arange(count)[index].copy()
    if isinstance(index, int | np.integer):
        if not -count <= index < count:
            raise IndexError(f"image {index} is out of range for {counted(count, 'image')}")
        return slice(int(index) % count, int(index) % count + 1)
    rows = np.asarray(index)
    if rows.size == 0 and rows.dtype != bool:
        return slice(0, 0)
    if rows.dtype == bool:
        if rows.shape != (count,):
            raise IndexError(f"the mask has shape {rows.shape}; expected ({count},)")
        rows = np.flatnonzero(rows)
        if len(rows) == 0:
            return slice(0, 0)
    if rows.ndim == 0:
        return _rows(int(rows), count)
    return _contiguous(np.arange(count)[rows])


def _contiguous(rows: np.ndarray) -> slice | np.ndarray:
    if (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
