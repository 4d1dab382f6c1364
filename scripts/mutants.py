"""Does a test notice each mistake that could be made in a formula? Every row of ``MUTANTS`` is one: a sign flipped, a
constant dropped, a mean for a sum. It is made in a copy of the package, and the tests of the formulas are run on it.

    python scripts/mutants.py                  all of them; writes bench/results/mutants.json
    python scripts/mutants.py --only kl        those with "kl" in their row; writes nothing
    python scripts/mutants.py --jobs 4         so many at a time

The exit code is 1 if a mutant survives. A survivor means that a test is missing. A new formula wants a row or two here: the
module, a piece of its text that occurs there once, what stands there instead, and what that breaks.
"""

# ruff: noqa: E501  (a row of the table is a line)
from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["MUTANTS", "Mutant", "mutated", "source_of"]

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "mutants.json"
SECONDS = 200  #: a mutant may make a loop endless
#: Imported once for all, by the process that the others are forked from; torch's first comparison imports the last two.
PRELOADED = [
    *(
        "torch",
        "scipy.stats",
        "scipy.integrate",
        "hypothesis",
        "pytest",
        "sklearn.datasets",
        "safetensors.torch",
        "PIL",
    ),
    *("torch.fx.experimental.symbolic_shapes", "torch.distributed.tensor"),
]


class Mutant(NamedTuple):
    """One mistake."""

    module: str
    old: str
    new: str
    breaks: str


# fmt: off
D, B, H, P, J, E, M = "model/distributions/latent", "model/distributions/pixel_discrete", "model/likelihoods", "model/priors", "model/objectives", "evaluation/metrics", "model/latent_model"
G, K = "model/distributions/pixel", "model/posteriors"
A, S, T, Z = "evaluation/aggregate_posterior", "evaluation/ssim", "evaluation/frechet", "data/binarize"
W, X, F = "latent/directions", "evaluation/anomaly", "evaluation/disentanglement"
Q, C, L, V, N = "model/quantizers", "model/conditioning", "model/flows", "latent/fit_prior", "evaluation/baselines"
MUTANTS = [
    # normals
    Mutant(D, "self.mean + self.log_std.exp() * noise", "self.mean + (2 * self.log_std).exp() * noise", "samples are spread by the variance"),
    Mutant(D, "self.mean + self.log_std.exp() * noise", "self.mean + (-self.log_std).exp() * noise", "samples are spread by one over the standard deviation"),
    Mutant(D, "self.mean + self.log_std.exp() * noise", "self.log_std.exp() * noise", "samples lie around zero"),
    Mutant(D, "return self.log_prob_map(z).sum(-1)", "return self.log_prob_map(z).mean(-1)", "log q is a mean over dimensions"),
    Mutant(D, "return self.mean.expand(noise.shape)", "return self.mean + noise", "the code of an autoencoder is noisy"),
    Mutant(D, "0.5 * math.log(2 * math.pi)", "0.5 * math.log(math.pi)", "a factor of two under the logarithm of a normal's constant"),
    Mutant(D, "return -0.5 * ((x - mean)", "return -((x - mean)", "the half of a normal's exponent"),
    Mutant(D, "(x - mean) * (-log_std).exp()", "(x - mean) * log_std.exp()", "a normal multiplies by its scale"),
    Mutant(D, "* (-log_std).exp()).square() - log_std - _HALF", "* (-log_std).exp()).square() + log_std - _HALF", "the sign of a normal's log scale"),
    Mutant(D, ".square() - log_std - _HALF_LOG_TWO_PI\n", ".square() - log_std\n", "a normal's constant"),
    Mutant(D, "self.mean + _times(noise, self.factor)", "self.mean + _times(noise, self.factor.mT)", "samples of a full normal by the transposed factor"),
    Mutant(D, "self.mean + _times(noise, self.factor)", "noise", "samples of a fitted prior are of the standard normal"),
    Mutant(D, "_times(z - self.mean, self.whitening)", "_times(z - self.mean, self.whitening.mT)", "the density of a full normal, and the noise of its samples, by the transposed factor"),
    Mutant(D, "_times(z - self.mean, self.whitening)", "_times(z, self.whitening)", "noise of a sample that is not centred"),
    Mutant(D, "-0.5 * self.to_noise(z).square()", "-self.to_noise(z).square()", "the half of a full normal's exponent"),
    Mutant(D, "_HALF_LOG_TWO_PI + log_scales", "_HALF_LOG_TWO_PI - log_scales", "the sign of a full normal's log volume"),
    Mutant(D, "- _HALF_LOG_TWO_PI + log_scales", "+ log_scales", "a full normal's constant"),
    # divergences
    Mutant(D, "variance_ratio = (2 * (q.log_std", "variance_ratio = ((q.log_std", "kl: standard deviation for variance"),
    Mutant(D, "* (-p.log_std).exp()).square()", "* p.log_std.exp()).square()", "kl: the distance is multiplied by the prior's scale"),
    Mutant(D, "* (-p.log_std).exp()).square()", "* (-p.log_std).exp()).abs()", "kl: the distance is not squared"),
    Mutant(D, "return 0.5 * (variance_ratio", "return (variance_ratio", "kl: the half"),
    Mutant(D, "distance - 1) - (q.log_std", "distance) - (q.log_std", "kl: the one"),
    Mutant(D, "- 1) - (q.log_std - p.log_std)", "- 1) + (q.log_std - p.log_std)", "kl: the sign of the log ratio"),
    Mutant(D, "- 1) - (q.log_std - p.log_std)", "- 1) - 2 * (q.log_std - p.log_std)", "kl: log variance for log standard deviation"),
    Mutant(D, "white_variance = (2 * q.log_std).exp()", "white_variance = q.log_std.exp()", "kl to a full normal: standard deviation for variance"),
    Mutant(D, "p.whitening.square().mT", "p.whitening.square()", "kl to a full normal: the variances by the transposed factor"),
    Mutant(D, "@ p.whitening.mT).square()", "@ p.whitening.mT).abs()", "kl to a full normal: the distance is not squared"),
    Mutant(D, "white_distance - 1) - q.log_std", "white_distance) - q.log_std", "kl to a full normal: the one"),
    Mutant(D, "- 1) - q.log_std - p.white", "- 1) + q.log_std - p.white", "kl to a full normal: the sign of log std"),
    Mutant(D, "- q.log_std - p.whitening.diagonal()", "- q.log_std + p.whitening.diagonal()", "kl to a full normal: the sign of the log volume"),
    # densities of pixels
    Mutant(G, "self.log_prob_map(x).sum(IMAGE_DIMS)", "self.log_prob_map(x).mean(IMAGE_DIMS)", "log p(x|z) is a mean over pixels"),
    Mutant(G, "self.log_prob_map(x).sum(IMAGE_DIMS)", "self.log_prob_map(x).sum(IMAGE_DIMS[1:]).mean(-1)", "log p(x|z) is a mean over channels"),
    Mutant(G, "return self.mean.clamp(0, 1)", "return self.mean", "pictures leave [0, 1]"),
    Mutant(G, "math.prod(mean.shape[-3:])", "math.prod(mean.shape[-2:])", "the constant of one channel alone"),
    Mutant(G, "(log_scale + _HALF_LOG_TWO_PI)", "log_scale", "the constant of a normal with one scale"),
    Mutant(G, "return -constant - sse", "return constant - sse", "the sign of that constant"),
    Mutant(G, "(0.5 * (-2 * log_scale).exp())", "(-2 * log_scale).exp()", "the half of its squared error"),
    Mutant(G, "(-2 * log_scale).exp()", "(-log_scale).exp()", "its squared error by the standard deviation"),
    Mutant(G, "self.log_scale.numel() > 1", "self.log_scale.numel() > 10**9", "a scale per pixel is taken for one scale"),
    Mutant(G, "- self.log_scale - math.log(2)", "- self.log_scale", "the log 2 of a Laplace density"),
    Mutant(G, "- self.log_scale - math.log(2)", "+ self.log_scale - math.log(2)", "the sign of a Laplace density's log scale"),
    Mutant(G, "(-self.log_scale).exp() -", "self.log_scale.exp() -", "a Laplace density multiplies by its scale"),
    Mutant(G, "-(x - self.mean).abs()", "-(x - self.mean).square()", "a Laplace density of squares"),
    Mutant(G, "return (x - 0.5) * self.logits", "return x * self.logits", "half of a continuous Bernoulli's normaliser"),
    Mutant(G, "- _log_sinhc(", "+ _log_sinhc(", "the sign of its normaliser"),
    Mutant(G, "_log_sinhc(self.logits / 2)", "_log_sinhc(self.logits)", "its normaliser of η for η/2"),
    Mutant(G, "(1 / 6 - square", "(1 / 3 - square", "the first term of its normaliser's series"),
    Mutant(G, "square * (1 / 180 - square", "square * (1 / 180 + square", "a sign in its normaliser's series"),
    Mutant(G, "large + torch.log(-torch", "torch.log(-torch", "the large part of its normaliser"),
    Mutant(G, "(-2 * large) / (2 * large)", "(-2 * large) / large", "a log 2 of its normaliser"),
    Mutant(G, "_SERIES_BELOW), size)", "size * 0), size)", "the guard of a branch that is not taken: 0/0 in the gradient"),
    Mutant(G, "0.5 + 0.5 * torch.where", "0.5 + torch.where", "the half of its mean"),
    Mutant(G, "1 / large.tanh() - 1 / large)", "1 / large.tanh() + 1 / large)", "a sign in its mean"),
    Mutant(G, "(1 / 3 - square * (1 / 45", "(1 / 3 + square * (1 / 45", "a sign in its mean's series"),
    Mutant(G, "return self.logits.sigmoid()", "return (-self.logits).sigmoid()", "the mean of a Bernoulli is of the other value"),
    Mutant(G, "return -F.binary_cross", "return F.binary_cross", "the sign of a Bernoulli's log probability"),
    Mutant(D, "(torch.float32, torch.float64) else tensor.float()", "(torch.float32,) else tensor.float()", "float64 is rounded"),
    Mutant(D, "(torch.float32, torch.float64) else tensor.float()", "(torch.float32, torch.float64) else tensor", "sums of half precision"),
    # probabilities of bytes
    Mutant(B, "return (x * 255).round()", "return (x * 255).floor()", "bytes are truncated"),
    Mutant(B, "return (x * 255).round()", "return (x * 256).round()", "bytes of another range"),
    Mutant(B, "below = F.logsigmoid(centre + width / 2)", "below = F.logsigmoid(centre + width)", "a logistic bin that is half a level too wide"),
    Mutant(B, "masked_fill(level == 255, 0)\n", "masked_fill(level == 256, 0)\n", "255 does not take the upper tail"),
    Mutant(B, "masked_fill(level == 0, 0)\n", "masked_fill(level == -1, 0)\n", "0 does not take the lower tail"),
    Mutant(B, "F.logsigmoid(width / 2 - centre)", "F.logsigmoid(width / 2 + centre)", "the sign of a logistic bin's other end"),
    Mutant(B, "torch.log(-torch.expm1(-width))", "torch.log(width)", "a logistic density for the bin's mass"),
    Mutant(B, "torch.where(_is_edge(level), torch.zeros_like(between), between)", "between", "the edges of a logistic have another end"),
    Mutant(B, "return below + above +", "return below + above -", "the sign of a logistic bin's width"),
    Mutant(B, "numbers.\n    \"\"\"\n    level, rate = _byte(x), (-log_scale).exp()", "numbers.\n    \"\"\"\n    level, rate = _byte(x), log_scale.exp()", "a logistic multiplies by its scale"),
    Mutant(B, "return (level == 0) | (level == 255)", "return level == 0", "255 is no edge"),
    Mutant(B, "_SQRT_TWO = math.sqrt(2)", "_SQRT_TWO = 2.0", "erf of t/2 for t/√2"),
    Mutant(B, "torch.where(level == 0, -centre,", "torch.where(level == 0, centre,", "0 takes the upper tail of a normal"),
    Mutant(B, "near = outward - width / 2", "near = outward + width / 2", "a normal's bin is the next one"),
    Mutant(B, "near.clamp(max=0), near.clamp(min=0)", "near, near", "no clamp of the branch that is not taken"),
    Mutant(B, ".masked_fill(is_edge, 1)", ".masked_fill(is_edge, 0)", "the edge of a normal's near branch"),
    Mutant(B, "behind.masked_fill(is_edge, 0)", "behind", "the edge of a normal's far branch"),
    Mutant(B, "within = torch.log(0.5 *", "within = torch.log(1.0 *", "the half of Φ, near the location"),
    Mutant(B, "torch.log(0.5 * rest)", "torch.log(rest)", "the half of Φ, far from it"),
    Mutant(B, "(-width * (outer + width / 2)).exp()", "(-width * (outer + width)).exp()", "the other end of a far bin"),
    Mutant(B, "outer.square() / 2)", "outer.square())", "the half of a far bin's exponent"),
    Mutant(B, "- outer.square() / 2", "+ outer.square() / 2", "the sign of a far bin's exponent"),
    # their means
    Mutant(B, "integral((location - 1) / scale)", "integral(location / scale - 1)", "the mean of a density clamped elsewhere than at 1"),
    Mutant(B, "return (scale * (integral(", "return ((integral(", "the scale of a clamped mean"),
    Mutant(B, "return z * torch.special.ndtr(z) + ", "return z * torch.special.ndtr(z) - ", "a sign in the integral of Φ"),
    Mutant(B, "/ math.sqrt(2 * math.pi)", "/ math.sqrt(math.pi)", "a constant in the integral of Φ"),
    Mutant(B, "_clamped_mean(_integral_of_ndtr, ", "_clamped_mean(F.softplus, ", "the mean of a logistic for that of a normal"),
    # mixtures
    Mutant(B, "wide(logits).log_softmax(-3)", "wide(logits)", "weights that do not sum to one"),
    Mutant(B, "wide(logits).log_softmax(-3)", "wide(logits).log_softmax(-1)", "weights that sum to one over columns"),
    Mutant(B, "+ alpha * red", "- alpha * red", "the sign of α"),
    Mutant(B, "beta * red + gamma * green", "beta * green + gamma * red", "β and γ exchanged"),
    Mutant(B, "(seen[..., :2, :, :] - 0.5)", "(seen[..., :2, :, :] - 0.0)", "coefficients of colours that are not centred"),
    Mutant(B, ".cumsum(-3) + self.log_weight", ".cumsum(-3) - self.log_weight", "the sign of log weights, per pixel value"),
    Mutant(B, "self._log_bins(x).cumsum(-3)", "self._log_bins(x)", "channels without those before them"),
    Mutant(B, "marginals.diff(dim=-3)", "marginals[..., 1:, :, :]", "joint probabilities for conditional ones"),
    Mutant(B, "self._log_bins(x).sum(-3) + self.log_weight", "self._log_bins(x).sum(-3)", "an image without the weights of its components"),
    Mutant(B, "self._log_bins(x).sum(-3) + self.log_weight", "self._log_bins(x).mean(-3) + self.log_weight", "an image by the mean over its channels"),
    Mutant(B, ".logsumexp(-3).sum((-2, -1))", ".sum(-3).sum((-2, -1))", "an image by the product of its components"),
    Mutant(B, ".logsumexp(-3).sum((-2, -1))", ".logsumexp(-3).mean((-2, -1))", "an image by the mean over its pixels"),
    Mutant(B, "* means).sum(-4)", "* means).mean(-4)", "the mean of a mixture divided by its components"),
    Mutant(B, "weight = self.log_weight.exp()\n", "weight = self.log_weight\n", "the mean of a mixture by log weights"),
    Mutant(B, "weight * moves > _HARDLY", "weight * moves < 0", "colors follow expectations alone"),
    Mutant(B, "beta * (red - 0.5) + gamma * (green - 0.5)", "beta * (red - 0.5)", "the mean of blue does not follow that of green, where they hardly vary"),
    Mutant(B, "scale_of_green + alpha.abs() * scale_of_red)", "alpha.abs() * scale_of_red)", "components whose green varies are left out"),
    Mutant(B, "follows = green_at + alpha * (red - 0.5)", "follows = green_at - alpha * (red - 0.5)", "the sign of α in the mean of green"),
    Mutant(B, "beta * (red - 0.5) - 0.5 * gamma) * rate", "beta * (red - 0.5)) * rate", "green that is not centred in the mean of blue"),
    Mutant(B, "slope = gamma * rate", "slope = beta * rate", "the mean of blue follows green by β"),
    Mutant(B, "blue + share * inner_blue", "blue + inner_blue", "red values that all weigh one"),
    Mutant(B, "+ weight * value\n", "+ value\n", "green values that all weigh one"),
    Mutant(B, "(blue * blue_scale).clamp", "blue.clamp", "the scale of the mean of blue"),
    Mutant(B, "yield torch.ones_like(location), above", "yield torch.ones_like(location), below", "the mass of the upper tail"),
    Mutant(B, "(1 - below - above).clamp(min=0)", "(1 - below).clamp(min=0)", "masses that do not sum to one"),
    Mutant(B, "below + node * between", "node * between", "nodes that begin at the lowest value"),
    Mutant(B, "(322 + 13 * math.sqrt(70))", "(322 - 13 * math.sqrt(70))", "weights of a quadrature that do not sum to one"),
    Mutant(B, "- low.clamp(min=0) + ratio.log()", "- low.clamp(min=0)", "a mean without the rounding of its clamp"),
    # free probabilities
    Mutant(B, ".to(self.logits) / 255", ".to(self.logits) / 256", "the mean of a categorical on another scale"),
    Mutant(B, "self.logits.softmax(-4)", "self.logits.softmax(-3)", "the mean of a categorical normalised over channels"),
    Mutant(B, "total = self.logits.logsumexp(-4)", "total = self.logits.logsumexp(-4) * 0", "a categorical that is not normalised"),
    Mutant(B, "squeeze(-4) - total", "squeeze(-4) + total", "the sign of a categorical's normaliser"),
    # heads
    Mutant(H, "1 / (255 * math.sqrt(12))", "1 / (255 * math.sqrt(3))", "the rounding error of a bin from edge to edge"),
    Mutant(H, "QUANTISATION_STD / math.sqrt(2))", "QUANTISATION_STD * math.sqrt(2))", "the floor of a Laplace scale"),
    Mutant(H, "DiscretizedLogistic: (-7 - math.log(2), 2.0)", "DiscretizedLogistic: (-7.0, 2.0)", "the floor of a logistic scale"),
    Mutant(H, "DiscretizedNormal: (-7 - math.log(2), 2.0)", "DiscretizedNormal: (-7 - math.log(2), 3.0)", "the ceiling of a discretised normal's scale"),
    Mutant(H, "_FIRST_LOG_SCALE = math.log(0.25)", "_FIRST_LOG_SCALE = math.log(0.5)", "where a scale begins"),
    Mutant(H, "_COMPONENT = math.log(0.1)", "_COMPONENT = math.log(0.2)", "where a component's scale begins"),
    Mutant(K, "self.log_std(features) * self.std_gain", "self.log_std(features)", "the gain of a posterior's log std"),
    Mutant(K, "self.log_std(features) * self.std_gain", "-self.log_std(features) * self.std_gain", "the sign of a posterior's log std"),
    Mutant(K, "self.log_std(features) * self.std_gain", "self.log_std(features) * self.std_gain / 2", "a head of log variances"),
    Mutant(H, "torch.tensor(math.log(fixed_scale))", "torch.tensor(2 * math.log(fixed_scale))", "a fixed variance for a scale"),
    Mutant(H, "torch.tensor(math.log(fixed_scale))", "torch.tensor(fixed_scale)", "a fixed scale for its logarithm"),
    Mutant(H, "self._in_range(self.free_log_scale * _SCALE_GAIN)", "self._in_range(self.free_log_scale)", "the gain of a shared scale"),
    Mutant(H, "self._in_range(self.free_log_scale * _SCALE_GAIN)", "self.free_log_scale * _SCALE_GAIN", "no range of a shared scale"),
    Mutant(H, "self._in_range(log_scale + _FIRST_LOG_SCALE)", "log_scale + _FIRST_LOG_SCALE", "no range of a pixel's scale"),
    Mutant(H, "self._in_range(log_scale + _FIRST_LOG_SCALE)", "self._in_range(log_scale - _FIRST_LOG_SCALE)", "pixel scales begin at four"),
    Mutant(H, "location, log_scale = output.chunk(2, dim=-3)", "log_scale, location = output.chunk(2, dim=-3)", "locations and scales exchanged"),
    Mutant(H, "else output + 0.5", "else output", "where a location begins"),
    Mutant(H, "return output.sigmoid() if self.mean", "return output.tanh() if self.mean", "another function than the sigmoid"),
    Mutant(H, "else location - 0.5", "else location", "the output of a mean image"),
    Mutant(H, "return BernoulliImage(output)", "return BernoulliImage(-output)", "the sign of a Bernoulli's logits"),
    Mutant(H, "return ContinuousBernoulli(output)", "return ContinuousBernoulli(output / 2)", "the gain of a continuous Bernoulli's logits"),
    Mutant(H, "Categorical256(output.unflatten(-3, (256, output.shape[-3] // 256)))", "Categorical256(output.unflatten(-3, (output.shape[-3] // 256, 256)).transpose(-4, -3))", "categorical logits channel by channel"),
    Mutant(H, "(torch.arange(components) + 0.5) / components", "torch.arange(components) / components", "where components begin"),
    Mutant(H, "(count, channels)) + self.first_location", "(count, channels))", "all components begin at one place"),
    Mutant(H, "(count, channels)) + _FIRST_LOG_SCALE", "(count, channels)) - _FIRST_LOG_SCALE", "components begin wide"),
    Mutant(H, "log_scale.clamp(*LOG_SCALES[DiscretizedLogistic])", "log_scale", "no range of a component's scale"),
    Mutant(H, "(count, 3)).tanh() if", "(count, 3)) if", "coefficients beyond ±1"),
    Mutant(H, "logits, location, log_scale, *coefficients =", "logits, log_scale, location, *coefficients =", "locations and scales of a mixture exchanged"),
    Mutant(H, "rising(middle) < target", "rising(middle) > target", "the search for a mean image goes the other way"),
    # priors
    Mutant(P, "return DiagonalNormal(self.zeros, self.zeros)", "return DiagonalNormal(self.zeros, self.zeros + 1)", "a standard normal of another scale"),
    Mutant(D, "cholesky_ex(covariance + floor)", "cholesky_ex(covariance)", "no floor of a fitted covariance"),
    Mutant(D, "_FLOOR * covariance.trace()", "_FLOOR * covariance.square().trace()", "a floor of the squared variances"),
    Mutant(P, "_KEEP = 0.99 ", "_KEEP = 0.9 ", "how long moments are kept"),
    Mutant(P, "_LAG = 10 ", "_LAG = 1 ", "how soon moments are kept"),
    Mutant(P, "self.observed / (self.observed + _LAG), max=_KEEP", "self.observed / (self.observed + _LAG), max=1.0", "moments stop following"),
    Mutant(P, "self.mean.lerp_(total / count, 1 - keep)", "self.mean.lerp_(total / count, keep)", "the mean keeps what it should forget"),
    Mutant(P, "self.mean.lerp_(total / count,", "self.mean.lerp_(total,", "a sum for the mean"),
    Mutant(P, "centred = qz.mean - self.mean", "centred = qz.mean", "second moments for a covariance"),
    Mutant(P, "(2 * qz.log_std).exp().sum(0)", "qz.log_std.exp().sum(0)", "standard deviations for variances"),
    Mutant(P, "(2 * qz.log_std).exp().sum(0)", "(2 * qz.log_std).exp().mean(0)", "a mean for the sum of variances"),
    Mutant(P, "(outer + torch.diag(variance)) / count", "outer / count", "a covariance of means alone"),
    Mutant(P, "(outer + torch.diag(variance)) / count, 1 - keep", "(outer + torch.diag(variance)) / count, keep", "the covariance keeps what it should forget"),
    # objectives
    Mutant(J, "-self.distortion - self.rate", "-self.distortion + self.rate", "the sign of the rate in the bound"),
    Mutant(J, "-self.distortion - self.rate", "-self.loss", "the bound is minus the loss"),
    Mutant(J, "distortion = -_over_samples(inference.log_px)", "distortion = _over_samples(inference.log_px)", "the sign of the distortion"),
    Mutant(J, "torch.cat(inference.kl, dim=-1).sum(-1)", "torch.cat(inference.kl, dim=-1).mean(-1)", "the rate is a mean over dimensions"),
    Mutant(J, "distortion + self.beta * ramp * (", "distortion - self.beta * ramp * (", "the sign of the rate in the loss"),
    Mutant(J, "distortion + self.beta * ramp * (", "distortion + ramp * (", "β"),
    Mutant(J, "distortion + self.beta * ramp * (", "distortion + self.beta * (", "a rate that does not come slowly"),
    Mutant(J, "return distortion + self.beta * ramp * (", "return self.beta * ramp * (distortion + ", "β weighs the distortion too"),
    Mutant(J, "(self._charged(inference.kl) if self.free_bits_nats else rate)", "rate", "free bits are charged"),
    Mutant(J, "return Terms(loss, distortion, rate)", "return Terms(loss, distortion, None if rate is None else loss - distortion)", "the rate is what is charged"),
    Mutant(J, "torch.cat(kl, dim=-1).mean(0, keepdim=True)", "torch.cat(kl, dim=-1)", "free bits of each image"),
    Mutant(J, "mean_kl.clamp(min=self.free_bits_nats).sum(-1)", "mean_kl.clamp(max=self.free_bits_nats).sum(-1)", "free bits are a ceiling"),
    Mutant(J, "mean_kl.clamp(min=self.free_bits_nats).sum(-1)", "mean_kl.sum(-1).clamp(min=self.free_bits_nats)", "free bits of all dimensions together"),
    Mutant(J, "mean_kl.clamp(min=self.free_bits_nats)", "(mean_kl - self.free_bits_nats).clamp(min=0)", "free bits are subtracted"),
    Mutant(J, "else terms.mean(0)", "else terms.sum(0)", "a sum over samples"),
    Mutant(J, "else terms.mean(0)", "else terms[0]", "the first sample for all"),
    Mutant(J, "loss = loss + penalty", "loss = loss - penalty", "the sign of penalties"),
    # models
    Mutant(M, "target = batch.x if batch.target is None else batch.target", "target = batch.x", "noisy images are compared, not the clean ones"),
    Mutant(M, "[level.qz.log_prob(level.z) for level", "[level.pz.log_prob(level.z) for level", "log p(z) for log q(z|x)"),
    Mutant(M, "[level.pz.log_prob(level.z) for level", "[level.qz.log_prob(level.z) for level", "log q(z|x) for log p(z)"),
    Mutant(M, "kl_divergence(level.qz, level.pz)", "kl_divergence(level.pz, level.qz)", "the divergence of the prior from the posterior"),
    Mutant(M, "(level.z) - level.pz", "(level.z) + level.pz", "the sign of log p(z) in a sampled divergence"),
    Mutant(M, "level.pz.log_prob(level.z)).mean(0)", "level.pz.log_prob(level.z)).sum(0)", "a sampled divergence summed over samples"),
    Mutant(M, "total = total + term", "total = term", "the last level alone"),
    Mutant(M, "if self.training and not self._is_observed", "if not self._is_observed", "a fitted prior follows what it is evaluated on"),
    Mutant(M, "if self.training and not self._is_observed", "if self.training", "what follows a batch is shown its pieces too"),
    Mutant(M, "noise if source is None else source.from_noise(noise)", "noise", "the noise is decoded, not a sample of the prior"),
    Mutant(M, "px = self.decode(z, batch.condition)", "px = self.decode(qz.mean.expand(z.shape), batch.condition)", "the decoder sees the mean, not the sample"),
    # importance weights
    Mutant(J, "math.log(len(log_w)) - log_w.logsumexp(0)", "-log_w.logsumexp(0)", "a sum of importance weights, not their mean"),
    Mutant(J, "math.log(len(log_w)) - log_w.logsumexp(0)", "-log_w.mean(0)", "the mean of their logarithms: the elbo"),
    Mutant(J, "log_w = inference.log_px + inference.log_pz", "log_w = inference.log_px - inference.log_pz", "the sign of log p(z) in a weight"),
    Mutant(J, "log_w = log_w - inference.log_qz", "log_w = log_w + inference.log_qz", "the sign of log q(z|x) in a weight"),
    Mutant(J, "log_w = log_w - sum_levels", "log_w = log_w + sum_levels", "the same, doubly reparameterised"),
    Mutant(J, "level.qz.detach().log_prob(level.z)", "level.qz.log_prob(level.z)", "the score is left in the doubly reparameterised gradient"),
    Mutant(J, "gradient * shares.unsqueeze(-1)", "gradient", "the second weight of the doubly reparameterised gradient"),
    Mutant(J, "gradient * shares.unsqueeze(-1)", "gradient * shares.unsqueeze(-1).square()", "a third weight"),
    Mutant(J, "log_w.detach().softmax(0)", "log_w.detach().softmax(1)", "weights that sum to one over images"),
    Mutant(J, "math.log(len(log_w)) - log_w.logsumexp(0)", "log_w.logsumexp(0) - math.log(len(log_w))", "the bound is minimised"),
    # evaluation
    Mutant(E, "(picture - x).square().flatten(1).sum(1)", "(picture - x).square().flatten(1).mean(1)", "the squared error is a mean over pixels"),
    Mutant(E, "(picture - x).square().flatten(1).sum(1)", "(picture - x).abs().flatten(1).sum(1)", "absolute for squared errors"),
    Mutant(E, "self.model.decode(level.qz.mean, batch.condition).picture", "self.model.decode(level.z[0], batch.condition).picture", "the picture of a sample, not of the mean"),
    Mutant(E, "self.model.decode(level.qz.mean, batch.condition).picture", "self.model.decode(level.qz.mean, batch.condition).mean", "errors of a mean that is not clamped"),
    Mutant(E, "[rows] = kl.sum(1)", "[rows] = kl.mean(1)", "the rate that is printed is a mean over dimensions"),
    Mutant(E, "[rows] = -_double(inference.log_px.mean(0))", "[rows] = _double(inference.log_px.mean(0))", "the sign of the distortion that is printed"),
    Mutant(E, "self.kl_moments += torch", "self.kl_moments = torch", "the divergences of the last chunk alone"),
    Mutant(E, "kl, kl_square = self.kl_moments / count", "kl, kl_square = self.kl_moments", "a sum over images for each dimension"),
    Mutant(E, "(second - mean.square()).clamp(min=0)", "second.clamp(min=0)", "the error of a divergence by its second moment"),
    Mutant(E, "clamp(min=0) / (count - 1)", "clamp(min=0)", "a standard deviation for the error of a divergence"),
    Mutant(E, "torch.stack([mean.sum(0), mean.square().sum(0)])", "torch.stack([mean.sum(0), mean.sum(0).square()])", "the square of a sum for the sum of squares"),
    Mutant(E, "square - mean.square()", "square", "the second moment of means for their variance"),
    Mutant(E, "if self.is_discrete else None", "if True else None", "bits of a density"),
    Mutant(E, "_decibel(mean / self.values)", "_decibel(mean)", "decibels of the error per image"),
    Mutant(E, "-10 * math.log10(mean_squared_error)", "-20 * math.log10(mean_squared_error)", "decibels of an amplitude"),
    Mutant(E, "-10 * math.log10(mean_squared_error)", "-10 * math.log(mean_squared_error)", "decibels by another logarithm"),
    Mutant(E, '-self.columns["distortion_nats"] - rate', '-self.columns["distortion_nats"] + rate', "the sign of the rate in the bound that is printed"),
    Mutant(E, "nats / (-self.values * math.log(2))", "nats / (self.values * math.log(2))", "the sign of the bits"),
    Mutant(E, "(-self.values * math.log(2))", "(-self.values)", "nats for bits"),
    Mutant(E, "values = math.prod(self.pixels.shape[1:])", "values = math.prod(self.pixels.shape[2:])", "bits per pixel for bits per pixel value"),
    Mutant(E, "squares[where.expand_as(squares)].mean()", "(squares * where).mean()", "hidden pixels count among all"),
    Mutant(E, "column.std() / math.sqrt(len(column))", "column.std()", "a standard deviation for a standard error"),
    Mutant(E, "column.std() / math.sqrt(len(column))", "column.var() / math.sqrt(len(column))", "a variance for a standard deviation"),
    Mutant(E, "column.std() / math.sqrt(len(column))", "column.std(correction=0) / math.sqrt(len(column))", "the standard deviation by N"),
    Mutant(E, "10 / math.log(10) * error / mean", "10 * error / mean", "the error of decibels by the natural logarithm"),
    Mutant(E, "return total - math.log(samples)", "return total", "a sum of importance weights, not their mean"),
    Mutant(E, "torch.logaddexp(total, weights.logsumexp(0))", "weights.logsumexp(0)", "the last piece of the importance weights alone"),
    Mutant(E, "torch.logaddexp(total, weights.logsumexp(0))", "torch.maximum(total, weights.logsumexp(0))", "the largest piece of the importance weights alone"),
    Mutant(E, "weights.logsumexp(0)", "weights.mean(0)", "a mean of log weights for the logarithm of their sum"),
    Mutant(E, "_double(found.log_pz) - _double(found.log_qz)", "_double(found.log_pz) + _double(found.log_qz)", "the sign of log q(z|x) in a weight"),
    Mutant(E, "_double(found.log_px) + _double(found.log_pz)", "_double(found.log_px) - _double(found.log_pz)", "the sign of log p(z) in a weight"),
    Mutant(E, "noise_of(keys, seed, EVALUATION", "noise_of(range(len(keys)), seed, EVALUATION", "noise of an image that depends on its batch"),
    Mutant(E, "noise_of(keys, seed, EVALUATION", "noise_of([key + start for key in keys], seed, EVALUATION", "noise of an image that depends on its place"),
    Mutant(E, "noise_of(keys, seed, EVALUATION", "noise_of(keys, 0, EVALUATION", "noise without the seed"),
    Mutant(E, "for key in keys]", "for key in range(len(keys))]", "importance weights of an image that depend on its batch"),
    Mutant(E, "keys[done : done + len(some.x)]", "keys[: len(some.x)]", "importance weights of an image by the noise of another"),
    Mutant(E, "self.codes_rate_nats - information", "self.codes_rate_nats + information", "the sign of the information in the marginal divergence"),
    Mutant(E, "and is_saturated(information)", "and False", "information that is log N is taken for that of the set"),
    Mutant("system/rng", "tobytes(), digest_size=8)", "tobytes()[:1], digest_size=8)", "images that begin alike have the same noise"),
    # the aggregate posterior
    Mutant(A, "(-2 * log_std).exp()", "(-log_std).exp()", "one over a standard deviation for a precision"),
    Mutant(A, "DiagonalNormal(mean, log_std).log_prob(torch.zeros_like(mean))", "DiagonalNormal(mean, log_std).log_prob(mean)", "constants without the distance of their means"),
    Mutant(A, "torch.addmm(constant, some, weighted.mT)", "torch.addmm(constant, some, mean.mT)", "means that are not weighed by their precision"),
    Mutant(A, "alpha=-0.5", "alpha=-1", "the half of the exponent"),
    Mutant(A, "pairs.logsumexp(1) - math.log(len(mean))", "pairs.logsumexp(1)", "a sum of posteriors for their mean"),
    Mutant(A, "z - centre, mean - centre", "z - centre, mean", "points moved without the posteriors"),
    Mutant(A, "own - aggregate_log_density(self", "own + aggregate_log_density(self", "the sign of log q(z) in the information"),
    Mutant(A, "log_ratios.exp().mean() / len(log_ratios)", "log_ratios.mean().exp() / len(log_ratios)", "the geometric mean of own shares"),
    Mutant(A, "own_share - 1 / len(log_ratios)", "own_share", "few images are taken for saturation"),
    Mutant(A, "ACTIVE_ABOVE * variance_of_prior.cpu()", "ACTIVE_ABOVE * variance_of_prior.cpu().sqrt()", "a standard deviation for the prior's variance"),
    Mutant(A, "ACTIVE_ABOVE = 0.01", "ACTIVE_ABOVE = 0.1", "another threshold of activity"),
    # steps
    Mutant("config/steps", "epochs * math.ceil(per_epoch / batch_size)", "epochs * (per_epoch // batch_size)", "the last batch of an epoch is no step"),
    Mutant("config/steps", "+ math.ceil(rest / batch_size)", "+ rest // batch_size", "the last batch of a run is no step"),
    # of images and of sets of them
    Mutant(S, "(2 * cov + C2)", "(cov + C2)", "the two before the covariance"),
    Mutant(S, "(2 * mean_x * mean_y + C1)", "(mean_x * mean_y + C1)", "the two before the means"),
    Mutant(S, "_weighted(x * y, window) - mean_x * mean_y", "_weighted(x * y, window)", "a moment for a covariance"),
    Mutant(S, "_weighted(y * y, window) - mean_y * mean_y", "_weighted(y * y, window)", "a moment for a variance"),
    Mutant(S, "0.01**2, 0.03**2", "0.01, 0.03", "constants that are not squared"),
    Mutant(S, "SIGMA = 1.5", "SIGMA = 2.5", "another window"),
    Mutant(S, "weights / weights.sum()", "weights / weights.max()", "weights of a window that do not sum to one"),
    Mutant(T, "cov_a.trace() + cov_b.trace() - 2 * shared", "cov_a.trace() + cov_b.trace() - shared", "the two before the cross term"),
    Mutant(T, "cov_a.trace() + cov_b.trace() - 2 * shared", "cov_a.trace() - cov_b.trace() - 2 * shared", "the sign of a covariance"),
    Mutant(T, ".clamp_min(0).sqrt().sum()", ".clamp_min(0).sum()", "the root of the cross term"),
    Mutant(T, "(a.mean(0) - b.mean(0)).square().sum()", "(a.mean(0) - b.mean(0)).abs().sum()", "absolute for squared differences of means"),
    Mutant(T, "float(found.std()) / math.sqrt(subsets)", "float(found.std())", "a standard deviation for a standard error"),
    Mutant(T, "(products / size + 1) ** 3", "(products + 1) ** 3", "a kernel that grows with the features"),
    Mutant(T, "(products / size + 1) ** 3", "(products / size + 1) ** 2", "another power of the kernel"),
    Mutant(T, "_kernel_sum(x, x) - _diagonal_sum(x)", "_kernel_sum(x, x)", "pairs of an image with itself"),
    Mutant(T, "within - 2 * _kernel_sum(a, b)", "within - _kernel_sum(a, b)", "the two before what is across"),
    Mutant(T, "/ (len(x) * (len(x) - 1))", "/ len(x) ** 2", "pairs that are not counted divide"),
    # how much of pictures a crop keeps
    Mutant("pixels/sizes", "min(ratio, wanted) / max(ratio, wanted)", "ratio / wanted", "a crop of tall pictures keeps all of them"),
    Mutant("pixels/sizes", "size[1] / size[0]", "size[0] / size[1]", "a size has its width first"),
    Mutant("pixels/sizes", "if kept >= _LEAST_KEPT", "if kept <= _LEAST_KEPT", "a crop is said where it is small"),
    Mutant(Z, "image >= 128", "image > 128", "a threshold above one half"),
    Mutant(Z, "_drawn(image) < image", "_drawn(image) > image", "black for white"),
    Mutant(Z, "(255 * 2.0**-53)", "(256 * 2.0**-53)", "white that is not always white"),
    Mutant(Z, "int.from_bytes(hashlib", "0 * int.from_bytes(hashlib", "the same draws for every image"),
    # directions, paths and strange images
    Mutant(W, "return left @ z / (left @ t)", "return left @ z / (t @ t)", "an adjusted direction has another length"),
    Mutant(W, "t - design @ torch", "t + design @ torch", "the sign of what other columns explain"),
    Mutant(W, "inside - alone @ (alone.mT @ inside)", "inside + alone @ (alone.mT @ inside)", "what a column alone reaches is held equal twice"),
    Mutant(W, "/ self._scales[:, None]", "* self._scales[:, None]", "the direction that only one column reaches"),
    Mutant(W, "difference = with_.mean(0) - without.mean(0)", "difference = without.mean(0) - with_.mean(0)", "directions point away"),
    Mutant(W, "covariance += _SHRINKAGE", "covariance += 0 * _SHRINKAGE", "a discriminant that is not regularised"),
    Mutant(W, "normal * (normal @ difference) / (normal @ normal)", "normal / (normal @ normal)", "the length of a classifier's direction"),
    Mutant(W, "vector - basis @ (basis.mT @ vector)", "vector + basis @ (basis.mT @ vector)", "the sign of a projection"),
    Mutant(W, "(asked[told == 1] > threshold)", "(asked[told == 1] < threshold)", "the accuracy of a direction counts what is told wrong"),
    Mutant(W, "(known[has == 1].mean() + known[has == 0].mean()) / 2", "known[has == 1].mean()", "the threshold of a direction lies at one mean"),
    Mutant(W, "np.where(values == \"\", np.nan, values == word)", "np.where(values == \"\", 0.0, values == word)", "what is not known counts as without"),
    Mutant("latent/ops", "((1 - weights) * angle).sin() * units[0]", "(weights * angle).sin() * units[0]", "a spherical path begins elsewhere"),
    Mutant("latent/ops", "along = turned * (lengths[0] * (1 - weights)", "along = turned * (lengths[0] * weights", "the length of a spherical path"),
    Mutant("latent/neighbours", "centred.mT @ centred / len(codes)", "centred.mT @ centred", "the variance of a component is a sum"),
    Mutant("latent/traversal", "axis * variance.sqrt()", "axis * variance", "a step along a component is a variance"),
    Mutant(X, "\"elbo_nats\", -1.0", "\"elbo_nats\", 1.0", "the sign of the bound as a score"),
    Mutant(X, "np.isnan(each).sum()", "np.isinf(each).sum()", "a score that is no number is above no threshold"),
    Mutant(X, "(len(normal) + 1) * (1 - false_alarms)", "len(normal) * (1 - false_alarms)", "a threshold that breaks its promise by one place"),
    Mutant(X, "[place - 1])", "[place - 2])", "a threshold one place too low"),
    Mutant(X, "flagged = scores > threshold", "flagged = scores >= threshold", "the threshold itself is flagged"),
    Mutant(X, "maps.append(-model", "maps.append(model", "the sign of a map"),
    Mutant(X, "log_prob_map(x).sum(1)", "log_prob_map(x).mean(1)", "a map is a mean over channels"),
    Mutant(F, "return best - second", "return best", "a gap that is the best score"),
    Mutant(F, "np.log(joint[seen] / apart[seen])", "np.log(apart[seen] / joint[seen])", "the sign of the information"),
    Mutant(F, "_gap(known) / mutual_information_nats(factor.bins, factor.bins)", "_gap(known)", "a gap of information in nats"),
    Mutant(F, "return 1 + (share", "return 1 - (share", "the sign of an entropy"),
    Mutant(F, "float(importance.mean(1) @ concentration(importance))", "float(concentration(importance).mean())", "disentanglement that counts every code the same"),
    Mutant(F, "concentration(importance.T)", "concentration(importance)", "completeness that is of codes"),
    Mutant(F, "order[::2], order[1::2]", "order[::2], order[::2]", "predictors that are held to what they were fitted on"),
    Mutant(F, "float((z @ v) ** 2 / max((z @ z) * (v @ v), 1e-300))", "float(abs(z @ v) / max((z @ z) * (v @ v), 1e-300) ** 0.5)", "a correlation that is not squared"),
    Mutant(F, "max_leaf_nodes=leaves, class_weight=\"balanced\"", "max_leaf_nodes=leaves", "thresholds that are set for what is frequent"),
    Mutant(F, ".var(1).argmin(1)", ".var(1).argmax(1)", "the vote of the code that varies most"),
    Mutant(F, "codes[:, is_active] / std[is_active]", "codes[:, is_active]", "variances that are not relative"),
    Mutant(F, "std >= _LEAST_STD * std.max()", "std >= 0", "inactive codes vote"),
    # mixtures of normals
    Mutant(D, "log_weights.log_softmax(0), components", "log_weights, components", "weights of a mixture that do not sum to one"),
    Mutant(D, "(self.log_weights + self.components", "(self.components", "the density of a mixture without its weights"),
    Mutant(D, "z.unsqueeze(-2))).logsumexp(-1)", "z.unsqueeze(-2))).amax(-1)", "the largest component of a mixture alone"),
    Mutant(D, "centre = (weights * mean).sum(0)", "centre = mean.mean(0)", "the mean of a mixture without its weights"),
    Mutant(D, "of(centre, spread + within)", "of(centre, within)", "the covariance of a mixture without the spread of its means"),
    Mutant(D, "(mean - centre).mT @ (weights * (mean - centre))", "mean.mT @ (weights * mean)", "a second moment for the spread of means"),
    Mutant(D, "(mean - centre).mT @ (weights * (mean - centre))", "(mean - centre).mT @ (mean - centre)", "the spread of means without weights"),
    Mutant(D, "(weights.unsqueeze(-1) * (factor @ factor.mT))", "(weights.unsqueeze(-1) * (factor.mT @ factor))", "covariances of components by the transposed factor"),
    Mutant(D, "(weights * self.components.variance)", "(weights * self.components.log_std.exp())", "standard deviations of components for variances"),
    Mutant(D, ".cpu().double().exp().cumsum(0)", ".cpu().double().exp().flip(0).cumsum(0)", "samples of components by the shares of others"),
    Mutant(D, "searchsorted(ends, fraction.contiguous())", "searchsorted(ends, torch.rand_like(fraction))", "the component of a sample does not hang on its noise"),
    Mutant(D, "e, chosen = torch.cat([first, noise[..., 1:]], -1)", "e, chosen = torch.cat([noise[..., :1], noise[..., 1:]], -1)", "the number that names a component is its noise too"),
    Mutant(D, "/ (ends[chosen] - start))", "/ ends[chosen])", "the place in a component's part of the interval is not stretched to the whole"),
    Mutant(D, "(fraction - start)", "(ends[chosen] - fraction)", "the place in a component's part of the interval is turned around"),
    Mutant(D, ".clamp(_TINY, 1 - _TINY)", "", "noise far out makes samples that are not finite"),
    Mutant(D, "_times(noise, self.components.factor[chosen])", "_times(noise, self.components.factor[chosen].mT)", "samples of components by the transposed factor"),
    Mutant(D, "self.components.log_std[chosen].exp() * noise", "(2 * self.components.log_std[chosen]).exp() * noise", "samples of components are spread by the variance"),
    Mutant(D, "(matrix @ vectors.unsqueeze(-1))", "(matrix.mT @ vectors.unsqueeze(-1))", "one matrix for each vector, transposed"),
    Mutant(D, "return self.factor.square().sum(-1)", "return self.factor.square().sum(-2)", "the variances of a full normal by the transposed factor"),
    Mutant(D, "return (z - self.mean) * (-self.log_std).exp()", "return (z - self.mean) * self.log_std.exp()", "noise of a sample that is multiplied by its scale"),
    # moved normals
    Mutant(D, "self.base.log_prob(start) - log_volume", "self.base.log_prob(start) + log_volume", "the sign of a sample's change of volume"),
    Mutant(D, "self.base.log_prob(start) + log_volume", "self.base.log_prob(start) - log_volume", "the sign of the change of volume of what is undone"),
    Mutant(D, "z is self._drawn[0]", "z.shape == self._drawn[0].shape", "other points have the density of the sample"),
    Mutant(D, "self.transform(self.base.mean)", "self.base.mean", "the code is not moved by the flow"),
    Mutant(D, "centred.mT @ centred / len(z)", "centred.mT @ centred", "the covariance of samples is a sum"),
    Mutant(D, "centred = z - z.mean(0)", "centred = z", "a second moment of samples for their covariance"),
    Mutant(L, "% 2 == layer % 2 for", "% 2 == 0 for", "halves that do not alternate: some numbers are never moved"),
    Mutant(L, "if layer % 2 == 0 else torch.arange(features).flip(0)", "if layer >= 0 else torch.arange(features).flip(0)", "orders that do not turn around"),
    Mutant(L, "hasattr(layer, \"weight\")][-1]", "hasattr(layer, \"weight\")][0]", "a flow that does not begin as the identity"),
    Mutant(L, "self.meta(stays).inv", "self.meta(stays)", "what is undone is done again"),
    Mutant(K, "self.context(features).relu()", "self.context(features)", "the context of a flow is not bent"),
    # more priors
    Mutant(P, "mean, log_std = self.last(", "log_std, mean = self.last(", "mean and scale of a prior that is told, exchanged"),
    Mutant(P, "nn.init.zeros_(self.last.bias)", "nn.init.ones_(self.last.bias)", "a prior that is told does not begin as the standard normal"),
    Mutant(P, "self.first(told).relu()", "self.first(told)", "a prior that is told is linear"),
    Mutant(P, "new_zeros(self.size) if condition is None", "new_ones(self.size) if condition is None", "told nothing, it is told everything"),
    Mutant(P, "model.encode(self.images.clamp(0, 1))", "model.encode(self.images)", "learned images leave [0, 1]"),
    Mutant(P, "DiagonalNormal(q.mean, q.log_std))", "DiagonalNormal(q.mean, q.log_std.detach()))", "learned images do not learn by the width of their posteriors"),
    Mutant(P, "self.mean.copy_(self.mean * std + mean)", "self.mean.copy_((self.mean + mean) * std)", "means of a fitted mixture moved before they are stretched"),
    Mutant(P, "std.unsqueeze(-1) * self.factor", "std * self.factor", "factors of a fitted mixture stretched by columns"),
    Mutant(V, "== _HELD_OUT - 1", "!= _HELD_OUT - 1", "fitted to a tenth of the codes"),
    Mutant(V, "codes[~is_held].double(), codes[is_held].double()", "codes.double(), codes[is_held].double()", "codes that are held out are fitted to"),
    Mutant(V, "log_prob(scaled[1]) - std.log().sum()", "log_prob(scaled[1]) + std.log().sum()", "the sign of the change of units"),
    Mutant(V, "prior(None).log_prob(held.float())", "prior(None).log_prob(train.float())", "nats of what was fitted to"),
    Mutant(V, "torch.from_numpy(found.weights_).log()", "torch.from_numpy(found.weights_)", "weights for log weights of a fitted mixture"),
    Mutant(V, "torch.linalg.cholesky(torch.from_numpy(found.covariances_))", "torch.from_numpy(found.covariances_)", "covariances for their factors"),
    Mutant(V, "ComposedTransform(plain.transform, scaling)", "ComposedTransform(scaling, plain.transform)", "codes are scaled on the wrong side of a flow"),
    Mutant(V, "AffineTransform(self.mean, self.std, ", "AffineTransform(self.mean, self.std.square(), ", "codes are stretched by their variance"),
    Mutant(V, "(-prior().log_prob(", "(prior().log_prob(", "a flow that flees the codes"),
    Mutant(V, "if found > best:", "if True:", "the last step of a flow, not the best"),
    Mutant(V, "centred.mT @ centred / len(scaled)", "centred.mT @ centred", "the normal that is compared with is too wide"),
    # what a model is compared with
    Mutant(N, "vectors[:, kept] * squares[kept].rsqrt()", "vectors[:, kept]", "axes of a linear code that are not of length 1"),
    Mutant(N, "squares.flip(0), vectors.flip(1)", "squares, vectors", "the last axes of a linear code first"),
    Mutant(N, "centered = images - mean", "centered = images", "axes of a linear code through the origin"),
    Mutant(N, "(columns - center) * known", "columns * known", "a probe is fitted to columns that are not centered"),
    Mutant(N, "wanted.square().sum(0)", "wanted.abs().sum(0)", "agreement over absolute values"),
    Mutant(N, ".amin(1)", ".amax(1)", "the furthest image for the nearest"),
    Mutant(N, "- 2 * a @ b.mT", "- a @ b.mT", "the two of a squared distance"),
    # more objectives
    Mutant(J, "(rate - ramp * self.capacity_nats)", "(rate - self.capacity_nats)", "a capacity that does not rise"),
    Mutant(J, "(rate - ramp * self.capacity_nats)", "(rate + ramp * self.capacity_nats)", "the sign of the capacity"),
    Mutant(J, "self.capacity_nats).abs()", "self.capacity_nats).clamp(min=0)", "a rate below the capacity is free"),
    Mutant(J, "self.weight * (rate - ramp", "(rate - ramp", "the weight of the distance from the capacity"),
    Mutant(J, "(self.weight - 1) * ramp * correlation", "self.weight * ramp * correlation", "the one of total correlation that the rate has already"),
    Mutant(J, "(self.weight - 1) * ramp * correlation", "(self.weight - 1) * correlation", "a total correlation that does not come slowly"),
    Mutant(J, "distortion + rate + (self.weight", "distortion + rate - (self.weight", "the sign of the total correlation"),
    Mutant(J, "_, correlation, _ = decomposition", "correlation, _, _ = decomposition", "the information for the total correlation"),
    Mutant(J, "pairs.sum(-1).logsumexp(1) - log_count", "pairs.sum(-1).logsumexp(1)", "a sum of posteriors for their mean, of all dimensions"),
    Mutant(J, "(pairs.logsumexp(1) - log_count).sum(-1)", "pairs.logsumexp(1).sum(-1) - log_count", "one constant for all dimensions"),
    Mutant(J, "(pairs.logsumexp(1) - log_count)", "(pairs.logsumexp(0) - log_count)", "all codes under one posterior, dimension by dimension"),
    Mutant(J, "log_qz - log_product, log_product", "log_product - log_qz, log_product", "the sign of the total correlation in the rate"),
    Mutant(J, "/ (count * (count - 1))", "/ count**2", "pairs that are not counted divide an MMD"),
    Mutant(J, "pairs.sum() - pairs.diagonal().sum()", "pairs.sum()", "pairs of a row with itself in an MMD"),
    Mutant(J, "- pairs.diagonal().sum()", "- 2 * count * len(_KERNEL_SCALES)", "the rows of one noise are compared across"),
    Mutant(J, "- kernel(z, draws) - kernel(draws, z)", "- kernel(z, draws)", "half of what is across in an MMD"),
    Mutant(J, "kernel(z, z) + kernel(draws, draws)", "kernel(z, z) - kernel(draws, draws)", "a sign in an MMD"),
    Mutant(J, "2 * size * s / (2 * size * s + squares)", "size * s / (size * s + squares)", "the width of the kernel"),
    Mutant(J, "self.weight * ramp * mmd_squared", "self.weight * mmd_squared", "an MMD that does not come slowly"),
    Mutant(J, "apart + self.beta * ramp * rate", "apart + self.beta * rate", "the rate beside an MMD does not come slowly"),
    Mutant(J, "level.pz.from_noise(inference.noise)", "level.qz.from_noise(inference.noise)", "codes are compared with themselves"),
    Mutant(J, "0.5 * self.code_l2", "self.code_l2", "the half of the length of codes"),
    Mutant(J, "distortion + 0.5 * self.code_l2", "distortion - 0.5 * self.code_l2", "long codes are cheap"),
    # codes that are words
    Mutant(Q, ".mT).argmax(-1)", ".mT).argmin(-1)", "the farthest vector"),
    Mutant(Q, "unit = F.normalize(features, dim=-1)\n", "unit = features\n", "features are not brought to length 1"),
    Mutant(Q, "unit + (chosen - unit).detach()", "unit + (chosen - unit)", "no gradient passes the choice"),
    Mutant(Q, "unit + (chosen - unit).detach()", "chosen + (unit - chosen).detach()", "the features for their vectors"),
    Mutant(Q, "(unit - chosen.detach()).square()", "(unit.detach() - chosen).square()", "a commitment that moves nothing"),
    Mutant(Q, "(unit - chosen.detach()).square()", "(unit + chosen.detach()).square()", "a commitment to the opposite vector"),
    Mutant(Q, "self.commitment * squares.sum(-1)", "self.commitment * squares.mean(-1)", "a commitment that is a mean over cells"),
    Mutant(Q, "self.uses.lerp_(uses, 1 - _KEEP)", "self.uses.lerp_(uses, _KEEP)", "uses keep what they should forget"),
    Mutant(Q, "self.sums.lerp_(sums, 1 - _KEEP)", "self.sums.lerp_(sums, _KEEP)", "vectors keep what they should forget"),
    Mutant(Q, "_KEEP = 0.99 ", "_KEEP = 0.9 ", "how long a codebook remembers"),
    Mutant(Q, "F.normalize(features.detach(), dim=-1).flatten(0, -2)", "features.detach().flatten(0, -2)", "long features weigh more in a vector"),
    Mutant(Q, "        self._revive()\n", "", "vectors that nobody uses stay"),
    Mutant(Q, "< _DEAD_SHARE *", "> _DEAD_SHARE *", "vectors that are used are taken for dead"),
    Mutant(Q, "descending=True", "descending=False", "dead vectors go to where few are"),
    Mutant(Q, "self.uses[often] /= 2\n", "self.uses[often] /= 1\n", "who shares its features keeps its count"),
    Mutant(Q, "self.sums[often] + aside", "self.sums[often]", "vectors come back on top of others"),
    Mutant(Q, "(self.levels - 1) * (1 + 1e-3) / 2", "self.levels * (1 + 1e-3) / 2", "the half width of levels"),
    Mutant(Q, "(self.levels % 2 == 0)", "(self.levels % 2 == 1)", "odd levels are shifted, not even ones"),
    Mutant(Q, "(features + self.shift)", "(features - self.shift)", "the sign of the shift of even levels"),
    Mutant(Q, ".masked_fill(self.levels == 2, 0.0)", "", "two levels of which one is never used"),
    Mutant(Q, "self._half() - self._offset()", "self._half()", "even levels that reach beyond"),
    Mutant(Q, "self._rounded(bounded) - bounded).detach()", "self._rounded(bounded) - bounded)", "no gradient passes the rounding"),
    Mutant(Q, "bounded + (self._rounded(bounded) - bounded).detach()", "bounded", "nothing is rounded"),
    Mutant(Q, "torch.maximum(bounded.round(), -(self.levels // 2))", "bounded.round()", "a level below the lowest of many"),
    Mutant(Q, "(self.levels - 1) // 2)\n", "self.levels)\n", "a level above the highest of many"),
    Mutant(Q, "setdefault(f\"{prefix}shift\", self._shift_of_the_paper())", "setdefault(f\"{prefix}shift\", self.shift)", "old runs of two levels have other codes"),
    Mutant(Q, "math.prod(levels[:i])", "math.prod(levels[i + 1 :])", "the places of digits, from the other end"),
    Mutant(Q, ".flatten(2).mT.contiguous()", ".flatten(2).reshape(len(features), -1, self.quantiser.size)", "cells that mix their neighbours"),
    Mutant(Q, "return self._of(qz.features)", "return qz", "words of the codebook before it moved"),
    Mutant(Q, "self.logits[: words.shape[1]].log_softmax(-1)", "self.logits[: words.shape[1]].log_softmax(0)", "frequencies of words that sum to one over cells"),
    Mutant(Q, "before = torch.cat([first, words[:, :-1]], dim=1)", "before = words", "a word is told itself"),
    Mutant(Q, "before = torch.cat([first, words[:, :-1]], dim=1)", "before = torch.cat([first, words[:, 1:]], dim=1)", "a word is told itself, but for the first"),
    Mutant(Q, "mask=mask, is_causal=True)", "mask=None, is_causal=False)", "a word is told those after it"),
    Mutant(Q, " + self.places[:count], mask", ", mask", "words that do not know where they are"),
    Mutant(Q, "self.words.num_embeddings - 1", "0", "the first word stands before the first word"),
    Mutant(Q, "each.sum((-2, -1))", "each.mean((-2, -1))", "log p(words) is a mean over cells"),
    Mutant(Q, "self.words.log_probs(words[:, : place + 1])", "self.words.log_probs(0 * words[:, : place + 1])", "words are drawn without those before them"),
    Mutant(Q, "[:, place].exp().cumsum(-1)", "[:, 0].exp().cumsum(-1)", "all cells have the frequencies of the first"),
    # what is told
    Mutant(C, "draws[:, :1] >= _HIDE_ALL", "draws[:, :1] < _HIDE_ALL", "nine in ten are told nothing"),
    Mutant(C, "(draws[:, 1:] >= _HIDE_EACH)", "(draws[:, :-1] >= _HIDE_EACH)", "parts are hidden together with their neighbours"),
    Mutant(C, "& (draws[:, 1:]", "| (draws[:, 1:]", "parts are hidden only where all are"),
    Mutant(C, "_HIDE_ALL, _HIDE_EACH = 0.1, 0.1", "_HIDE_ALL, _HIDE_EACH = 0.1, 0.2", "how often a part is hidden"),
    Mutant(C, "/ (condition.high - condition.low)", "/ condition.high", "numbers that do not reach one"),
    Mutant(C, "(values[known] - condition.low)", "values[known]", "numbers that do not begin at zero"),
    Mutant(C, "part[known, -1] = 1", "part[:, -1] = 1", "what is not known is said to be"),
    Mutant(M, "_told(z, condition).flatten(0, -2)", "_told(z, None).flatten(0, -2)", "the decoder is told nothing"),
    Mutant(M, "self._told(self._through(self.encoder, x), condition)", "self._told(self._through(self.encoder, x), None)", "the encoder is told nothing"),
    Mutant(M, "self.prior(self, batch.condition)", "self.prior(self)", "the prior is told nothing"),
    Mutant(M, "None if prior is None else prior(self, condition)", "None if prior is None else prior(self)", "what is drawn from is told nothing"),
    Mutant(M, "source.from_noise(noise), condition)", "source.from_noise(noise), None)", "the decoder of samples is told nothing"),
    Mutant(M, "self.prior if self.fitted_prior is None else self.fitted_prior", "self.prior", "what was fitted is not drawn from"),
    Mutant(M, "qz = self.posterior.renewed(qz)", "pass", "words of the codebook before it moved, in training"),
    Mutant(M, "(self.decoder_l2 * squares).expand(count)", "(self.decoder_l2 * squares / count).expand(count)", "a penalty of weights that is divided by the batch"),
    Mutant(M, "p.square().sum() for p", "p.square().mean() for p", "a penalty of weights that is a mean"),
    Mutant(M, "= qz.commitment", "= -qz.commitment", "the sign of the commitment"),
    Mutant(E, "_conditions_of(pixels, start, len(x))", "_conditions_of(pixels, 0, len(x))", "all images are told what the first ones are"),
    Mutant(E, "self.model.decode(level.qz.mean, batch.condition).picture", "self.model.decode(level.qz.mean).picture", "pictures of a decoder that is told nothing"),
    Mutant(E, "abs(rate - row.capacity_nats)", "(rate - row.capacity_nats)", "a loss that sinks below the capacity"),
    Mutant(E, "row.capacity_weight * abs(", "abs(", "a loss without the weight of the capacity"),
    Mutant(E, "return -bound", "return bound", "the sign of the bound as a loss"),
    Mutant(E, "return distortion + row.beta * rate", "return distortion + rate", "a loss without β"),
    Mutant("system/machine_load", "sum(shares) - own", "sum(shares) + own", "a load that counts this process twice"),
    Mutant("system/machine_load", "self.cores - self.taken_cores", "self.cores + self.taken_cores", "a training that takes the cores of others"),
]
# fmt: on

#: The tests of the formulas, the ones that take longest last.
TESTS = [
    *(
        "model/objectives",
        "model/latent_model",
        "model/priors",
        "model/distributions",
        "model/pixel_discrete",
        "model/reference",
        "model/likelihoods",
        "model/linear_gaussian",
    ),
    *(
        "evaluation/aggregate_posterior",
        "evaluation/ssim",
        "evaluation/frechet",
        "evaluation/metrics",
        "data/binarize",
        "model/published_mistakes",
        "model/likelihoods_in_runs",
    ),
    *("latent/directions", "latent/traversal", "evaluation/anomaly", "evaluation/disentanglement"),
    *(
        "model/flows",
        "model/quantizers",
        "model/recipe_pages",
        "model/conditioning",
        "latent/fit_prior",
        "evaluation/baselines",
    ),
]
#: Tests where a mistake in a module is likeliest to show, beside the reference.
LIKELIEST = {
    D: ["model/distributions", "model/priors", "model/flows"],
    G: ["model/distributions"],
    B: ["model/pixel_discrete"],
    K: ["model/likelihoods"],
    H: ["model/likelihoods", "model/likelihoods_in_runs"],
    P: ["model/priors", "model/flows"],
    J: ["model/objectives", "model/linear_gaussian", "model/recipe_pages"],
    M: ["model/latent_model", "model/linear_gaussian", "model/quantizers", "model/recipe_pages"],
    E: ["evaluation/metrics", "model/published_mistakes"],
    A: ["evaluation/aggregate_posterior"],
    S: ["evaluation/ssim"],
    T: ["evaluation/frechet"],
    Z: ["data/binarize"],
    W: ["latent/directions"],
    X: ["evaluation/anomaly"],
    F: ["evaluation/disentanglement"],
    Q: ["model/quantizers"],
    C: ["model/conditioning"],
    L: ["model/flows"],
    V: ["latent/fit_prior"],
    N: ["evaluation/baselines"],
    "config/steps": ["training/schedules"],
    "training/schedules": ["training/schedules"],
    "latent/ops": ["latent/ops", "latent/traversal"],
    "latent/neighbours": ["latent/neighbours", "latent/traversal"],
    "latent/traversal": ["latent/traversal"],
    "pixels/sizes": ["pixels/sizes"],
    "system/machine_load": ["system/machine_load"],
    "system/rng": ["system/rng"],
}


def source_of(module: str, root: Path = ROOT) -> Path:
    return root / "src" / "vaekit" / f"{module}.py"


def mutated(text: str, mutant: Mutant) -> str:
    """The source with the one mistake; the text that it replaces must occur exactly once."""
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        raise SystemExit(f"{mutant.module}: {text.count(mutant.old)} times, not once: {mutant.old!r}")
    changed = text.replace(mutant.old, mutant.new)
    ast.parse(changed)
    return changed


def main() -> int:
    options = _options()
    chosen = [m for m in MUTANTS if options.only.lower() in " ".join(m).lower()]
    for mutant in chosen:
        mutated(source_of(mutant.module).read_text(encoding="utf-8"), mutant)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        found = _run_all(chosen, Path(folder), options.jobs)
    rows = [{**mutant._asdict(), "caught_by": test} for mutant, test in zip(chosen, found, strict=True)]
    survived = [row for row in rows if row["caught_by"] is None]
    print(f"{len(rows) - len(survived)} of {len(rows)} mutants caught in {time.monotonic() - started:.0f} s")
    if not options.only:
        _write({**_summary(rows), "seconds": round(time.monotonic() - started), "jobs": options.jobs, "table": rows})
    return 1 if survived else 0


def _run_all(mutants: Sequence[Mutant], folder: Path, jobs: int) -> list[str | None]:
    """What caught each mutant. The package as it is comes first, and must pass."""
    context = multiprocessing.get_context("forkserver")  # each has a process of its own, torch is imported once
    context.set_forkserver_preload(PRELOADED)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    unchanged = folder / "unchanged"
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, unchanged / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", unchanged)
    found: list[str | None] = []
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        broken = pool.submit(_first_failure, None, unchanged).result()
        if broken:
            raise SystemExit(f"without any mutant {broken} fails")
        for mutant, test in zip(mutants, pool.map(_caught_by, mutants, [unchanged] * len(mutants)), strict=True):
            print(f"{'SURVIVED' if test is None else 'caught  '} {mutant.module}: {mutant.breaks} [{test}]", flush=True)
            found.append(test)
    return found


def _caught_by(mutant: Mutant, unchanged: Path) -> str | None:
    """The first test that fails on a copy of the package with this mistake, or None."""
    with tempfile.TemporaryDirectory(dir=unchanged.parent) as folder:
        copy = Path(folder)
        # With what is compiled already, but for the module that changes: by its time it might be taken for current.
        shutil.copytree(
            unchanged, copy, ignore=shutil.ignore_patterns(f"{Path(mutant.module).name}.*.pyc"), dirs_exist_ok=True
        )
        source = source_of(mutant.module, copy)
        source.write_text(mutated(source.read_text(encoding="utf-8"), mutant), encoding="utf-8")
        return _first_failure(mutant, copy)


def _first_failure(mutant: Mutant | None, folder: Path) -> str | None:
    """The first test that fails on the package in ``folder``."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.dont_write_bytecode = False  # the copy without a mutant is compiled for all others
    sys.path.insert(0, str(folder / "src"))
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    failed = _tested(_ordered(mutant), folder)
    os.chdir(ROOT)
    return failed


def _tested(files: list[str], folder: Path) -> str | None:
    import pytest

    import vaekit

    assert Path(vaekit.__file__).is_relative_to(folder), "the tests would see another package"
    watch = _Watch()
    words = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        code = pytest.main([*words, *files], plugins=[watch])
    if watch.uncollected or code not in (0, 1):
        raise RuntimeError(f"no tests were run: {watch.uncollected or code}")
    return watch.failed


class _Watch:
    """What pytest says of the first failure."""

    failed: str | None = None
    uncollected: str | None = None

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.uncollected = f"{report.nodeid}: {report.longrepr}"

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def _ordered(mutant: Mutant | None) -> list[str]:
    """The files of tests, those likeliest to notice first."""
    first = [*LIKELIEST[mutant.module], "model/reference"] if mutant else []
    names = [name.partition("/") for name in dict.fromkeys([*first, *TESTS])]
    return [f"tests/{folder}/test_{name}.py" for folder, _, name in names]


def _too_long(*_: object) -> None:
    raise TimeoutError(f"a mutant that takes more than {SECONDS} s")


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    caught = [row for row in rows if row["caught_by"]]
    return {
        "mutants": len(rows),
        "caught": len(caught),
        "survived": len(rows) - len(caught),
        "by_module": dict(Counter(row["module"] for row in rows)),
        "by_test_file": dict(Counter(row["caught_by"].partition("::")[0] for row in caught).most_common()),
    }


def _write(result: dict[str, Any]) -> None:
    sys.path.insert(0, str(ROOT / "bench"))
    from machine import describe

    partial = RESULT.with_suffix(".json.part")
    text = json.dumps({**result, "machine": describe()}, indent=2, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, RESULT)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose row has this text; writes nothing")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
