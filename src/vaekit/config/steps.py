"""Images seen → steps taken."""

from __future__ import annotations

import math

__all__ = ["steps_to_see"]


def steps_to_see(images: int, per_epoch: int, batch_size: int) -> int:
    """How many steps it takes to see ``images``, repeats counted, of a set of ``per_epoch``.

    A batch ends where an epoch ends, so the last batch of an epoch may be smaller than the others.

    >>> steps_to_see(3_000, 30, 64)  # a hundred epochs of one step each
    100
    """
    epochs, rest = divmod(images, per_epoch)
    return epochs * math.ceil(per_epoch / batch_size) + math.ceil(rest / batch_size)
