"""Convert a number of images to a number of steps."""

from __future__ import annotations

import math

__all__ = ["steps_to_see"]


def steps_to_see(images: int, per_epoch: int, batch_size: int) -> int:
    """Return the number of steps for ``images`` in total, counting repeats, with ``per_epoch`` images per epoch.

    A batch ends where an epoch ends, so the last batch of an epoch may be smaller than the others.

    >>> steps_to_see(3_000, 30, 64)  # a hundred epochs of one step each
    100
    """
    epochs, rest = divmod(images, per_epoch)
    return epochs * math.ceil(per_epoch / batch_size) + math.ceil(rest / batch_size)
