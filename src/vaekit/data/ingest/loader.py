"""Load image files into one uint8 array ``[N, C, H, W]``, through the cache if there are many."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, NamedTuple, TypeVar

import numpy as np

from vaekit.data.ingest.cache import Cached, Key
from vaekit.data.ingest.cache_writer import Building
from vaekit.data.ingest.files import Files
from vaekit.data.ingest.headers import try_header
from vaekit.data.ingest.mapped import cache_folder, empty
from vaekit.data.ingest.workers import FileResult, Target, Task, cores, decode_all
from vaekit.data.ranges import Dim, frame_notes, out_of_range_message, range_of_files
from vaekit.errors import UserError, counted
from vaekit.pixels.bit_depth import RANGE
from vaekit.pixels.decode import MOST_FRAMES, count_frames, is_color, upright_size
from vaekit.pixels.image_form import Form
from vaekit.pixels.sizes import suggested
from vaekit.pixels.worker import COLOR, SIZE
from vaekit.system import notes

__all__ = ["Loaded", "UnequalSizes", "join", "load_files", "refuse_unequal", "sample_sizes"]

T = TypeVar("T")

_BLOCK = 512  # headers to inspect before assuming that all images are gray
_HEADERS = 1024  # headers to inspect before decoding, to detect unequal sizes early
_MEASURED = 64  # headers to inspect to estimate how much a crop cuts off
_FEWEST_CACHED = 256  # images; decoding fewer takes no noticeable time
_REPORT_SECONDS = 10.0
_ANIMATED = (".gif", ".tif", ".tiff", ".webp", ".png", ".apng")


class _Unfit(UserError):
    """No part of the set can be used in this form, so nothing of it is cached."""


class UnequalSizes(_Unfit):
    """The images differ in size, and none was chosen."""


@dataclass
class Loaded:
    """M readable images: pixels ``[M, C, H, W]``, names, content hashes and indices of their files in the request."""

    pixels: np.ndarray
    names: list[str]
    contents: list[bytes]
    kept: list[int]
    skipped: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)  #: (height, width) of a sample of the files
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  #: int32 [M], as in Decoded
    has_more: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  #: bool [M], as in Decoded
    dim: Dim | None = None  #: set if the images use less than 1 % of their range


class _Row(NamedTuple):
    """A requested image: a file, its index in the request, and a frame of it."""

    name: str
    place: int
    frame: int = 0


def load_files(files: Files, names: Sequence[str], root: str, form: Form, is_sample: bool = False) -> Loaded:
    """Decode the files ``root + name``. Unreadable files are skipped with a reason.

    Args:
        files: The tree.
        names: Names of the images in it.
        root: Folder in the tree that the names are relative to.
        form: Form to convert the images to.
        is_sample: Whether the files are a sample, so that no notes about the whole set are made.

    Raises:
        UserError: If more than half of the files cannot be read, sizes differ and ``form`` has none, or values are out
            of the range of their format.
    """
    loaded = _load(files, names, root, form)
    if not is_sample:
        loaded.sizes = sample_sizes(files, names, root, form)
        range_notes, loaded.dim = range_of_files(loaded.peaks, files.where)
        loaded.notes += range_notes
        if form.frames == "first":
            loaded.notes += frame_notes(loaded.names, loaded.has_more)
    return loaded


def sample_sizes(files: Files, names: Sequence[str], root: str, form: Form) -> list[tuple[int, int]]:
    """Return (height, width) of evenly spaced files ``root + name``; empty if ``form`` does not crop."""
    if form.size is None or form.fit != "crop":
        return []
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # as in _load
        return _sizes(pool, files, names[:: -(-len(names) // _MEASURED)], root)


def _load(files: Files, names: Sequence[str], root: str, form: Form) -> Loaded:
    with warnings.catch_warnings():
        # PIL warns of large images and unusual metadata, which is no reason to alarm the user
        warnings.simplefilter("ignore")
        rows = [_Row(name, place) for place, name in enumerate(names)]
        with ThreadPoolExecutor(cores()) as pool:
            if form.frames == "all":
                rows = list(_all_frames(pool, files, rows, root))
            if form.size is None:
                sample = names[:: max(1, len(names) // _HEADERS)]
                refuse_unequal(_sizes(pool, files, sample, root), files.where, form.fit)
            size = form.size or _first(pool, files, names, root, upright_size) or (1, 1)
            channels = form.channels or (3 if _first(pool, files, names[:_BLOCK], root, _has_color) else 1)
        request = _Request(files, rows, root, form, (channels, *size))
        if not files.place or form.frames == "all" or len(rows) < _FEWEST_CACHED:
            return request.decode()
        try:
            cache_folder()
        except UserError as error:
            return request.decode(f"the images cannot be cached and are decoded each time: {error}")
        try:
            return request.decode_through_cache()
        except OSError as error:
            return request.decode(
                f"the images cannot be cached and are decoded each time: cannot write {cache_folder()} "
                f"({error.strerror or error}); set VAEKIT_CACHE to a folder with enough space"
            )


@dataclass
class _Request:
    files: Files
    rows: Sequence[_Row]
    root: str
    form: Form
    shape: tuple[int, int, int]  #: channels, height, width

    def decode(self, *notes: str) -> Loaded:
        """Decode into memory, or into a temporary file."""
        results: dict[int, FileResult] = {}
        rows = range(len(self.rows))
        pixels = empty((len(rows), *self.shape))
        while not self._run(Target(pixels), rows, lambda batch: results.update((item.row, item) for item in batch)):
            results.clear()
            pixels = empty((len(rows), *self.shape))
        skipped = [(row, results[row].why) for row in sorted(results) if not results[row].content]
        self._refuse_unreadable(skipped)
        kept = [row for row in sorted(results) if results[row].content]
        for position, row in enumerate(kept) if skipped else ():
            if position != row:
                pixels[position] = pixels[row]
        noted = np.array([results[row][4:] for row in kept], np.int32).reshape(-1, 2)
        loaded = self._loaded(pixels[: len(kept)], [results[row].content for row in kept], noted, kept, skipped)
        loaded.notes.extend(notes)
        return loaded

    def decode_through_cache(self) -> Loaded:
        """Read from the cache, decoding into it if necessary; raises OSError if it cannot be used."""
        key = Key(self.files, [self.root + row.name for row in self.rows], self.form)
        cached = key.find()
        if cached is None:
            with key.locked():
                cached = key.find()  # another process may have decoded it meanwhile
                if key.has_color.exists() and self.form.channels is None:
                    self.shape = (3, *self.shape[1:])
                while cached is None:
                    cached = self._build(key)
        return self._loaded(cached.pixels, cached.contents, cached.noted, cached.kept, cached.skipped)

    def _build(self, key: Key) -> Cached | None:
        """Decode the set into the cache; None if it must be done again, in color."""
        building = Building(key, len(self.rows), self.shape)
        skipped: list[tuple[int, str]] = []

        def record(batch: list[FileResult]) -> None:
            building.record(batch)
            skipped.extend((result.row, result.why) for result in batch if not result.content)

        try:
            left = [row for row in range(len(self.rows)) if row not in building.done]
            if not self._run(Target(building.pixels, building.path, self.files.handles), left, record):
                building.discard()
                key.has_color.touch()
                return None
            self._refuse_unreadable(sorted(skipped))
            return building.finish(sorted(skipped))
        except _Unfit:
            building.discard()
            raise
        finally:
            building.close()

    def _run(self, target: Target, left: Sequence[int], record: Callable[[list[FileResult]], None]) -> bool:
        """Decode rows; False if an image of a supposedly gray set has color, after setting the shape to 3 channels."""
        tasks = (Task(row, self.rows[row].frame, self.files.span(self.root + self.rows[row].name)) for row in left)
        done, reported = 0, time.monotonic()
        with closing(decode_all(tasks, len(left), target, self.form)) as batches:
            for batch in batches:
                if any(result.why == COLOR for result in batch):
                    self.shape = (3, *self.shape[1:])
                    return False
                self._refuse_sizes(result.why for result in batch if result.why.startswith(SIZE))
                record(batch)
                done += len(batch)
                if time.monotonic() - reported > _REPORT_SECONDS:
                    reported = time.monotonic()
                    notes.note(f"decoding images: {done:,} of {len(left):,}")
        return True

    def _refuse_sizes(self, reasons: Iterable[str]) -> None:
        for why in reasons:
            height, width = why.removeprefix(SIZE).split("x")
            refuse_unequal([self.shape[1:], (int(height), int(width))], self.files.where, self.form.fit)

    def _loaded(
        self,
        pixels: np.ndarray,
        contents: list[bytes],
        noted: np.ndarray,
        kept: list[int],
        skipped: Sequence[tuple[int, str]],
    ) -> Loaded:
        names = [_frame_name(self.rows[row]) for row in kept]
        places = [self.rows[row].place for row in kept]
        not_read = [(_frame_name(self.rows[row]), why) for row, why in skipped]
        return Loaded(pixels, names, contents, places, not_read, peaks=noted[:, 0], has_more=noted[:, 1] > 0)

    def _refuse_unreadable(self, skipped: Sequence[tuple[int, str]]) -> None:
        named = [(_frame_name(self.rows[row]), why) for row, why in skipped]
        out_of_range = [(name, why) for name, why in named if why.startswith(RANGE)]
        if out_of_range:
            raise _Unfit(out_of_range_message(self.files.where, len(self.rows), out_of_range))
        if 2 * len(skipped) > len(self.rows):
            raise _Unfit(_too_many(self.files.where, len(self.rows), named))


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate uint8 arrays ``[n, C, H, W]``; a single array is returned unchanged."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, out=empty((sum(map(len, arrays)), *arrays[0].shape[1:])))


def refuse_unequal(sizes: Sequence[tuple[int, int]], where: str, fit: str = "crop") -> None:
    """Raise :class:`UserError`, suggesting a size, if ``sizes`` (height, width) are not all equal."""
    if len(set(sizes)) < 2:
        return
    low, high, suggestion = min(sizes), max(sizes), suggested(sizes, fit)
    why = f" ({suggestion.reason})" if suggestion.fit != fit else ""
    raise UnequalSizes(
        f"the images in {where} differ in size (from {low[0]}x{low[1]} to {high[0]}x{high[1]}, "
        f"height x width); choose the size to convert them to, for example {suggestion.arguments}{why}"
    )


def _too_many(where: str, count: int, skipped: list[tuple[str, str]]) -> str:
    if count == 1:
        return f"{where} cannot be read as an image: {skipped[0][1]}; download or export it again"
    examples = "; ".join(f"{name}: {why}" for name, why in skipped[:3]) + ("; …" if len(skipped) > 3 else "")
    return (
        f"{len(skipped):,} of the {counted(count, 'image')} in {where} cannot be read ({examples}); "
        "at least half must be readable: download or export them again"
    )


def _has_color(file: IO[bytes]) -> bool | None:
    return is_color(file) or None


def _frame_name(row: _Row) -> str:
    return f"{row.name}#{row.frame}" if row.frame else row.name


def _all_frames(pool: ThreadPoolExecutor, files: Files, rows: Sequence[_Row], root: str) -> Iterator[_Row]:
    counts = pool.map(lambda row: _frames_of(files, root + row.name), rows)
    for row, count in zip(rows, counts, strict=True):
        if count > MOST_FRAMES:
            raise UserError(
                f"{files.where}/{row.name} has {count:,} frames; the limit is {MOST_FRAMES:,}; split the file"
            )
        for frame in range(count):
            yield _Row(row.name, row.place, frame)


def _frames_of(files: Files, name: str) -> int:
    return (try_header(files, name, count_frames) or 1) if name.lower().endswith(_ANIMATED) else 1


def _sizes(pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str) -> list[tuple[int, int]]:
    sizes = pool.map(lambda name: try_header(files, root + name, upright_size), names)
    return [size for size in sizes if size is not None]


def _first(
    pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str, read: Callable[..., T | None]
) -> T | None:
    """Return the first result of ``read`` on the headers that is not None."""
    for start in range(0, len(names), _BLOCK):
        block = [root + name for name in names[start : start + _BLOCK]]
        for value in pool.map(lambda name: try_header(files, name, read), block):
            if value is not None:
                return value
    return None
