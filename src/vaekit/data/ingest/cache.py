"""Cache of decoded images on disk, so that each set is decoded once for each form, even if a process is killed.

    images/index/KEY       a source in a form: names, sizes, times and content hashes of its files, and its pixel file
    images/pixels/KEY      uint8 [N, C, H, W], named after the contents and the form, so that equal sets share it
    images/building/KEY    a set that is being decoded: pixels, a journal of finished rows, and a lock

A set is cached when its index and its pixels exist. Both are complete before they get their name. A row is finished
when its pixels are synced and it is in the journal, which is written afterwards, so a killed process loses only the
last seconds. A file whose name, size and times match the index is not read again. The index has checksums of itself and
of each image, which are verified whenever the set is opened.
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
from vaekit.pixels.image_form import Form
from vaekit.system import checksums as sums
from vaekit.system.locks import LOCK, only_writer, wait_for_turn
from vaekit.system.notes import note

__all__ = ["UNKNOWN", "VERSIONS", "Cached", "Index", "Key", "drop_unused_pixels", "map_pixels", "prune"]

#: Increment the first number when the decoded pixels or the file format change.
VERSIONS = (2, PIL.__version__, simplejpeg.__version__)

#: Stamp that matches no file: the file was too new to detect later changes, or is to be tried again.
UNKNOWN = -2


@dataclass(frozen=True)
class Cached:
    """A cached set of M readable images."""

    pixels: np.ndarray  #: uint8 [M, C, H, W], memory-mapped, read-only
    contents: list[bytes]  #: content hash of each file
    noted: np.ndarray  #: int32 [M, 2]: peak of each file, and whether it has more frames
    kept: list[int]  #: row of each image in the request
    skipped: list[tuple[int, str]]  #: row in the request, and reason, of each unreadable file


@dataclass(frozen=True)
class Index:
    """Properties of a decoded source with N files, M of them readable."""

    names: bytes  #: separated by NUL
    stamps: np.ndarray  #: int64 [N, 3], or UNKNOWN
    contents: np.ndarray  #: uint8 [N, 32], zeros for unreadable files
    noted: np.ndarray  #: int32 [N, 2], as in :class:`Cached`
    skipped: list[tuple[int, str]]
    shape: tuple[int, int, int]
    pixels: str  #: name of the pixel file
    sums: np.ndarray  #: uint64 [M], checksum of each image's pixels


class Key:
    """A source in a form, and its files in the cache."""

    def __init__(self, files: Files, names: Sequence[str], form: Form) -> None:
        """``names`` are those of the images, in order."""
        self.folder = cache_folder() / "images"
        facts = json.dumps([VERSIONS, files.place, astuple(form)])
        self.key = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self.building = self.folder / "building" / self.key
        self.has_color = self.building / "colour"  #: marker file, created once an image of the set has color
        self.form = form
        self._path = self.folder / "index" / self.key
        self.names = "\0".join(names).encode("utf-8", "surrogateescape")
        self.stamps = files.stamps(names)

    def find(self) -> Cached | None:
        """Return the set if it is cached and no file has changed."""
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
            contents=[contents[start : start + 32] for start in range(0, len(contents), 32)],
            noted=index.noted[readable],
            kept=np.flatnonzero(readable).tolist(),
            skipped=index.skipped,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock this source and form for this process, waiting for other processes with a note."""
        self.building.mkdir(parents=True, exist_ok=True)
        if not os.access(self.building, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with ExitStack() as stack:
            try:
                lock = wait_for_turn(self.building, lambda text: note(f"decoding images: {text}"))
                stack.enter_context(lock)
            except UserError as error:
                raise OSError(str(error)) from error
            yield

    @property
    def has_index(self) -> bool:
        """Whether an index exists, valid or not."""
        return self._path.exists()

    def index(self) -> Index | None:
        """Read the index; None if it is missing, damaged or from an older version."""
        try:
            if not sums.is_sealed(self._path):
                return None  # written by an older vaekit
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
            return None  # the set is decoded again

    def pixels(self, index: Index) -> np.ndarray | None:
        """Map the pixels of an index, uint8 ``[M, C, H, W]``, read-only; None if they are missing."""
        shape = (int(index.contents.any(1).sum()), *index.shape)
        return map_pixels(self.folder / "pixels" / index.pixels, shape)

    def write(self, index: Index) -> None:
        """Write the index atomically."""
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
    """Map a file as a read-only uint8 array of ``shape``; None if it is missing or has another size."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    return np.ndarray(shape, np.uint8, buffer=mapped) if len(mapped) == np.prod(shape, dtype=np.int64) else None


def prune() -> int:
    """Delete all decoded images from the cache.

    Sets that a process has open stay usable for it, and sets that are being decoded stay.

    Returns:
        Number of bytes freed.
    """
    folder = cache_folder() / "images"
    freed = sum(map(_remove, [*folder.glob("index/*"), *folder.glob("pixels/*")]))
    for building in folder.glob("building/*"):
        with suppress(UserError, OSError):  # another process is decoding it
            with only_writer(building, lambda _: None):
                freed += sum(_remove(path) for path in building.iterdir() if path.name != LOCK)
            building.rmdir()
    return freed


def drop_unused_pixels(folder: Path) -> None:
    """Delete pixel files that no index refers to."""
    existing = list((folder / "pixels").iterdir())  # listed first, because writers add the index before the pixels
    used = set()
    for path in (folder / "index").iterdir():
        with suppress(OSError, SafetensorError, ValueError, KeyError), safe_open(path, framework="numpy") as file:
            used.add(sums.facts_in(file.metadata())["pixels"])
    for path in existing:
        if path.name not in used:
            _remove(path)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except (FileNotFoundError, PermissionError):  # already deleted, or open in a process (Windows)
        return 0
    return size
