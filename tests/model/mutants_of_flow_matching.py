"""Mistakes in the formulas of ``vaekit.model.flow_matching``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import flow_matching

TABLE = Table(
    flow_matching,
    tests=["model/test_flow_matching.py"],
    mutants=[
        # the solvers
        Mutant("size = (end - start) / steps", "size = 1 / steps", "a path that ends at 1 wherever it starts"),
        Mutant("start + size * (step + i)", "size * (step + i)", "a time that always starts at 0"),
        Mutant("field(z + size * velocity, then)", "field(z, then)", "Heun's method without the step ahead"),
        Mutant("field(z + size * velocity, then)", "field(z + size * velocity, now)", "Heun's method at one time only"),
        Mutant("velocity = (velocity + field(", "velocity = (0 * velocity + 2 * field(", "the end of a step alone, of first order"),
        Mutant("z = z + size * velocity\n", "z = z - size * velocity\n", "from latents to noise"),
        # the loss
        Mutant("(1 - t)[:, None] * start + t[:, None] * z", "t[:, None] * start + (1 - t)[:, None] * z", "time runs from latents to noise"),
        Mutant("- (z - start)).square()", "- (start - z)).square()", "the velocity points to the noise"),
        Mutant("- (z - start)).square()", "- z).square()", "the latent is predicted, not the velocity"),
        Mutant(".square().mean(1)\n    return errors", ".square().sum(1)\n    return errors", "an error that grows with the size of the latent"),
        Mutant("noise[:, :-1], noise[:, -1].sigmoid()", "noise[:, :-1], noise[:, -1].abs()", "times outside of [0, 1]"),
        Mutant("prior.net(here, t, condition)", "prior.net(here, t)", "the field is told nothing"),
        Mutant("return 1 / ((1 - t).square() + t.square())", "return 2 - (2 * t - 1).square()", "the error of a normal without the variance of z_t"),
        # guidance
        Mutant("without + guidance * (with_ - without)", "with_ + guidance * (with_ - without)", "a weight of 0 is not without the condition"),
        Mutant("without + guidance * (with_ - without)", "without - guidance * (with_ - without)", "away from the condition"),
        Mutant("if condition is None or guidance == 0:", "if condition is None or guidance == 1:", "a weight of 1 ignores the condition"),
        Mutant("torch.cat([torch.zeros_like(known), known])", "torch.cat([known, known])", "guidance compares the condition with itself"),
        # variations
        Mutant("self.strength * z + start * self.prior", "start * z + self.strength * self.prior", "a strength of 0 is that of 1"),
        Mutant("start * self.prior.standardized(self.origin)", "start * self.origin", "the latent is not standardized"),
        Mutant("round(self.strength * self.sampling.steps)", "self.sampling.steps", "a short way in as many steps as the whole"),
        Mutant("integrate(field, z, steps, start)", "integrate(field, z, steps)", "the way back begins at the noise"),
        # standardization
        Mutant("(z - self.spread(self.mean)) / self.spread(self.std)", "(z - self.spread(self.mean)) * self.spread(self.std)", "standardized latents are wider"),
        Mutant("return z * self.spread(self.std) + self.spread(self.mean)", "return z * self.spread(self.std)", "samples without the mean"),
        Mutant("return values.repeat_interleave(self.numbers_per_channel)", "return values.repeat(self.numbers_per_channel)", "channels of a grid are mixed up"),
        Mutant("return self.prior.restored(z).reshape(noise.shape)", "return z.reshape(noise.shape)", "samples in the units of the field"),
        Mutant("(rows.var(correction=0) + noise.square().mean()).sqrt()", "rows.var(correction=0).sqrt()", "the spread of means, not of samples"),
        Mutant("self.prior.spread(self.prior.std).log()", "self.prior.spread(self.prior.std)", "a deviation taken for its logarithm"),
    ],
)
