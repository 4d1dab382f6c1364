"""The contract of what can be trained: a module that maps (batch, noise, ramp) to terms.

:class:`~vaekit.training.trainer.Trainer` uses nothing else of it. So any module of this kind resumes to the same bytes,
can be averaged and trained in micro-batches or by several processes, and skips steps that are not finite.
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
    """A module that maps a batch to terms, and contains the ``model`` to train.

    Parameters of ``model`` that require a gradient are trained, and every loss must depend on all of them. The state
    of ``model`` is stored and averaged. Anything else that the loss needs, such as a frozen network, is another
    attribute.

    >>> class Regression(Trainable[nn.Linear]):
    ...     def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
    ...         squares = (self.model(batch.x) - batch.target).square().sum(1)
    ...         return Terms(squares, squares, None)
    >>> step, batch = Regression(nn.Linear(3, 2)), Batch(torch.zeros(4, 3), target=torch.zeros(4, 2))
    >>> step(batch, noise=torch.zeros(1, 4, 0), ramp=torch.tensor(1.0)).loss.shape
    torch.Size([4])
    """

    name: str = "this module"  #: for messages
    couples_batch: str = ""  #: why micro-batches differ from a whole batch, as a predicate; otherwise empty
    compile_fault: str = ""  #: why ``torch.compile`` is refused, and what to do instead; otherwise empty
    observes: bool = False  #: whether it has running statistics of the batches; it may then get an empty batch
    can_be_recorded: bool = False  #: whether its steps may be recorded and replayed (:mod:`vaekit.training.capture`)
    model: _Model_co

    def __init__(self, model: _Model_co) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """Compute the terms of B examples, nats ``[B]`` each; the mean or the sum of ``loss`` is minimized.

        Args:
            batch: B examples.
            noise: ``[K, B, L]``, from the source of the batches.
            ramp: rises from 0 to 1 during the warm-up: the weight of terms that are introduced gradually.
        """

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let networks compute in ``dtype`` during training. Weights and terms stay in float32.

        Raises:
            UserError: by default, because a module must say which of its parts can.
        """
        raise UserError(f"{argument('precision')}: {self.name} only computes in float32; leave it out")

    def in_pieces(self, pieces: Sequence[Batch]) -> AbstractContextManager[None]:
        """The context for training on the micro-batches of a batch.

        On entry, parts with running statistics see all ``pieces``; inside, they see none. Processes enter it together,
        because such parts sum over the team.
        """
        return nullcontext()

    def join_team(self, team: Team) -> None:
        """Let parts with running statistics see the batches of all processes of the ``team``."""
