"""Mistakes in the formulas of ``vaekit.model.distributions.latent``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model.distributions import latent

TABLE = Table(
    latent,
    tests=["model/test_distributions.py", "model/test_priors.py", "model/test_flows.py"],
    mutants=[
        # normals
        Mutant("self.mean + self.log_std.exp() * noise", "self.mean + (2 * self.log_std).exp() * noise", "samples are spread by the variance"),
        Mutant("self.mean + self.log_std.exp() * noise", "self.mean + (-self.log_std).exp() * noise", "samples are spread by one over the standard deviation"),
        Mutant("self.mean + self.log_std.exp() * noise", "self.log_std.exp() * noise", "samples lie around zero"),
        Mutant("return self.log_prob_map(z).sum(-1)", "return self.log_prob_map(z).mean(-1)", "log q is a mean over dimensions"),
        Mutant("return self.mean.expand(noise.shape)", "return self.mean + noise", "the code of an autoencoder is noisy"),
        Mutant("0.5 * math.log(2 * math.pi)", "0.5 * math.log(math.pi)", "a factor of two under the logarithm of a normal's constant"),
        Mutant("return -0.5 * ((x - mean)", "return -((x - mean)", "the half of a normal's exponent"),
        Mutant("(x - mean) * (-log_std).exp()", "(x - mean) * log_std.exp()", "a normal multiplies by its scale"),
        Mutant("* (-log_std).exp()).square() - log_std - _HALF", "* (-log_std).exp()).square() + log_std - _HALF", "the sign of a normal's log scale"),
        Mutant(".square() - log_std - _HALF_LOG_TWO_PI\n", ".square() - log_std\n", "a normal's constant"),
        Mutant("self.mean + _times(noise, self.factor)", "self.mean + _times(noise, self.factor.mT)", "samples of a full normal by the transposed factor"),
        Mutant("self.mean + _times(noise, self.factor)", "noise", "samples of a fitted prior are of the standard normal"),
        Mutant("_times(z - self.mean, self.whitening)", "_times(z - self.mean, self.whitening.mT)", "the density of a full normal, and the noise of its samples, by the transposed factor"),
        Mutant("_times(z - self.mean, self.whitening)", "_times(z, self.whitening)", "noise of a sample that is not centered"),
        Mutant("-0.5 * self.to_noise(z).square()", "-self.to_noise(z).square()", "the half of a full normal's exponent"),
        Mutant("_HALF_LOG_TWO_PI + log_scales", "_HALF_LOG_TWO_PI - log_scales", "the sign of a full normal's log volume"),
        Mutant("- _HALF_LOG_TWO_PI + log_scales", "+ log_scales", "a full normal's constant"),
        # divergences
        Mutant("kl_divergence(self, pz) if", "kl_divergence(pz, self) if", "the divergence of the prior from the posterior"),
        Mutant("variance_ratio = (2 * (q.log_std", "variance_ratio = ((q.log_std", "kl: standard deviation for variance"),
        Mutant("* (-p.log_std).exp()).square()", "* p.log_std.exp()).square()", "kl: the distance is multiplied by the prior's scale"),
        Mutant("* (-p.log_std).exp()).square()", "* (-p.log_std).exp()).abs()", "kl: the distance is not squared"),
        Mutant("return 0.5 * (variance_ratio", "return (variance_ratio", "kl: the half"),
        Mutant("distance - 1) - (q.log_std", "distance) - (q.log_std", "kl: the one"),
        Mutant("- 1) - (q.log_std - p.log_std)", "- 1) + (q.log_std - p.log_std)", "kl: the sign of the log ratio"),
        Mutant("- 1) - (q.log_std - p.log_std)", "- 1) - 2 * (q.log_std - p.log_std)", "kl: log variance for log standard deviation"),
        Mutant("white_variance = (2 * q.log_std).exp()", "white_variance = q.log_std.exp()", "kl to a full normal: standard deviation for variance"),
        Mutant("p.whitening.square().mT", "p.whitening.square()", "kl to a full normal: the variances by the transposed factor"),
        Mutant("@ p.whitening.mT).square()", "@ p.whitening.mT).abs()", "kl to a full normal: the distance is not squared"),
        Mutant("white_distance - 1) - q.log_std", "white_distance) - q.log_std", "kl to a full normal: the one"),
        Mutant("- 1) - q.log_std - p.white", "- 1) + q.log_std - p.white", "kl to a full normal: the sign of log std"),
        Mutant("- q.log_std - p.whitening.diagonal()", "- q.log_std + p.whitening.diagonal()", "kl to a full normal: the sign of the log volume"),
        # densities of pixels
        Mutant("(torch.float32, torch.float64) else tensor.float()", "(torch.float32,) else tensor.float()", "float64 is rounded"),
        Mutant("(torch.float32, torch.float64) else tensor.float()", "(torch.float32, torch.float64) else tensor", "sums of half precision"),
        # priors
        Mutant("cholesky_ex(covariance + floor)", "cholesky_ex(covariance)", "no floor of a fitted covariance"),
        Mutant("_FLOOR * covariance.trace()", "_FLOOR * covariance.square().trace()", "a floor of the squared variances"),
        # mixtures of normals
        Mutant("log_weights.log_softmax(0), components", "log_weights, components", "weights of a mixture that do not sum to one"),
        Mutant("(self.log_weights + self.components", "(self.components", "the density of a mixture without its weights"),
        Mutant("z.unsqueeze(-2))).logsumexp(-1)", "z.unsqueeze(-2))).amax(-1)", "the largest component of a mixture alone"),
        Mutant("center = (weights * mean).sum(0)", "center = mean.mean(0)", "the mean of a mixture without its weights"),
        Mutant("of(center, spread + within)", "of(center, within)", "the covariance of a mixture without the spread of its means"),
        Mutant("(mean - center).mT @ (weights * (mean - center))", "mean.mT @ (weights * mean)", "a second moment for the spread of means"),
        Mutant("(mean - center).mT @ (weights * (mean - center))", "(mean - center).mT @ (mean - center)", "the spread of means without weights"),
        Mutant("(weights.unsqueeze(-1) * (factor @ factor.mT))", "(weights.unsqueeze(-1) * (factor.mT @ factor))", "covariances of components by the transposed factor"),
        Mutant("(weights * self.components.variance)", "(weights * self.components.log_std.exp())", "standard deviations of components for variances"),
        Mutant(".cpu().double().exp().cumsum(0)", ".cpu().double().exp().flip(0).cumsum(0)", "samples of components by the shares of others"),
        Mutant("searchsorted(ends, fraction.contiguous())", "searchsorted(ends, torch.rand_like(fraction))", "the component of a sample does not hang on its noise"),
        Mutant("e, chosen = torch.cat([first, noise[..., 1:]], -1)", "e, chosen = torch.cat([noise[..., :1], noise[..., 1:]], -1)", "the number that names a component is its noise too"),
        Mutant("/ (ends[chosen] - start))", "/ ends[chosen])", "the place in a component's part of the interval is not stretched to the whole"),
        Mutant("(fraction - start)", "(ends[chosen] - fraction)", "the place in a component's part of the interval is turned around"),
        Mutant(".clamp(_TINY, 1 - _TINY)", "", "noise far out makes samples that are not finite"),
        Mutant("_times(noise, self.components.factor[chosen])", "_times(noise, self.components.factor[chosen].mT)", "samples of components by the transposed factor"),
        Mutant("self.components.log_std[chosen].exp() * noise", "(2 * self.components.log_std[chosen]).exp() * noise", "samples of components are spread by the variance"),
        Mutant("(matrix @ vectors.unsqueeze(-1))", "(matrix.mT @ vectors.unsqueeze(-1))", "one matrix for each vector, transposed"),
        Mutant("return self.factor.square().sum(-1)", "return self.factor.square().sum(-2)", "the variances of a full normal by the transposed factor"),
        Mutant("return (z - self.mean) * (-self.log_std).exp()", "return (z - self.mean) * self.log_std.exp()", "noise of a sample that is multiplied by its scale"),
        # moved normals
        Mutant("self.base.log_prob(start) - log_volume", "self.base.log_prob(start) + log_volume", "the sign of a sample's change of volume"),
        Mutant("self.base.log_prob(start) + log_volume", "self.base.log_prob(start) - log_volume", "the sign of the change of volume of what is undone"),
        Mutant("z is self._drawn[0]", "z.shape == self._drawn[0].shape", "other points have the density of the sample"),
        Mutant("self.transform(self.base.mean)", "self.base.mean", "the code is not moved by the flow"),
    ],
)
