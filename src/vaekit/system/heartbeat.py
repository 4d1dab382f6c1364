"""Signs of life of the processes of a team, so that one that was stopped is told from one that is at work.

Every process counts up a number of its own in the store where they met, from a thread that runs whatever the process is
computing, and watches the numbers of the others. A stopped process, a host that went away and a network that was cut
all look the same: a number that stands still.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import torch

__all__ = ["SILENCE_SECONDS", "Pulse"]

SILENCE_SECONDS = 60.0  #: after which a process counts as lost
_BEAT_SECONDS = 2.0


class Pulse:
    """This process's beat, and how long each of ``size`` processes has been silent."""

    def __init__(self, rank: int, size: int) -> None:
        self._rank, self._size = rank, size
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = timedelta(seconds=2 * SILENCE_SECONDS)
        # a connection of its own: a request that waits would hold up those of the team
        self._store = torch.distributed.TCPStore(*place, is_master=False, timeout=patience, wait_for_workers=False)
        self._heard = [time.monotonic()] * size
        self._round = time.monotonic()
        threading.Thread(target=self._beat, name="vaekit-pulse", daemon=True).start()

    def silent(self) -> int | None:
        """A process that has not been heard of for :data:`SILENCE_SECONDS`, if there is one."""
        now = time.monotonic()
        if now - self._round > SILENCE_SECONDS:  # the store does not answer, and lies with the first
            return 0
        late = [rank for rank, heard in enumerate(self._heard) if now - heard > SILENCE_SECONDS]
        return late[0] if late else None

    def _beat(self) -> None:
        counts = [-1] * self._size
        while True:
            try:
                latest = [self._store.add(f"vaekit-pulse-{rank}", rank == self._rank) for rank in range(self._size)]
            except RuntimeError:  # it has ended; whoever waits for the others hears of that by their connections
                return
            now = time.monotonic()
            was_stopped = now - self._round > SILENCE_SECONDS / 2  # this process itself: it cannot judge the others
            for rank, (count, before) in enumerate(zip(latest, counts, strict=True)):
                if was_stopped or count != before:
                    self._heard[rank] = now
            counts, self._round = latest, now
            time.sleep(min(_BEAT_SECONDS, SILENCE_SECONDS / 10))
