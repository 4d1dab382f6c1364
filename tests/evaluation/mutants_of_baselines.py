"""Mistakes in the formulas of ``vaekit.evaluation.baselines``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import baselines

TABLE = Table(
    baselines,
    tests=["evaluation/test_baselines.py"],
    mutants=[
        Mutant("vectors[:, kept] * squares[kept].rsqrt()", "vectors[:, kept]", "axes of PCA that are not of length 1"),
        Mutant("squares.flip(0), vectors.flip(1)", "squares, vectors", "the last axes of PCA first"),
        Mutant("centered = images - mean", "centered = images", "axes of PCA through the origin"),
        Mutant("(columns - center) * known", "columns * known", "a probe is fitted to columns that are not centered"),
        Mutant("wanted.square().sum(0)", "wanted.abs().sum(0)", "agreement over absolute values"),
        Mutant(".amin(1)", ".amax(1)", "the furthest image for the nearest"),
        Mutant("- 2 * a @ b.mT", "- a @ b.mT", "the two of a squared distance"),
    ],
)
