"""Mistakes in the formulas of ``vaekit.config.steps``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.config import steps

TABLE = Table(
    steps,
    tests=["training/test_schedules.py"],
    mutants=[
        Mutant("epochs * math.ceil(per_epoch / batch_size)", "epochs * (per_epoch // batch_size)", "the last batch of an epoch is no step"),
        Mutant("+ math.ceil(rest / batch_size)", "+ rest // batch_size", "the last batch of a run is no step"),
    ],
)
