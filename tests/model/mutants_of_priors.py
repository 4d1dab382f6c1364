"""Mistakes in the formulas of ``vaekit.model.priors``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import priors

TABLE = Table(
    priors,
    tests=["model/test_priors.py", "model/test_flows.py"],
    mutants=[
        # priors
        Mutant("return DiagonalNormal(self.zeros, self.zeros)", "return DiagonalNormal(self.zeros, self.zeros + 1)", "a standard normal of another scale"),
        Mutant("_KEEP = 0.99 ", "_KEEP = 0.9 ", "how long moments are kept"),
        Mutant("_LAG = 10 ", "_LAG = 1 ", "how soon moments are kept"),
        Mutant("self.observed / (self.observed + _LAG), max=_KEEP", "self.observed / (self.observed + _LAG), max=1.0", "moments stop following"),
        Mutant("self.mean.lerp_(total / count, 1 - keep)", "self.mean.lerp_(total / count, keep)", "the mean keeps what it should forget"),
        Mutant("self.mean.lerp_(total / count,", "self.mean.lerp_(total,", "a sum for the mean"),
        Mutant("centered = qz.mean - self.mean", "centered = qz.mean", "second moments for a covariance"),
        Mutant("(2 * qz.log_std).exp().sum(0)", "qz.log_std.exp().sum(0)", "standard deviations for variances"),
        Mutant("(2 * qz.log_std).exp().sum(0)", "(2 * qz.log_std).exp().mean(0)", "a mean for the sum of variances"),
        Mutant("(outer + torch.diag(variance)) / count", "outer / count", "a covariance of means alone"),
        Mutant("(outer + torch.diag(variance)) / count, 1 - keep", "(outer + torch.diag(variance)) / count, keep", "the covariance keeps what it should forget"),
        # more priors
        Mutant("mean, log_std = self.last(", "log_std, mean = self.last(", "mean and scale of a prior that is told, exchanged"),
        Mutant("nn.init.zeros_(self.last.bias)", "nn.init.ones_(self.last.bias)", "a prior that is told does not begin as the standard normal"),
        Mutant("self.first(told).relu()", "self.first(told)", "a prior that is told is linear"),
        Mutant("new_zeros(self.size) if condition is None", "new_ones(self.size) if condition is None", "told nothing, it is told everything"),
        Mutant("model.encode(self.images.clamp(0, 1))", "model.encode(self.images)", "learned images leave [0, 1]"),
        Mutant("DiagonalNormal(q.mean, q.log_std))", "DiagonalNormal(q.mean, q.log_std.detach()))", "learned images do not learn by the width of their posteriors"),
        Mutant("self.mean.copy_(self.mean * std + mean)", "self.mean.copy_((self.mean + mean) * std)", "means of a fitted mixture moved before they are stretched"),
        Mutant("std.unsqueeze(-1) * self.factor", "std * self.factor", "factors of a fitted mixture stretched by columns"),
    ],
)
