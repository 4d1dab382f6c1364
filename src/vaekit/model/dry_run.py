"""Calls a user's module once on zeros, so that a wrong shape gives one clear sentence instead of a traceback."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.errors import UserError, lacks_memory

__all__ = ["output_for"]


def output_for(module: nn.Module, shape: tuple[int, ...], named: str) -> Tensor:
    """The output of ``module`` for zeros ``[1, *shape]`` in eval mode; messages call it ``named``.

    Raises:
        UserError: if the module raises an exception, or returns anything but a tensor with one row.
    """
    module.eval()
    try:
        with torch.no_grad():
            output = module(torch.zeros(1, *shape))
    except Exception as error:
        if lacks_memory(error):
            raise
        raise UserError(f"{named} fails for one input {[1, *shape]}: {type(error).__name__}: {error}") from error
    finally:
        module.train()
    if not isinstance(output, Tensor):
        raise UserError(f"{named} returns a {type(output).__name__} for one input {[1, *shape]}; expected a tensor")
    return output
