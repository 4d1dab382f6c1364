"""Mistakes in the formulas of ``vaekit.evaluation.ssim``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import ssim

TABLE = Table(
    ssim,
    tests=["evaluation/test_ssim.py"],
    mutants=[
        Mutant("(2 * cov + C2)", "(cov + C2)", "the two before the covariance"),
        Mutant("(2 * mean_x * mean_y + C1)", "(mean_x * mean_y + C1)", "the two before the means"),
        Mutant("_weighted(x * y, window) - mean_x * mean_y", "_weighted(x * y, window)", "a moment for a covariance"),
        Mutant("_weighted(y * y, window) - mean_y * mean_y", "_weighted(y * y, window)", "a moment for a variance"),
        Mutant("0.01**2, 0.03**2", "0.01, 0.03", "constants that are not squared"),
        Mutant("SIGMA = 1.5", "SIGMA = 2.5", "another window"),
        Mutant("weights / weights.sum()", "weights / weights.max()", "weights of a window that do not sum to one"),
    ],
)
