"""Decoded images on disk, so that a set is decoded once: for all runs, sizes side by side, also after a kill.

    images/index/KEY       of a source in a form: names, sizes and times of its files, their contents, which pixels
    images/pixels/KEY      uint8 [N, C, H, W], named after the contents and the form: equal sets share it
    images/building/KEY    a set that is being decoded: pixels, a journal of the rows that are done, a lock

A set is in the cache when its index and its pixels are. Both appear by renaming, whole. A row counts as done when its
pixels are on the disk and it is in the journal after them, so a killed process loses the last seconds only. A file of
which name, size and times are as in the index is not read again. The index has a checksum of itself and one of each
image, which are compared whenever the set is opened.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vaekit.data.ingest.files import Files
from vaekit.data.ingest.mapped import cache_folder
from vaekit.errors import UserError
from vaekit.pixels.form import Form
from vaekit.system import checksums as sums
from vaekit.system.locks import LOCK, only_writer, wait_for_turn
from vaekit.system.notes import note

__all__ = ["UNKNOWN", "VERSIONS", "Cached", "Index", "Key", "drop_unused_pixels", "map_pixels", "prune"]

#: Raise the first with every change of what a decoded image looks like, or of how it is kept.
VERSIONS = (2, PIL.__version__, simplejpeg.__version__)

#: A stamp that no file has: of one that was so new that it may have changed since unseen, or is to be tried again.
UNKNOWN = -2


@dataclass(frozen=True)
class Cached:
    """A set that is in the cache."""

    pixels: np.ndarray  #: of the readable files, uint8 [M, C, H, W], mapped, not writable
    contents: list[bytes]
    noted: np.ndarray  #: int32 [M, 2]: the peak of each file, and whether it has more frames
    kept: list[int]
    skipped: list[tuple[int, str]]  #: row of the request, and the reason


@dataclass(frozen=True)
class Index:
    """What was found when a source was decoded; N rows of the request, of which M could be read."""

    names: bytes
    stamps: np.ndarray  #: int64 [N, 3], or UNKNOWN
    contents: np.ndarray  #: uint8 [N, 32], zeros where the file could not be read
    noted: np.ndarray  #: int32 [N, 2], as in :class:`Cached`
    skipped: list[tuple[int, str]]
    shape: tuple[int, int, int]
    pixels: str  #: name of the file
    sums: np.ndarray  #: uint64 [M], of each image's pixels


class Key:
    """A source in a form, and what lies in the cache for it."""

    def __init__(self, files: Files, names: Sequence[str], form: Form) -> None:
        """``names`` are those of the tree's images, in order."""
        self.folder = cache_folder() / "images"
        facts = json.dumps([VERSIONS, files.place, astuple(form)])
        self.key = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self.building = self.folder / "building" / self.key
        self.colour = self.building / "colour"  #: is there once an image of the set was found to have colour
        self.form = form
        self._path = self.folder / "index" / self.key
        self.names = "\0".join(names).encode("utf-8", "surrogateescape")
        self.stamps = files.stamps(names)

    def find(self) -> Cached | None:
        """The set, if it is there and no file has changed since."""
        index = self.index()
        if index is None or index.names != self.names or not np.array_equal(index.stamps, self.stamps):
            return None
        pixels = self.pixels(index)
        if pixels is None or (sums.row_sums(pixels) != index.sums).any():
            return None
        readable = index.contents.any(1)
        contents = index.contents[readable].tobytes()
        return Cached(
            pixels=pixels,
            contents=[contents[at : at + 32] for at in range(0, len(contents), 32)],
            noted=index.noted[readable],
            kept=np.flatnonzero(readable).tolist(),
            skipped=index.skipped,
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds this source and form for this process; a second one waits, and says so."""
        self.building.mkdir(parents=True, exist_ok=True)
        if not os.access(self.building, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with ExitStack() as stack:
            try:
                say = wait_for_turn(self.building, lambda text: note(f"decoding images: {text}"))
                stack.enter_context(say)
            except UserError as error:
                raise OSError(str(error)) from error
            yield

    @property
    def has_index(self) -> bool:
        """Whether something is kept of the source, whole or not."""
        return self._path.exists()

    def index(self) -> Index | None:
        try:
            if not sums.is_sealed(self._path):
                return None  # of an older vaekit
            sums.check(self._path)
            with safe_open(self._path, framework="numpy") as file:
                facts = sums.facts_in(file.metadata())
                arrays = {name: file.get_tensor(name) for name in ("names", "stamps", "contents", "noted", "sums")}
            return Index(
                arrays["names"].tobytes(),
                arrays["stamps"],
                arrays["contents"],
                arrays["noted"],
                [(int(row), str(why)) for row, why in facts["skipped"]],
                tuple(facts["shape"]),
                str(facts["pixels"]),
                arrays["sums"],
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None  # damaged or not there: it is made again

    def pixels(self, index: Index) -> np.ndarray | None:
        """The pixels that an index names, uint8 [M, C, H, W], not writable; None if they are not there."""
        shape = (int(index.contents.any(1).sum()), *index.shape)
        return map_pixels(self.folder / "pixels" / index.pixels, shape)

    def write(self, index: Index) -> None:
        """Puts the index of the source in its place, whole."""
        arrays = {
            "names": np.frombuffer(index.names, np.uint8),
            "stamps": index.stamps,
            "contents": index.contents,
            "noted": index.noted,
            "sums": index.sums,
        }
        facts = {"skipped": index.skipped, "shape": index.shape, "pixels": index.pixels}
        temporary = self.building / "index"
        temporary.write_bytes(save(arrays, sums.metadata_of(facts)))
        sums.seal(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self._path)


def map_pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The uint8 array of ``shape`` that a file holds, not writable; None if it is not there or of another size."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    return np.ndarray(shape, np.uint8, buffer=mapped) if len(mapped) == np.prod(shape, dtype=np.int64) else None


def prune() -> int:
    """Takes all decoded images out of the cache; returns how many bytes were freed.

    What a process has open stays usable for it; what one is decoding just now stays.
    """
    folder = cache_folder() / "images"
    freed = sum(map(_remove, [*folder.glob("index/*"), *folder.glob("pixels/*")]))
    for building in folder.glob("building/*"):
        with suppress(UserError, OSError):  # another process is at it
            with only_writer(building, lambda _: None):
                freed += sum(_remove(path) for path in building.iterdir() if path.name != LOCK)
            building.rmdir()
    return freed


def drop_unused_pixels(folder: Path) -> None:
    """Takes away pixels that no index names any more."""
    there = list((folder / "pixels").iterdir())  # first: whoever adds pixels adds their index before
    used = set()
    for path in (folder / "index").iterdir():
        with suppress(OSError, SafetensorError, ValueError, KeyError), safe_open(path, framework="numpy") as file:
            used.add(sums.facts_in(file.metadata())["pixels"])
    for path in there:
        if path.name not in used:
            _remove(path)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except (FileNotFoundError, PermissionError):  # gone already, or (Windows) open somewhere
        return 0
    return size
