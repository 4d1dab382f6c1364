"""Many image files into one uint8 array [N, C, H, W], through the cache where there are many of them."""

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
from vaekit.data.ingest.headers import look_into
from vaekit.data.ingest.mapped import cache_folder, empty
from vaekit.data.ingest.workers import Found, Target, Task, cores, decode_all
from vaekit.data.ranges import Dim, beyond_words, frame_notes, range_of_files
from vaekit.errors import UserError
from vaekit.pixels.decode import MOST_FRAMES, count_frames, is_colour, upright_size
from vaekit.pixels.deep import RANGE
from vaekit.pixels.form import Form
from vaekit.pixels.sizes import suggested
from vaekit.pixels.worker import COLOUR, SIZE
from vaekit.system import notes

__all__ = ["Loaded", "join", "load_files", "refuse_unequal", "sample_sizes"]

T = TypeVar("T")

_BLOCK = 512  # headers looked at before it is taken that there is no colour
_HEADERS = 1024  # headers looked at before decoding, to find unequal sizes early
_MEASURED = 64  # headers looked at to say how much a crop cuts off
_FEWEST_KEPT = 256  # images; fewer are decoded again faster than anyone notices
_SAY_SECONDS = 10.0
_ANIMATED = (".gif", ".tif", ".tiff", ".webp", ".png", ".apng")


class _Unfit(UserError):
    """A set that no decoding makes fit: nothing of it is worth keeping."""


@dataclass
class Loaded:
    """Of the M readable pictures: pixels [M, C, H, W], names, contents, and where their files are in the request."""

    pixels: np.ndarray
    names: list[str]
    contents: list[bytes]
    kept: list[int]
    skipped: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)  #: (height, width) of a sample of the files
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  #: int32 [M], as in Decoded
    has_more: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  #: bool [M], as in Decoded
    dim: Dim | None = None  #: they use less than 1 % of their range


class _Row(NamedTuple):
    """A picture asked for: the file at a place of the request, and a frame of it."""

    name: str
    place: int
    frame: int = 0


def load_files(files: Files, names: Sequence[str], root: str, form: Form, is_sample: bool = False) -> Loaded:
    """Decodes the files ``root + name``. Files that cannot be read are skipped with a reason.

    Args:
        files: The tree.
        names: Of the images in it.
        root: The folder in the tree that the names are relative to.
        form: What the images are brought to.
        is_sample: Whether the files are a sample of a set, of which nothing is said as of the whole.

    Raises :class:`UserError` if more than half cannot be read, if sizes differ and the form gives none, or if values
    lie outside of the range of their format.
    """
    loaded = _load(files, names, root, form)
    if not is_sample:
        loaded.sizes = sample_sizes(files, names, root, form)
        said, loaded.dim = range_of_files(loaded.peaks, files.where)
        loaded.notes += said
        if form.frames == "first":
            loaded.notes += frame_notes(loaded.names, loaded.has_more)
    return loaded


def sample_sizes(files: Files, names: Sequence[str], root: str, form: Form) -> list[tuple[int, int]]:
    """(height, width) of some of the files ``root + name``, evenly spread, where the form may cut them off."""
    if form.size is None or form.fit != "crop":
        return []
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # as below
        return _sizes(pool, files, names[:: -(-len(names) // _MEASURED)], root)


def _load(files: Files, names: Sequence[str], root: str, form: Form) -> Loaded:
    with warnings.catch_warnings():
        # PIL warns of large images and odd notes; neither is a reason to alarm the user
        warnings.simplefilter("ignore")
        rows = [_Row(name, place) for place, name in enumerate(names)]
        with ThreadPoolExecutor(cores()) as pool:
            if form.frames == "all":
                rows = list(_all_frames(pool, files, rows, root))
            if form.size is None:
                some = names[:: max(1, len(names) // _HEADERS)]
                refuse_unequal(_sizes(pool, files, some, root), files.where, form.fit)
            size = form.size or _first(pool, files, names, root, upright_size) or (1, 1)
            channels = form.channels or (3 if _first(pool, files, names[:_BLOCK], root, _colour) else 1)
        request = _Request(files, rows, root, form, (channels, *size))
        if not files.place or form.frames == "all" or len(rows) < _FEWEST_KEPT:
            return request.decode()
        try:
            cache_folder()
        except UserError as error:
            return request.decode(f"the images are decoded again each time: {error}")
        try:
            return request.decode_through_cache()
        except OSError as error:
            return request.decode(
                f"the images are decoded again each time, because nothing can be kept in {cache_folder()} "
                f"({error.strerror or error}); set VAEKIT_CACHE to a folder with room"
            )


@dataclass
class _Request:
    files: Files
    rows: Sequence[_Row]
    root: str
    form: Form
    shape: tuple[int, int, int]  #: channels, height, width

    def decode(self, *notes: str) -> Loaded:
        """Into memory, or a file that is gone when this process ends."""
        results: dict[int, Found] = {}
        rows = range(len(self.rows))
        pixels = empty((len(rows), *self.shape))
        while not self._run(Target(pixels), rows, lambda some: results.update((one.row, one) for one in some)):
            results.clear()
            pixels = empty((len(rows), *self.shape))
        skipped = [(row, results[row].why) for row in sorted(results) if not results[row].content]
        self._refuse_ruins(skipped)
        kept = [row for row in sorted(results) if results[row].content]
        for to, row in enumerate(kept) if skipped else ():
            if to != row:
                pixels[to] = pixels[row]
        noted = np.array([results[row][4:] for row in kept], np.int32).reshape(-1, 2)
        loaded = self._loaded(pixels[: len(kept)], [results[row].content for row in kept], noted, kept, skipped)
        loaded.notes.extend(notes)
        return loaded

    def decode_through_cache(self) -> Loaded:
        """From the cache, or into it; OSError where that cannot be."""
        key = Key(self.files, [self.root + row.name for row in self.rows], self.form)
        cached = key.find()
        if cached is None:
            with key.alone():
                cached = key.find()  # another process may have been at it
                if key.colour.exists() and self.form.channels is None:
                    self.shape = (3, *self.shape[1:])
                while cached is None:
                    cached = self._build(key)
        return self._loaded(cached.pixels, cached.contents, cached.noted, cached.kept, cached.skipped)

    def _build(self, key: Key) -> Cached | None:
        """The set, decoded into the cache; None: it has to be done again, in colour."""
        building = Building(key, len(self.rows), self.shape)
        skipped: list[tuple[int, str]] = []

        def note(some: list[Found]) -> None:
            building.note(some)
            skipped.extend((found.row, found.why) for found in some if not found.content)

        try:
            left = [row for row in range(len(self.rows)) if row not in building.done]
            if not self._run(Target(building.pixels, building.path, self.files.handles), left, note):
                building.discard()
                key.colour.touch()
                return None
            self._refuse_ruins(sorted(skipped))
            return building.finish(sorted(skipped))
        except _Unfit:
            building.discard()
            raise
        finally:
            building.close()

    def _run(self, target: Target, left: Sequence[int], note: Callable[[list[Found]], None]) -> bool:
        """Decodes some rows; False if colour turned up where none was expected: then the shape has three channels."""
        tasks = (Task(row, self.rows[row].frame, self.files.span(self.root + self.rows[row].name)) for row in left)
        done, said = 0, time.monotonic()
        with closing(decode_all(tasks, len(left), target, self.form)) as answers:
            for found in answers:
                if any(one.why == COLOUR for one in found):
                    self.shape = (3, *self.shape[1:])
                    return False
                self._refuse_sizes(one.why for one in found if one.why.startswith(SIZE))
                note(found)
                done += len(found)
                if time.monotonic() - said > _SAY_SECONDS:
                    said = time.monotonic()
                    notes.note(f"decoding images: {done:,} of {len(left):,}")
        return True

    def _refuse_sizes(self, said: Iterable[str]) -> None:
        for why in said:
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

    def _refuse_ruins(self, skipped: Sequence[tuple[int, str]]) -> None:
        named = [(_frame_name(self.rows[row]), why) for row, why in skipped]
        beyond = [(name, why) for name, why in named if why.startswith(RANGE)]
        if beyond:
            raise _Unfit(beyond_words(self.files.where, len(self.rows), beyond))
        if 2 * len(skipped) > len(self.rows):
            raise _Unfit(_too_many(self.files.where, len(self.rows), named))


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 arrays [n, C, H, W] of one shape, one after the other; a single one is returned as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, out=empty((sum(map(len, arrays)), *arrays[0].shape[1:])))


def refuse_unequal(sizes: Sequence[tuple[int, int]], where: str, fit: str = "crop") -> None:
    """Raises :class:`UserError` with a size to give if ``sizes`` (height, width) are not all the same."""
    if len(set(sizes)) < 2:
        return
    low, high, wanted = min(sizes), max(sizes), suggested(sizes, fit)
    why = f" ({wanted.reason})" if wanted.fit != fit else ""
    raise _Unfit(
        f"the images in {where} differ in size (from {low[0]}x{low[1]} to {high[0]}x{high[1]}, "
        f"height x width); give the size to bring them to, for example {wanted.flags}{why}"
    )


def _too_many(where: str, count: int, skipped: list[tuple[str, str]]) -> str:
    if count == 1:
        return f"{where} cannot be read as an image: {skipped[0][1]}; fetch or export it again"
    few = "; ".join(f"{name}: {why}" for name, why in skipped[:3]) + ("; …" if len(skipped) > 3 else "")
    return (
        f"{len(skipped)} of the {count} images in {where} cannot be read ({few}); "
        "at least half must be readable: fetch or export them again"
    )


def _colour(file: IO[bytes]) -> bool | None:
    return is_colour(file) or None


def _frame_name(row: _Row) -> str:
    return f"{row.name}#{row.frame}" if row.frame else row.name


def _all_frames(pool: ThreadPoolExecutor, files: Files, rows: Sequence[_Row], root: str) -> Iterator[_Row]:
    counts = pool.map(lambda row: _frames_of(files, root + row.name), rows)
    for row, count in zip(rows, counts, strict=True):
        if count > MOST_FRAMES:
            raise UserError(f"{files.where}/{row.name} has {count:,} frames, the limit is {MOST_FRAMES:,}; split it")
        for frame in range(count):
            yield _Row(row.name, row.place, frame)


def _frames_of(files: Files, name: str) -> int:
    return (look_into(files, name, count_frames) or 1) if name.lower().endswith(_ANIMATED) else 1


def _sizes(pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str) -> list[tuple[int, int]]:
    found = pool.map(lambda name: look_into(files, root + name, upright_size), names)
    return [size for size in found if size is not None]


def _first(
    pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str, look: Callable[..., T | None]
) -> T | None:
    """What ``look`` finds in the first header where it finds something."""
    for start in range(0, len(names), _BLOCK):
        block = [root + name for name in names[start : start + _BLOCK]]
        for found in pool.map(lambda name: look_into(files, name, look), block):
            if found is not None:
                return found
    return None
