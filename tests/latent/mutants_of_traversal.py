"""Mistakes in the formulas of ``vaekit.latent.traversal``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import traversal

TABLE = Table(
    traversal,
    tests=["latent/test_traversal.py"],
    mutants=[
        Mutant("axis * variance.sqrt()", "axis * variance", "a step along a component is a variance"),
        Mutant("step[i] = spread[i]", "step[i] = spread[i] ** 2", "a step along a dimension is a variance"),
    ],
)
