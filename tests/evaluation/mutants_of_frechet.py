"""Mistakes in the formulas of ``vaekit.evaluation.frechet``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import frechet

TABLE = Table(
    frechet,
    tests=["evaluation/test_frechet.py"],
    mutants=[
        Mutant("cov_a.trace() + cov_b.trace() - 2 * shared", "cov_a.trace() + cov_b.trace() - shared", "the two before the cross term"),
        Mutant("cov_a.trace() + cov_b.trace() - 2 * shared", "cov_a.trace() - cov_b.trace() - 2 * shared", "the sign of a covariance"),
        Mutant(".clamp_min(0).sqrt().sum()", ".clamp_min(0).sum()", "the root of the cross term"),
        Mutant("(a.mean(0) - b.mean(0)).square().sum()", "(a.mean(0) - b.mean(0)).abs().sum()", "absolute for squared differences of means"),
        Mutant("float(found.std()) / math.sqrt(subsets)", "float(found.std())", "a standard deviation for a standard error"),
        Mutant("(products / size + 1) ** 3", "(products + 1) ** 3", "a kernel that grows with the features"),
        Mutant("(products / size + 1) ** 3", "(products / size + 1) ** 2", "another power of the kernel"),
        Mutant("_kernel_sum(x, x) - _diagonal_sum(x)", "_kernel_sum(x, x)", "pairs of an image with itself"),
        Mutant("within - 2 * _kernel_sum(a, b)", "within - _kernel_sum(a, b)", "the two before what is across"),
        Mutant("/ (len(x) * (len(x) - 1))", "/ len(x) ** 2", "pairs that are not counted divide"),
    ],
)
