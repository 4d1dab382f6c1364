"""Convert a number of images to steps, and to epochs as text."""

from __future__ import annotations

import math

__all__ = ["epochs_text", "steps_to_see"]


def steps_to_see(images: int, per_epoch: int, batch_size: int) -> int:
    """Return the number of steps for ``images`` in total, counting repeats, with ``per_epoch`` images per epoch.

    A batch ends where an epoch ends, so the last batch of an epoch may be smaller than the others.

    >>> steps_to_see(3_000, 30, 64)  # a hundred epochs of one step each
    100
    """
    epochs, rest = divmod(images, per_epoch)
    return epochs * math.ceil(per_epoch / batch_size) + math.ceil(rest / batch_size)


def epochs_text(images: int, per_epoch: int) -> str:
    """Format the number of epochs in ``images``, with ``per_epoch`` images per epoch.

    >>> epochs_text(30, 30), epochs_text(3_000, 80)
    ('1 epoch', '37.5 epochs')
    """
    epochs = f"{images / max(1, per_epoch):.4g}"
    return f"{epochs} epoch{'' if epochs == '1' else 's'}"
