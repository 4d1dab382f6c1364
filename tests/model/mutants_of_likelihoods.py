"""Mistakes in the formulas of ``vaekit.model.likelihoods``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import likelihoods

TABLE = Table(
    likelihoods,
    tests=["model/test_likelihoods.py", "model/test_likelihoods_in_runs.py"],
    mutants=[
        Mutant("1 / (255 * math.sqrt(12))", "1 / (255 * math.sqrt(3))", "the rounding error of a bin from edge to edge"),
        Mutant("QUANTIZATION_STD / math.sqrt(2))", "QUANTIZATION_STD * math.sqrt(2))", "the floor of a Laplace scale"),
        Mutant("DISCRETIZED_LOG_SCALES = (-7 - math.log(2), 2.0)", "DISCRETIZED_LOG_SCALES = (-7.0, 2.0)", "the floor of a logistic scale"),
        Mutant("DISCRETIZED_LOG_SCALES = (-7 - math.log(2), 2.0)", "DISCRETIZED_LOG_SCALES = (-7 - math.log(2), 3.0)", "the ceiling of a discretized normal's scale"),
        Mutant("_FIRST_LOG_SCALE = math.log(0.25)", "_FIRST_LOG_SCALE = math.log(0.5)", "where a scale begins"),
        Mutant("_COMPONENT = math.log(0.1)", "_COMPONENT = math.log(0.2)", "where a component's scale begins"),
        Mutant("torch.tensor(math.log(fixed_scale))", "torch.tensor(2 * math.log(fixed_scale))", "a fixed variance for a scale"),
        Mutant("torch.tensor(math.log(fixed_scale))", "torch.tensor(fixed_scale)", "a fixed scale for its logarithm"),
        Mutant("self._in_range(self.free_log_scale * _SCALE_GAIN)", "self._in_range(self.free_log_scale)", "the gain of a shared scale"),
        Mutant("self._in_range(self.free_log_scale * _SCALE_GAIN)", "self.free_log_scale * _SCALE_GAIN", "no range of a shared scale"),
        Mutant("self._in_range(log_scale + _FIRST_LOG_SCALE)", "log_scale + _FIRST_LOG_SCALE", "no range of a pixel's scale"),
        Mutant("self._in_range(log_scale + _FIRST_LOG_SCALE)", "self._in_range(log_scale - _FIRST_LOG_SCALE)", "pixel scales begin at four"),
        Mutant("location, log_scale = output.chunk(2, dim=-3)", "log_scale, location = output.chunk(2, dim=-3)", "locations and scales exchanged"),
        Mutant("else output + 0.5", "else output", "where a location begins"),
        Mutant("return output.sigmoid() if self.mean", "return output.tanh() if self.mean", "another function than the sigmoid"),
        Mutant("else location - 0.5", "else location", "the output of a mean image"),
        Mutant("return BernoulliImage(output)", "return BernoulliImage(-output)", "the sign of a Bernoulli's logits"),
        Mutant("return ContinuousBernoulli(output)", "return ContinuousBernoulli(output / 2)", "the gain of a continuous Bernoulli's logits"),
        Mutant("Categorical256(output.unflatten(-3, (256, output.shape[-3] // 256)))", "Categorical256(output.unflatten(-3, (output.shape[-3] // 256, 256)).transpose(-4, -3))", "categorical logits channel by channel"),
        Mutant("(torch.arange(components) + 0.5) / components", "torch.arange(components) / components", "where components begin"),
        Mutant("(count, channels)) + self.first_location", "(count, channels))", "all components begin at one place"),
        Mutant("(count, channels)) + _FIRST_LOG_SCALE", "(count, channels)) - _FIRST_LOG_SCALE", "components begin wide"),
        Mutant("log_scale.clamp(*DISCRETIZED_LOG_SCALES)", "log_scale", "no range of a component's scale"),
        Mutant("(count, 3)).tanh() if", "(count, 3)) if", "coefficients beyond ±1"),
        Mutant("logits, location, log_scale, *coefficients =", "logits, log_scale, location, *coefficients =", "locations and scales of a mixture exchanged"),
        Mutant("rising(middle) < target", "rising(middle) > target", "the search for a mean image goes the other way"),
    ],
)
