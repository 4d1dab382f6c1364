"""Mistakes in the formulas of ``vaekit.latent.neighbors``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import neighbors

TABLE = Table(
    neighbors,
    tests=["latent/test_neighbors.py", "latent/test_traversal.py"],
    mutants=[
        Mutant("centered.mT @ centered / len(latents)", "centered.mT @ centered", "the variance of a component is a sum"),
        Mutant("centered @ centered.mT / len(latents)", "centered @ centered.mT", "the variance of a component of few latents is a sum"),
        Mutant("(values * len(latents)).sqrt()", "values.sqrt()", "axes of few latents are not of length one"),
    ],
)
