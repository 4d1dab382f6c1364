"""Heartbeats of distributed processes, to detect a process that has stopped.

A thread of every process increments a counter in the shared store, whatever the process is computing, and watches the
counters of the others. A stopped process, a lost host and a broken network all look the same: the counter stops.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import torch

__all__ = ["SILENCE_SECONDS", "Pulse"]

SILENCE_SECONDS = 60.0  #: a process that is silent for longer counts as lost
_BEAT_SECONDS = 2.0


class Pulse:
    """Sends the heartbeat of this process and measures how long each of ``size`` processes has been silent."""

    def __init__(self, rank: int, size: int) -> None:
        self._rank, self._size = rank, size
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        timeout = timedelta(seconds=2 * SILENCE_SECONDS)
        # a separate connection, because a waiting request would block the process group's own
        self._store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            *address, is_master=False, timeout=timeout, wait_for_workers=False
        )
        self._heard = [time.monotonic()] * size
        self._round = time.monotonic()
        threading.Thread(target=self._beat, name="vaekit-pulse", daemon=True).start()

    def silent(self) -> int | None:
        """Return the rank of a process that has been silent for :data:`SILENCE_SECONDS`, or None."""
        now = time.monotonic()
        if now - self._round > SILENCE_SECONDS:  # the store, which rank 0 hosts, does not answer
            return 0
        late = [rank for rank, heard in enumerate(self._heard) if now - heard > SILENCE_SECONDS]
        return late[0] if late else None

    def _beat(self) -> None:
        counts = [-1] * self._size
        while True:
            try:
                latest = [self._store.add(f"vaekit-pulse-{rank}", rank == self._rank) for rank in range(self._size)]
            except RuntimeError:  # the store has closed; waiting processes notice by their own connections
                return
            now = time.monotonic()
            was_stopped = (
                now - self._round > SILENCE_SECONDS / 2
            )  # this process itself stood still and cannot judge others
            for rank, (count, before) in enumerate(zip(latest, counts, strict=True)):
                if was_stopped or count != before:
                    self._heard[rank] = now
            counts, self._round = latest, now
            time.sleep(min(_BEAT_SECONDS, SILENCE_SECONDS / 10))
