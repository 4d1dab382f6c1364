"""Mistakes in the formulas of ``vaekit.model.distributions.pixel``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model.distributions import pixel

TABLE = Table(
    pixel,
    tests=["model/test_distributions.py"],
    mutants=[
        Mutant("math.prod(mean.shape[-3:])", "math.prod(mean.shape[-2:])", "the constant of one channel alone"),
        Mutant("(log_scale + _HALF_LOG_TWO_PI)", "log_scale", "the constant of a normal with one scale"),
        Mutant("= -constant - sse", "= constant - sse", "the sign of that constant"),
        Mutant("(0.5 * (-2 * log_scale).exp())", "(-2 * log_scale).exp()", "the half of its squared error"),
        Mutant("(-2 * log_scale).exp()", "(-log_scale).exp()", "its squared error by the standard deviation"),
        Mutant("self.log_scale.numel() > 1", "self.log_scale.numel() > 10**9", "a scale per pixel is taken for one scale"),
        Mutant("- self.log_scale - math.log(2)", "- self.log_scale", "the log 2 of a Laplace density"),
        Mutant("- self.log_scale - math.log(2)", "+ self.log_scale - math.log(2)", "the sign of a Laplace density's log scale"),
        Mutant("(-self.log_scale).exp() -", "self.log_scale.exp() -", "a Laplace density multiplies by its scale"),
        Mutant("-(x - self.mean).abs()", "-(x - self.mean).square()", "a Laplace density of squares"),
        Mutant("return (x - 0.5) * self.logits", "return x * self.logits", "half of a continuous Bernoulli's normalizer"),
        Mutant("- _log_sinhc(", "+ _log_sinhc(", "the sign of its normalizer"),
        Mutant("_log_sinhc(self.logits / 2)", "_log_sinhc(self.logits)", "its normalizer of η for η/2"),
        Mutant("(1 / 6 - square", "(1 / 3 - square", "the first term of its normalizer's series"),
        Mutant("square * (1 / 180 - square", "square * (1 / 180 + square", "a sign in its normalizer's series"),
        Mutant("large + torch.log(-torch", "torch.log(-torch", "the large part of its normalizer"),
        Mutant("(-2 * large) / (2 * large)", "(-2 * large) / large", "a log 2 of its normalizer"),
        Mutant("_SERIES_BELOW), size)", "size * 0), size)", "the guard of a branch that is not taken: 0/0 in the gradient"),
        Mutant("0.5 + 0.5 * torch.where", "0.5 + torch.where", "the half of its mean"),
        Mutant("1 / large.tanh() - 1 / large)", "1 / large.tanh() + 1 / large)", "a sign in its mean"),
        Mutant("(1 / 3 - square * (1 / 45", "(1 / 3 + square * (1 / 45", "a sign in its mean's series"),
        Mutant("return self.logits.sigmoid()", "return (-self.logits).sigmoid()", "the mean of a Bernoulli is of the other value"),
        Mutant("return -F.binary_cross", "return F.binary_cross", "the sign of a Bernoulli's log probability"),
    ],
)
