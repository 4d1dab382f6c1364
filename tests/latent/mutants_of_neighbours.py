"""Mistakes in the formulas of ``vaekit.latent.neighbours``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import neighbours

TABLE = Table(
    neighbours,
    tests=["latent/test_neighbours.py", "latent/test_traversal.py"],
    mutants=[
        Mutant("centred.mT @ centred / len(codes)", "centred.mT @ centred", "the variance of a component is a sum"),
    ],
)
