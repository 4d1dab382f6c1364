"""Mistakes in the formulas of ``vaekit.model.objectives``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import objectives

TABLE = Table(
    objectives,
    tests=["model/test_objectives.py", "model/test_linear_gaussian.py", "model/test_recipe_pages.py"],
    mutants=[
        # objectives
        Mutant("distortion + self.beta * ramp * (", "distortion - self.beta * ramp * (", "the sign of the rate in the loss"),
        Mutant("distortion + self.beta * ramp * (", "distortion + ramp * (", "β"),
        Mutant("distortion + self.beta * ramp * (", "distortion + self.beta * (", "a rate that does not come slowly"),
        Mutant("return distortion + self.beta * ramp * (", "return self.beta * ramp * (distortion + ", "β weighs the distortion too"),
        Mutant("(self._charged(inference.kl) if self.free_bits_nats else rate)", "rate", "free bits are charged"),
        Mutant("groups.mean(0, keepdim=True).clamp", "groups.clamp", "free bits of each image"),
        Mutant(".clamp(min=self.free_bits_nats).sum(-1)", ".clamp(max=self.free_bits_nats).sum(-1)", "free bits are a ceiling"),
        Mutant(".clamp(min=self.free_bits_nats).sum(-1)", ".sum(-1).clamp(min=self.free_bits_nats)", "free bits of all dimensions together"),
        Mutant("groups.mean(0, keepdim=True).clamp(min=self.free_bits_nats)", "(groups.mean(0, keepdim=True) - self.free_bits_nats).clamp(min=0)", "free bits are subtracted"),
        Mutant("torch.stack([level.sum(-1) for level in kl], dim=-1)", "torch.cat(kl, dim=-1)", "free bits of each dimension, not of a level"),
        # importance weights
        Mutant("math.log(len(log_w)) - log_w.logsumexp(0)", "-log_w.logsumexp(0)", "a sum of importance weights, not their mean"),
        Mutant("math.log(len(log_w)) - log_w.logsumexp(0)", "-log_w.mean(0)", "the mean of their logarithms: the elbo"),
        Mutant("log_w = inference.log_px + inference.log_pz", "log_w = inference.log_px - inference.log_pz", "the sign of log p(z) in a weight"),
        Mutant("log_w = log_w - inference.log_qz", "log_w = log_w + inference.log_qz", "the sign of log q(z|x) in a weight"),
        Mutant("log_w = log_w - sum_levels", "log_w = log_w + sum_levels", "the same, doubly reparameterized"),
        Mutant("level.qz.detach().log_prob(level.z)", "level.qz.log_prob(level.z)", "the score is left in the doubly reparameterized gradient"),
        Mutant("gradient * shares.unsqueeze(-1)", "gradient", "the second weight of the doubly reparameterized gradient"),
        Mutant("gradient * shares.unsqueeze(-1)", "gradient * shares.unsqueeze(-1).square()", "a third weight"),
        Mutant("log_w.detach().softmax(0)", "log_w.detach().softmax(1)", "weights that sum to one over images"),
        Mutant("math.log(len(log_w)) - log_w.logsumexp(0)", "log_w.logsumexp(0) - math.log(len(log_w))", "the bound is minimized"),
        # more objectives
        Mutant("(rate - ramp * self.capacity_nats)", "(rate - self.capacity_nats)", "a capacity that does not rise"),
        Mutant("(rate - ramp * self.capacity_nats)", "(rate + ramp * self.capacity_nats)", "the sign of the capacity"),
        Mutant("self.capacity_nats).abs()", "self.capacity_nats).clamp(min=0)", "a rate below the capacity is free"),
        Mutant("self.weight * (rate - ramp", "(rate - ramp", "the weight of the distance from the capacity"),
        Mutant("(self.weight - 1) * ramp * correlation", "self.weight * ramp * correlation", "the one of total correlation that the rate has already"),
        Mutant("(self.weight - 1) * ramp * correlation", "(self.weight - 1) * correlation", "a total correlation that does not come slowly"),
        Mutant("distortion + rate + (self.weight", "distortion + rate - (self.weight", "the sign of the total correlation"),
        Mutant("_, correlation, _ = decomposition", "correlation, _, _ = decomposition", "the information for the total correlation"),
        Mutant("pairs.sum(-1).logsumexp(1) - log_count", "pairs.sum(-1).logsumexp(1)", "a sum of posteriors for their mean, of all dimensions"),
        Mutant("(pairs.logsumexp(1) - log_count).sum(-1)", "pairs.logsumexp(1).sum(-1) - log_count", "one constant for all dimensions"),
        Mutant("(pairs.logsumexp(1) - log_count)", "(pairs.logsumexp(0) - log_count)", "all codes under one posterior, dimension by dimension"),
        Mutant("log_qz - log_product, log_product", "log_product - log_qz, log_product", "the sign of the total correlation in the rate"),
        Mutant("/ (count * (count - 1))", "/ count**2", "pairs that are not counted divide an MMD"),
        Mutant("pairs.sum() - pairs.diagonal().sum()", "pairs.sum()", "pairs of a row with itself in an MMD"),
        Mutant("- pairs.diagonal().sum()", "- 2 * count * len(_KERNEL_SCALES)", "the rows of one noise are compared across"),
        Mutant("- kernel(z, draws) - kernel(draws, z)", "- kernel(z, draws)", "half of what is across in an MMD"),
        Mutant("kernel(z, z) + kernel(draws, draws)", "kernel(z, z) - kernel(draws, draws)", "a sign in an MMD"),
        Mutant("2 * size * s / (2 * size * s + squares)", "size * s / (size * s + squares)", "the width of the kernel"),
        Mutant("self.weight * ramp * mmd_squared", "self.weight * mmd_squared", "an MMD that does not come slowly"),
        Mutant("apart + self.beta * ramp * rate", "apart + self.beta * rate", "the rate beside an MMD does not come slowly"),
        Mutant("level.prior.from_noise(inference.noise)", "level.qz.from_noise(inference.noise)", "codes are compared with themselves"),
        Mutant("0.5 * self.code_l2", "self.code_l2", "the half of the length of codes"),
        Mutant("distortion + 0.5 * self.code_l2", "distortion - 0.5 * self.code_l2", "long codes are cheap"),
        Mutant("abs(rate - self.capacity_nats)", "(rate - self.capacity_nats)", "a loss that sinks below the capacity"),
        Mutant("self.weight * abs(", "abs(", "a loss without the weight of the capacity"),
        Mutant("return distortion + self.beta * rate\n\n    def _charged", "return distortion + rate\n\n    def _charged", "a loss without β"),
    ],
)
