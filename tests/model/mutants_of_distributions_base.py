"""Mistakes in the formulas of ``vaekit.model.distributions.base``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model.distributions import base

TABLE = Table(
    base,
    tests=["model/test_distributions.py", "model/test_priors.py", "model/test_linear_gaussian.py"],
    mutants=[
        Mutant("self.log_prob_map(x).sum(IMAGE_DIMS)", "self.log_prob_map(x).mean(IMAGE_DIMS)", "log p(x|z) is a mean over pixels"),
        Mutant("self.log_prob_map(x).sum(IMAGE_DIMS)", "self.log_prob_map(x).sum(IMAGE_DIMS[1:]).mean(-1)", "log p(x|z) is a mean over channels"),
        Mutant("return self.mean.clamp(0, 1)", "return self.mean", "pictures leave [0, 1]"),
        Mutant("centered.mT @ centered / len(z)", "centered.mT @ centered", "the covariance of samples is a sum"),
        Mutant("centered = z - z.mean(0)", "centered = z", "a second moment of samples for their covariance"),
    ],
)
