"""Choose the device for a computation."""

from __future__ import annotations

import torch

from vaekit.errors import UserError

__all__ = ["pick_device"]


def pick_device(name: str | torch.device) -> torch.device:
    """Return the named device; ``auto`` prefers a GPU.

    Raises:
        UserError: If the device is unknown or not available on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails for the meta device, whose tensors hold no data
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"device {name} is not available here; omit it or use cpu", "device") from error
    return device
