"""Mistakes in the formulas of ``vaekit.training.budget``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.training import budget

TABLE = Table(
    budget,
    tests=["training/test_budget.py"],
    mutants=[
        Mutant("left = left - at_the_end", "left = left + at_the_end", "what follows the training is added to its time"),
        Mutant("left = budget - (time.monotonic() - started)", "left = budget", "what came before the training is not counted"),
        Mutant("slowness * seconds.train + per_epoch / config.data.train_images", "slowness * seconds.train", "epochs are evaluated in no time"),
        Mutant("epochs * per_epoch + rest // batch * batch", "epochs * per_epoch + rest", "the training ends with a piece of a batch"),
    ],
)
