"""Mistakes in the formulas of ``vaekit.latent.ops``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import ops

TABLE = Table(
    ops,
    tests=["latent/test_ops.py", "latent/test_traversal.py"],
    mutants=[
        Mutant("((1 - weights) * angle).sin() * units[0]", "(weights * angle).sin() * units[0]", "a spherical path begins elsewhere"),
        Mutant("along = turned * (lengths[0] * (1 - weights)", "along = turned * (lengths[0] * weights", "the length of a spherical path"),
    ],
)
