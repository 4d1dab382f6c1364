"""The contract of what can be trained: a module that maps (batch, noise, ramp) to terms.

:class:`~vaekit.training.trainer.Trainer` knows nothing else of it, so whatever fits this contract is resumed to the
byte, averaged, trained in micro-batches or by several processes, and steps that are not finite are skipped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from vaekit.errors import UserError, argument
from vaekit.model.contracts import Terms
from vaekit.model.inference import Batch
from vaekit.system.distributed import Team

__all__ = ["Trainable"]

_Model_co = TypeVar("_Model_co", bound=nn.Module, covariant=True)


class Trainable(nn.Module, ABC, Generic[_Model_co]):
    """A module that maps a batch to terms, and the ``model`` in it that is trained.

    Parameters of ``model`` that require a gradient are trained, and every loss must depend on all of them. The state
    of ``model`` is what a training stores and averages. Anything else that the loss needs, such as a frozen network,
    is an attribute beside it.

    >>> class Regression(Trainable[nn.Linear]):
    ...     def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
    ...         squares = (self.model(batch.x) - batch.target).square().sum(1)
    ...         return Terms(squares, squares, None)
    >>> step, batch = Regression(nn.Linear(3, 2)), Batch(torch.zeros(4, 3), target=torch.zeros(4, 2))
    >>> step(batch, noise=torch.zeros(1, 4, 0), ramp=torch.tensor(1.0)).loss.shape
    torch.Size([4])
    """

    name: str = "this module"  #: in messages
    couples_batch: str = ""  #: why a batch in pieces trains otherwise, as a verb phrase; empty: it does not
    compile_fault: str = ""  #: why ``torch.compile`` is refused, and what to do instead; empty: it is not
    observes: bool = False  #: whether it has running statistics of the batches; it may then be given an empty batch
    can_be_recorded: bool = False  #: whether its steps may be recorded and repeated (:mod:`vaekit.training.capture`)
    model: _Model_co

    def __init__(self, model: _Model_co) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """Compute the terms of B examples, nats ``[B]`` each; the mean or the sum of ``loss`` is minimized.

        Args:
            batch: B examples.
            noise: ``[K, B, L]``, as the source of the batches draws it.
            ramp: rises from 0 to 1 during the warm-up; weighs what should come slowly.
        """

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let networks compute in ``dtype`` while they are trained. Weights and terms stay in float32.

        Raises:
            UserError: by default, because a module must say which of its parts can.
        """
        raise UserError(f"{argument('precision')}: {self.name} only computes in float32; leave it out")

    def in_pieces(self, pieces: Sequence[Batch]) -> AbstractContextManager[None]:
        """The context in which a batch is trained on piece by piece.

        On entry, parts with running statistics see all ``pieces``, once; inside, they see none. Processes enter it
        together, because such parts sum over the team.
        """
        return nullcontext()

    def join_team(self, team: Team) -> None:
        """Let parts with running statistics see the batches of all processes of the ``team``."""
