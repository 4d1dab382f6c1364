"""Write decoded images into the cache, so that a killed process loses seconds and two processes share the work."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaekit.data.ingest.cache import UNKNOWN, VERSIONS, Cached, Index, Key, drop_unused_pixels, map_pixels
from vaekit.data.ingest.mapped import make_room
from vaekit.data.ingest.workers import FileResult
from vaekit.errors import UserError
from vaekit.system.checksums import row_sums, sum_of
from vaekit.system.notes import note

__all__ = ["Building"]

_RECORD = struct.Struct("<I32siBQQ")  # row, content, peak, has_more, checksum of the pixels, checksum of the record
_BEGUN = struct.Struct("<QQ")  # start time and its checksum
_FLUSH_SECONDS = 2.0
_RACY_NS = 2_000_000_000  # within one tick of its file system's clock a file may change without a new time stamp


class Done(NamedTuple):
    """Properties of a row whose pixels are complete."""

    content: bytes
    peak: int
    has_more: int


class Building:
    """A set that is being written into the cache. Use it inside :meth:`Key.locked`."""

    def __init__(self, key: Key, count: int, shape: tuple[int, int, int]) -> None:
        """Begin, or resume the work of a killed process; raises OSError if the disk is full or not writable."""
        self.key, self.shape = key, (count, *shape)
        self.path, self._journal_path = key.building / "pixels", key.building / "journal"
        self._head = self._header()
        self._begun_ns = time.time_ns()  # when any process began to read this set
        self.sums: dict[int, int] = {}
        self.done: dict[int, Done] = self._resume()
        self._to_retry: list[int] = []
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            make_room(self._handle, int(np.prod(self.shape, dtype=np.int64)), key.building)
            self._map = mmap.mmap(self._handle, 0)
        except BaseException:
            os.close(self._handle)
            self.path.unlink()
            raise
        self.pixels = np.ndarray(self.shape, np.uint8, buffer=self._map)
        self._fresh: dict[int, Done] = {}
        for row in [row for row, checksum in self.sums.items() if sum_of(self.pixels[row]) != checksum]:
            del self.done[row], self.sums[row]  # damaged since: decode it again
        self._flushed = time.monotonic()
        self._journal = open(self._journal_path, "ab")  # noqa: SIM115  # closed in close()
        if self._journal_path.stat().st_size == 0:
            begun = self._begun_ns.to_bytes(8, "little")
            self._journal.write(self._head + _BEGUN.pack(self._begun_ns, sum_of(begun)))
        self._copy_known()

    def record(self, results: Sequence[FileResult]) -> None:
        """Mark rows as done after their pixels were written."""
        for result in results:
            if result.content:
                self.done[result.row] = self._fresh[result.row] = Done(result.content, result.peak, result.has_more)
                self.sums[result.row] = sum_of(self.pixels[result.row])
            elif not result.lasts:
                self._to_retry.append(result.row)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def finish(self, skipped: Sequence[tuple[int, str]]) -> Cached:
        """Move the set into the cache; ``skipped`` holds the rows that could not be read, and why."""
        before = self.key.index()
        self._flush()
        kept = sorted(self.done)
        contents = [self.done[row].content for row in kept]
        source = self._pack(kept) if skipped else self.path
        self.close()
        name = self._name(contents)
        for folder in ("index", "pixels"):
            (self.key.folder / folder).mkdir(exist_ok=True)
        # Write the index first. It is valid only together with its pixels, so an interruption here is harmless.
        self._write_index(skipped, name)
        with suppress(PermissionError):  # Windows: a process has the same pixels open
            os.replace(source, self.key.folder / "pixels" / name)
        self._remove_files()
        self.key.has_color.unlink(missing_ok=True)
        if before is not None and before.pixels != name:
            drop_unused_pixels(self.key.folder)
        pixels = map_pixels(self.key.folder / "pixels" / name, (len(kept), *self.shape[1:]))
        if pixels is None:
            raise UserError("the cache was emptied while images were being decoded; repeat the command")
        noted = np.array([self.done[row][1:] for row in kept], np.int32).reshape(-1, 2)
        return Cached(pixels, contents, noted, kept, list(skipped))

    def close(self) -> None:
        """Close the files and keep what is done."""
        if self._journal.closed:
            return
        try:
            self._flush()
        finally:
            with suppress(OSError):  # the disk is full; incomplete records are ignored when read
                self._journal.close()
            del self.pixels
            with suppress(BufferError):  # the array is still in use
                self._map.close()
            os.close(self._handle)

    def discard(self) -> None:
        """Delete what was done, because it has the wrong form."""
        self.close()
        self._remove_files()
        self.key.has_color.unlink(missing_ok=True)

    def _header(self) -> bytes:
        facts = json.dumps([_RECORD.format, self.shape, self.key.key]).encode()
        return hashlib.sha256(facts + self.key.names + self.key.stamps.tobytes()).digest()

    def _resume(self) -> dict[int, Done]:
        """Read the rows that an earlier process has finished; none if it had other files or another form."""
        try:
            journal = self._journal_path.read_bytes()
            is_same = journal.startswith(self._head) and self.path.stat().st_size == np.prod(self.shape, dtype=np.int64)
        except OSError:
            is_same, journal = False, b""
        start = len(self._head) + _BEGUN.size
        begun_ns, begun_sum = _BEGUN.unpack(journal[len(self._head) : start].ljust(_BEGUN.size, b"\0"))
        if not is_same or sum_of(begun_ns.to_bytes(8, "little")) != begun_sum:
            self._remove_files()
            return {}
        self._begun_ns = begun_ns
        whole = (len(journal) - start) // _RECORD.size * _RECORD.size
        if start + whole < len(journal):
            os.truncate(self._journal_path, start + whole)
        done = {}
        for row, *rest, pixel_sum, record_sum in _RECORD.iter_unpack(journal[start : start + whole]):
            # records that were being written during a power failure may consist of zeros
            if row < self.shape[0] and _record_sum(row, *rest, pixel_sum) == record_sum:
                done[row], self.sums[row] = Done(*rest), pixel_sum
        return done

    def _copy_known(self) -> None:
        """Copy the rows of files that have not changed since the source was last decoded."""
        index = self.key.index()
        if index is None and self.key.has_index:
            note(f"decoding images: the cached images in {self.key.folder} are damaged, or from an older vaekit")
        if index is None or index.shape != self.shape[1:]:
            return
        pixels = self.key.pixels(index)
        if pixels is None:
            return
        before = {name: row for row, name in enumerate(index.names.split(b"\0"))}
        position = np.cumsum(index.contents.any(1)) - 1
        is_whole = row_sums(pixels) == index.sums
        if not is_whole.all():
            damaged = f"{(~is_whole).sum():,} of the {len(pixels):,} cached images in {self.key.folder} are damaged"
            note(f"decoding images: {damaged}; decoding them again")
        for row, name in enumerate(self.key.names.split(b"\0")):
            old = before.get(name)
            if row in self.done or old is None or not index.contents[old].any():
                continue
            if (index.stamps[old] != self.key.stamps[row]).any():
                continue
            kept = position[old]
            if is_whole[kept]:
                self.pixels[row], self.sums[row] = pixels[kept], int(index.sums[kept])
                self._fresh[row] = Done(index.contents[old].tobytes(), *index.noted[old].tolist())
        self.done.update(self._fresh)

    def _flush(self) -> None:
        """Sync the pixels, then write the journal that marks them as done."""
        self._flushed = time.monotonic()
        if not self._fresh:
            return
        self._map.flush()
        fresh, self._fresh = self._fresh, {}
        records = ((row, *done, self.sums[row]) for row, done in fresh.items())
        self._journal.write(b"".join(_RECORD.pack(*record, _record_sum(*record)) for record in records))
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def _pack(self, kept: Sequence[int]) -> Path:
        """Write the readable rows without gaps into a separate file."""
        packed = self.path.with_name("packed")
        with open(packed, "wb") as file:
            for row in kept:
                file.write(self.pixels[row].data)
            file.flush()
            os.fsync(file.fileno())
        return packed

    def _name(self, contents: Sequence[bytes]) -> str:
        form = replace(self.key.form, size=self.shape[2:], channels=self.shape[1])
        facts = json.dumps([VERSIONS, astuple(form)]).encode()
        return hashlib.sha256(facts + b"".join(contents)).hexdigest()[:32]

    def _write_index(self, skipped: Sequence[tuple[int, str]], name: str) -> None:
        stamps = self.key.stamps.copy()
        stamps[stamps[:, 1:].max(1, initial=-1) > self._begun_ns - _RACY_NS] = UNKNOWN
        stamps[self._to_retry] = UNKNOWN
        contents = np.zeros((self.shape[0], 32), np.uint8)
        noted = np.zeros((self.shape[0], 2), np.int32)
        for row, done in self.done.items():
            contents[row] = np.frombuffer(done.content, np.uint8)
            noted[row] = done[1:]
        sums = np.array([self.sums[row] for row in sorted(self.done)], np.uint64)
        self.key.write(Index(self.key.names, stamps, contents, noted, list(skipped), self.shape[1:], name, sums))

    def _remove_files(self) -> None:
        for path in (self._journal_path, self.path, self.path.with_name("packed")):
            path.unlink(missing_ok=True)


def _record_sum(*fields: Any) -> int:
    return sum_of(_RECORD.pack(*fields, 0))
