"""The device that a computation runs on."""

from __future__ import annotations

import torch

from vaekit.errors import UserError

__all__ = ["pick_device"]


def pick_device(name: str | torch.device) -> torch.device:
    """``auto`` is a GPU if there is one; raises :class:`UserError` if the named device cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the meta device makes tensors, but they hold nothing
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"device {name} cannot be used here; leave it out or give cpu", "device") from error
    return device
