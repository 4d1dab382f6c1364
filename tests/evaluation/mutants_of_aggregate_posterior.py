"""Mistakes in the formulas of ``vaekit.evaluation.aggregate_posterior``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import aggregate_posterior

TABLE = Table(
    aggregate_posterior,
    tests=["evaluation/test_aggregate_posterior.py"],
    mutants=[
        Mutant("(-2 * log_std).exp()", "(-log_std).exp()", "one over a standard deviation for a precision"),
        Mutant("DiagonalNormal(mean, log_std).log_prob(torch.zeros_like(mean))", "DiagonalNormal(mean, log_std).log_prob(mean)", "constants without the distance of their means"),
        Mutant("torch.addmm(constant, some, weighted.mT)", "torch.addmm(constant, some, mean.mT)", "means that are not weighed by their precision"),
        Mutant("alpha=-0.5", "alpha=-1", "the half of the exponent"),
        Mutant("pairs.logsumexp(1) - math.log(len(mean))", "pairs.logsumexp(1)", "a sum of posteriors for their mean"),
        Mutant("z - center, mean - center", "z - center, mean", "points moved without the posteriors"),
        Mutant("own - aggregate_log_density(self", "own + aggregate_log_density(self", "the sign of log q(z) in the information"),
        Mutant("log_ratios.exp().mean() / len(log_ratios)", "log_ratios.mean().exp() / len(log_ratios)", "the geometric mean of own shares"),
        Mutant("own_share - 1 / len(log_ratios)", "own_share", "few images are taken for saturation"),
        Mutant("ACTIVE_ABOVE * variance_of_prior.cpu()", "ACTIVE_ABOVE * variance_of_prior.cpu().sqrt()", "a standard deviation for the prior's variance"),
        Mutant("ACTIVE_ABOVE = 0.01", "ACTIVE_ABOVE = 0.1", "another threshold of activity"),
    ],
)
