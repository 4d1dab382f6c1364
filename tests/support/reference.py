"""A slow second implementation of all numbers from the papers, in numpy and scipy, float64, without importing vaekit.

A :class:`Net` is a dense variational autoencoder, given by its weights under the names of a ``state_dict``. Choices of
vaekit that are not in a paper (the initial scale, its range, the order of outputs) are repeated here. Arrays are
``[K, B, ...]`` for K samples of B images, as in ``docs/numbers.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, special, stats

__all__ = [
    "Net",
    "code",
    "divergence",
    "free_bits",
    "importance_weighted_bound",
    "log_prior",
    "log_px",
    "log_px_map",
    "log_qz",
    "moments_after",
    "output_of",
    "picture",
    "posterior",
]

Array = np.ndarray

ROUNDING = 1 / (255 * math.sqrt(12))  # the standard deviation of a uniform error that is a level wide
#: Smallest and largest learned scale, on the [0, 1] scale.
SCALES = {
    "normal": (ROUNDING, math.inf),
    "laplace": (ROUNDING / math.sqrt(2), math.inf),
    "discretized-logistic": (math.exp(-7) / 2, math.exp(2)),
    "discretized-normal": (math.exp(-7) / 2, math.exp(2)),
    "discretized-logistic-mixture": (math.exp(-7) / 2, math.exp(2)),
}
LAWS: dict[str, Any] = {"discretized-logistic": stats.logistic, "discretized-normal": stats.norm}


@dataclass(frozen=True)
class Net:
    """Weights and the names of the parts."""

    weights: Mapping[str, Array]
    shape: tuple[int, int, int]
    likelihood: str = "normal"
    scale: str = "shared"
    fixed_scale: float = 0.5**0.5
    mean: str = "linear"
    components: int = 10
    prior: str = "standard-normal"
    std_gain: float = 1.0


# Networks


def dense(x: Array, net: Net, part: str) -> Array:
    """Apply the layers of one part, with a ReLU between any two."""
    numbers = sorted({int(name.split(".")[1]) for name in net.weights if name.startswith(part + ".")})
    for number in numbers:
        x = np.maximum(x, 0) if number != numbers[0] else x
        x = x @ net.weights[f"{part}.{number}.weight"].T + net.weights[f"{part}.{number}.bias"]
    return x


def posterior(net: Net, x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation ``[B, L]`` of q(z|x); without a spread (an autoencoder) that is 0."""
    features = np.maximum(dense(x.reshape(len(x), -1), net, "encoder"), 0)
    mean, log_std = (
        features @ net.weights[f"posterior.{name}.weight"].T + net.weights[f"posterior.{name}.bias"]
        if f"posterior.{name}.weight" in net.weights
        else np.full(1, -np.inf)
        for name in ("mean", "log_std")
    )
    return mean, np.exp(net.std_gain * log_std) * np.ones_like(mean)


def code(net: Net, x: Array, noise: Array) -> Array:
    """z = μ + σ ε (Kingma & Welling 2014, Eq. 10) ``[K, B, L]``."""
    mean, std = posterior(net, x)
    return mean + std * noise


def output_of(net: Net, z: Array) -> Array:
    """Return the output of the decoder ``[..., outputs, H, W]``."""
    return dense(z, net, "decoder").reshape(*z.shape[:-1], -1, *net.shape[1:])


# Latents


def log_qz(net: Net, x: Array, z: Array) -> Array:
    """log q(z|x) ``[K, B]``."""
    mean, std = posterior(net, x)
    return stats.norm.logpdf(z, mean, std).sum(-1)


def prior_moments(net: Net) -> tuple[Array, Array]:
    """Mean and covariance of p(z); a fitted one has a millionth of the sum of its variances on the diagonal."""
    size = len(net.weights["posterior.mean.bias"])
    if net.prior == "standard-normal":
        return np.zeros(size), np.eye(size)
    covariance = net.weights["prior.covariance"]
    return net.weights["prior.mean"], covariance + 1e-6 * np.trace(covariance) * np.eye(size)


def log_prior(net: Net, z: Array) -> Array:
    """log p(z) ``[K, B]``."""
    return stats.multivariate_normal(*prior_moments(net)).logpdf(z).reshape(z.shape[:-1])


def divergence(net: Net, x: Array) -> Array:
    """KL(q‖p) per dimension ``[B, L]``: of q_i from p(z_i | z_<i), averaged over z_<i under q (the chain rule).

    p(z_i | z_<i) has the mean of a regression on z_<i (Bishop 2006, Eq. 2.81 and 2.82). KL of two normals: log σ₂/σ₁ +
    (σ₁² + (μ₁ − μ₂)²) / 2σ₂² − ½ (Kingma & Welling 2014, Appendix B, for σ₂ = 1 and μ₂ = 0).
    """
    mean, std = posterior(net, x)
    center, covariance = prior_moments(net)
    kl = np.empty_like(mean)
    for i in range(mean.shape[1]):
        slope = np.linalg.solve(covariance[:i, :i], covariance[:i, i])
        variance = covariance[i, i] - covariance[i, :i] @ slope
        expected = center[i] + (mean[:, :i] - center[:i]) @ slope
        distance = (mean[:, i] - expected) ** 2 + std[:, :i] ** 2 @ slope**2
        ratio = (std[:, i] ** 2 + distance) / (2 * variance)
        kl[:, i] = 0.5 * np.log(variance) - np.log(std[:, i]) + ratio - 0.5
    return kl


def moments_after(batches: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return mean and covariance of a fitted prior that started as N(0, I), after some batches of posteriors.

    The n-th batch has the weight 10 / (n + 10), but at least a hundredth.
    """
    size = batches[0][0].shape[1]
    mean, covariance = np.zeros(size), np.eye(size)
    for n, (means, stds) in enumerate(batches, start=1):
        new = max(10 / (n + 10), 0.01)
        mean = (1 - new) * mean + new * np.mean(means, axis=0)
        about = [np.outer(m - mean, m - mean) + np.diag(s**2) for m, s in zip(means, stds, strict=True)]
        covariance = (1 - new) * covariance + new * np.mean(about, axis=0)
    return mean, covariance


# Likelihoods


def log_px_map(net: Net, output: Array, x: Array) -> Array:
    """log p(x|z) per pixel value ``[..., C, H, W]``, of each channel given those before it."""
    if net.likelihood == "bernoulli":
        return stats.bernoulli.logpmf(np.rint(x).astype(int), special.expit(output))
    if net.likelihood == "continuous-bernoulli":
        return _log_continuous_bernoulli(special.expit(output), x)
    if net.likelihood == "categorical":
        return _log_categorical(output, x)
    if net.likelihood == "discretized-logistic-mixture":
        joint = special.logsumexp(_log_components(net, output, x), axis=-4)  # [..., C, H, W], of channels up to this
        return np.diff(joint, axis=-3, prepend=0)
    location, scale = _location_and_scale(net, output)
    if net.likelihood == "normal":
        return stats.norm.logpdf(x, location, scale)
    if net.likelihood == "laplace":
        return -np.abs(x - location) / scale - np.log(2 * scale)  # scipy has the logarithm of what is 0 far away
    return _log_bin(LAWS[net.likelihood], x, location, scale)


def log_px(net: Net, output: Array, x: Array) -> Array:
    """log p(x|z) per image ``[...]``."""
    return log_px_map(net, output, x).sum((-3, -2, -1))


def picture(net: Net, output: Array) -> Array:
    """The mean of the likelihood as an image in [0, 1]."""
    if net.likelihood == "bernoulli":
        return special.expit(output)
    if net.likelihood == "continuous-bernoulli":
        chance = special.expit(output)  # Loaiza-Ganem & Cunningham 2019, Eq. 8
        return chance / (2 * chance - 1) + 1 / (2 * np.arctanh(1 - 2 * chance))
    if net.likelihood == "categorical":
        values = np.arange(256) / 255
        return np.einsum("v,...vchw->...chw", values, special.softmax(_by_value(output), axis=-4))
    if net.likelihood == "discretized-logistic-mixture":
        return _mixture_picture(net, output)
    location, scale = _location_and_scale(net, output)
    if net.likelihood in LAWS:
        return _clamped_mean(special.expit if net.likelihood.endswith("logistic") else special.ndtr, location, scale)
    return np.clip(location, 0, 1)


def _location_and_scale(net: Net, output: Array) -> tuple[Array, Array]:
    channels = net.shape[0]
    smallest, largest = SCALES[net.likelihood]
    if net.scale == "pixel":  # the second half of the outputs, beginning at a quarter
        scale = np.clip(0.25 * np.exp(output[..., channels:, :, :]), smallest, largest)
    elif net.scale == "shared":  # the stored number is a tenth of the logarithm
        scale = np.clip(np.exp(10 * net.weights["likelihood.free_log_scale"]), smallest, largest)
    else:
        scale = np.array(net.fixed_scale)
    location = output[..., :channels, :, :]
    return special.expit(location) if net.mean == "sigmoid" else location + 0.5, scale


def _log_continuous_bernoulli(chance: Array, x: Array) -> Array:
    """C(λ) λˣ (1 − λ)¹⁻ˣ with C = 2 artanh(1 − 2λ) / (1 − 2λ) (Loaiza-Ganem & Cunningham 2019, Eq. 6 and 7)."""
    constant = 2 * np.arctanh(1 - 2 * chance) / (1 - 2 * chance)
    return np.log(constant) + x * np.log(chance) + (1 - x) * np.log(1 - chance)


def _by_value(output: Array) -> Array:
    """``[..., 256 C, H, W]`` → ``[..., 256, C, H, W]``."""
    return output.reshape(*output.shape[:-3], 256, -1, *output.shape[-2:])


def _log_categorical(output: Array, x: Array) -> Array:
    chances = special.log_softmax(_by_value(output), axis=-4)
    is_value = np.rint(255 * x)[..., None, :, :, :] == np.arange(256).reshape(256, 1, 1, 1)
    return np.where(is_value, chances, 0).sum(-4)


def _log_bin(law: Any, x: Array, location: Array, scale: Array) -> Array:
    """Return the log of the mass between (v − ½)/255 and (v + ½)/255; 0 includes all below, 255 all above.

    The difference of two distribution functions is computed in the tail where both are small.
    """
    byte = np.rint(255 * x)
    low = np.where(byte == 0, -np.inf, (byte - 0.5) / 255)
    high = np.where(byte == 255, np.inf, (byte + 0.5) / 255)
    below = _log_difference(law.logcdf(high, location, scale), law.logcdf(low, location, scale))
    above = _log_difference(law.logsf(low, location, scale), law.logsf(high, location, scale))
    return np.where(x > location, above, below)


def _log_difference(log_a: Array, log_b: Array) -> Array:
    """Return log(a − b); in the tail that is not used, it may be 1 − 1."""
    with np.errstate(divide="ignore"):
        return log_a + np.log1p(-np.exp(log_b - log_a))


def _mixture(net: Net, output: Array) -> tuple[Array, Array, Array, Array]:
    """Log weights ``[..., K, 1, H, W]``, locations and scales ``[..., K, C, H, W]``, coefficients ``[..., K, 3, H, W]``

    or none. The outputs are, in this order, logits, locations, log scales, coefficients; locations begin in the middle
    of K equal parts of [0, 1], scales at a tenth.
    """
    count, channels = net.components, net.shape[0]
    grid, lead = output.shape[-2:], output.shape[:-3]
    cuts = np.cumsum([count, count * channels, count * channels])
    logits, location, log_scale, coefficients = np.split(output, cuts, axis=-3)
    middle = np.array([(k + 0.5) / count for k in range(count)]).reshape(count, 1, 1, 1)
    smallest, largest = SCALES[net.likelihood]
    return (
        special.log_softmax(logits, axis=-3)[..., None, :, :],
        location.reshape(*lead, count, channels, *grid) + middle,
        np.clip(0.1 * np.exp(log_scale.reshape(*lead, count, channels, *grid)), smallest, largest),
        np.tanh(coefficients.reshape(*lead, count, -1, *grid)),
    )


def _followed(location: Array, coefficients: Array, seen: Array) -> Array:
    """Return locations given the earlier colors ``seen``, both on [−1, 1] (Salimans et al. 2017, Eq. 3)."""
    if not coefficients.shape[-3]:
        return location
    alpha, beta, gamma = (coefficients[..., i, :, :] for i in range(3))
    red, green = seen[..., 0, :, :], seen[..., 1, :, :]
    mu = np.array(np.broadcast_to(location, np.broadcast_shapes(location.shape, (*seen.shape[:-3], 1, 1, 1))))
    mu[..., 1, :, :] += alpha * red
    mu[..., 2, :, :] += beta * red + gamma * green
    return mu


def _log_components(net: Net, output: Array, x: Array) -> Array:
    """log πₖ Π of the channels up to each ``[..., K, C, H, W]`` (Salimans et al. 2017, Eq. 2), on their [−1, 1]."""
    log_weight, location, scale, coefficients = _mixture(net, output)
    x = np.broadcast_to(x, (*output.shape[:-3], *x.shape[-3:]))[..., None, :, :, :]
    mu = _followed(2 * location - 1, coefficients, 2 * x - 1)
    bins = _log_bin(stats.logistic, x, (mu + 1) / 2, scale)
    return log_weight + np.cumsum(bins, axis=-3)


def _mixture_picture(net: Net, output: Array) -> Array:
    """Return the mean over components. The mean of a single channel is an integral. Green is summed over the 256 values
    of red, and blue over the 256 × 256 values of both."""
    log_weight, location, scale, coefficients = _mixture(net, output)
    means = _clamped_mean(special.expit, location, scale)
    if coefficients.shape[-3]:
        parts = (location[..., :3, :, :], scale[..., :3, :, :], coefficients)
        columns = (np.moveaxis(each, -3, -1).reshape(-1, 3) for each in parts)
        colors = np.array([_green_and_blue(*row) for row in zip(*columns, strict=True)])
        means[..., 1:3, :, :] = np.moveaxis(colors.reshape(*location.shape[:-3], *location.shape[-2:], 2), -1, -3)
    return (np.exp(log_weight) * means).sum(-4)


def _green_and_blue(location: Array, scale: Array, coefficients: Array) -> tuple[float, float]:
    """The means of green and blue of one component, its parts ``[3]`` each, by sums over all values."""
    values = np.arange(256) / 255
    seen = 2 * values - 1
    alpha, beta, gamma = coefficients
    red = np.exp(_log_bin(stats.logistic, values, location[0], scale[0]))  # [red]
    green_at = location[1] + alpha * seen[:, None] / 2
    green = np.exp(_log_bin(stats.logistic, values, green_at, scale[1]))  # [red, green]
    blue_at = location[2] + (beta * seen[:, None] + gamma * seen) / 2
    blue = scale[2] * (np.logaddexp(0, blue_at / scale[2]) - np.logaddexp(0, (blue_at - 1) / scale[2]))
    return red @ green @ values, red @ (green * blue).sum(1)


def _clamped_mean(cdf: Callable[[float], float], location: Array, scale: Array) -> Array:
    """E[min(max(X, 0), 1)] = ∫₀¹ P(X > t) dt, by quadrature; the integrand falls within some scales of the location."""

    def one(m: float, s: float) -> float:
        inner = [t for t in (m - 30 * s, m - 5 * s, m, m + 5 * s, m + 30 * s) if 0 < t < 1]
        ends = [0.0, *inner, 1.0]
        parts = zip(ends[:-1], ends[1:], strict=True)
        return sum(integrate.quad(lambda t: cdf((m - t) / s), a, b, epsabs=1e-13)[0] for a, b in parts)

    return np.vectorize(one)(location, scale)


# Bounds


def free_bits(kl: Array, allowance: float) -> float:
    """Σ over dimensions of max(λ, the mean over the batch) (Kingma et al. 2016, Eq. 15)."""
    return float(np.maximum(allowance, np.mean(kl, axis=0)).sum())


def importance_weighted_bound(log_px: Array, log_pz: Array, log_qz: Array) -> Array:
    """log 1/K Σₖ p(x, zₖ) / q(zₖ|x) of ``[K, B]`` (Burda et al. 2015, Eq. 8) ``[B]``."""
    return special.logsumexp(log_px + log_pz - log_qz, axis=0, b=1 / len(log_px))
