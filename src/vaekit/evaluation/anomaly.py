"""Anomaly detection: scores, a threshold with a guaranteed false alarm rate, and pixel maps.

    score       a per-image metric, with the sign chosen so that higher is more anomalous:
                sse, distortion_nats, rate_nats, and −elbo_nats as ``negative_elbo_nats``
    threshold   the k-th smallest score of n held-out normal images, k = ⌈(n + 1)(1 − α)⌉; another normal image exceeds
                it with probability at most α (Vovk et al. 2005; Angelopoulos & Bates 2023, Eq. 1 and Theorem 1)
    map         −log p(x|z) per pixel, summed over channels, with z the posterior mean

The guarantee is an average over sets of n images from the same distribution as the new image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vaekit.data import to_float
from vaekit.errors import NotFinite, UserError, argument, counted, nearest
from vaekit.model.latent_model import LatentModel

__all__ = [
    *("SCORES", "check_score", "colored", "heat_maps", "normal_classes", "scores_of", "separation", "threshold_of"),
]

#: Column and sign of each score, by name.
SCORES = {
    "negative_elbo_nats": ("elbo_nats", -1.0),
    "distortion_nats": ("distortion_nats", 1.0),
    "rate_nats": ("rate_nats", 1.0),
    "sse": ("sse", 1.0),
}


def check_score(name: str | None, has_density: bool) -> str:
    """Return the score to use: by default the negative bound, or the squared error of an autoencoder.

    Raises:
        UserError: If the score is unknown, or needs a density that the model does not have.
    """
    known = list(SCORES) if has_density else ["distortion_nats", "sse"]
    if name is None:
        return "negative_elbo_nats" if has_density else "sse"
    if name not in SCORES:
        raise UserError(f"by {name}: {nearest(name, known)}", "by")
    if name not in known:
        raise UserError(f"by {name}: not available for an autoencoder; choose from: {', '.join(known)}", "by")
    return name


def scores_of(columns: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return every score of N images, float64 ``[N]``, from the columns of :func:`vaekit.evaluation.metrics.measure`.

    Raises:
        UserError: If a score is NaN, which would not exceed any threshold.
    """
    scores = {name: sign * columns[column].numpy() for name, (column, sign) in SCORES.items() if column in columns}
    for name, values in scores.items():
        if count := int(np.isnan(values).sum()):
            raise UserError(
                f"{name} is NaN for {count:,} of {counted(len(values), 'image')}, so they cannot be judged; the "
                "weights may have diverged: run vaekit doctor"
            )
    return scores


def threshold_of(normal: np.ndarray, false_alarms: float) -> float:
    """Return a threshold that a normal image exceeds with probability at most ``false_alarms``.

    Args:
        normal: Scores of held-out normal images, float ``[n]``.
        false_alarms: Probability in (0, 1).

    Raises:
        UserError: If the probability is out of range, or too small for n images.

    >>> threshold_of(np.arange(1.0, 20.0), 0.1)  # the 18th of 19 scores
    18.0
    """
    if not 0 < false_alarms < 1:
        raise UserError(
            f"false_alarms {false_alarms:g}: expected a probability between 0 and 1, such as 0.05", "false_alarms"
        )
    place = math.ceil((len(normal) + 1) * (1 - false_alarms) - 1e-9)
    if place > len(normal):
        needed = math.ceil(1 / false_alarms - 1 - 1e-9)
        raise UserError(
            f"false_alarms {false_alarms:g} needs at least {needed:,} held-out normal images, but there are "
            f"{len(normal):,}; use a larger rate, or more images as {argument('normal_images')}",
            "false_alarms",
        )
    return float(np.sort(normal)[place - 1])


def separation(scores: np.ndarray, is_anomalous: np.ndarray, threshold: float) -> dict[str, float | dict[str, int]]:
    """Measure how well scores ``[N]`` separate anomalous images (bool ``[N]``, with both values) from normal ones.

    Returns:
        ``auroc``: probability that an anomalous image has a higher score than a normal one, with ties counting half.
        ``aupr``: average precision, whose chance level is ``anomalous_fraction``. ``confusion``: counts of images above
        the threshold (flagged) and up to it.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    flagged = scores > threshold
    return {
        "auroc": float(roc_auc_score(is_anomalous, scores)),
        "aupr": float(average_precision_score(is_anomalous, scores)),
        "anomalous_fraction": float(is_anomalous.mean()),
        "confusion": {
            "anomalous_flagged": int((flagged & is_anomalous).sum()),
            "anomalous_missed": int((~flagged & is_anomalous).sum()),
            "normal_flagged": int((flagged & ~is_anomalous).sum()),
            "normal_passed": int((~flagged & ~is_anomalous).sum()),
        },
    }


def normal_classes(classes: Sequence[str], trained_on: Sequence[str]) -> list[str]:
    """Guess the normal classes: those trained on, else those named good or normal.

    The result is empty if it would contain all classes or none.

    >>> normal_classes(["0", "1", "2"], ["0", "1"]), normal_classes(["crack", "good"], [])
    (['0', '1'], ['good'])
    >>> normal_classes(["a", "b"], [])
    []
    """
    for normal in (set(trained_on), {"good", "normal"}):
        names = [name for name in classes if name in normal]
        if 0 < len(names) < len(classes):
            return names
    return []


@torch.inference_mode()
def heat_maps(model: LatentModel, pixels: Tensor, batch_size: int = 64) -> Tensor:
    """Map uint8 images ``[N, C, H, W]`` to −log p(x|z) per pixel, with z the posterior mean.

    Returns:
        float32 ``[N, H, W]`` in nats.

    Raises:
        NotFinite: If a value is not finite, which has no color.
    """
    maps = []
    for batch in pixels.split(model.at_once(batch_size)):
        x = to_float(batch.to(model.device))
        maps.append(-model.decode(model.encode(x).mean).log_prob_map(x).sum(1).cpu())
    result = torch.cat(maps)
    if not bool(result.isfinite().all()):
        raise NotFinite("likelihoods of pixels")
    return result


def colored(maps: Tensor, normal: Tensor) -> Tensor:
    """Draw maps ``[N, H, W]`` as uint8 images ``[N, 3, H, W]``.

    Black is the median of the ``normal`` maps, and the brightest color their 99.9 % quantile.
    """
    import matplotlib

    flat = normal.flatten()
    flat = flat[:: max(1, len(flat) // 1_000_000)].double().sort().values
    low, high = float(flat[len(flat) // 2]), float(flat[len(flat) * 999 // 1000])
    table = torch.from_numpy(matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3].copy())
    levels = ((maps.double() - low) / max(high - low, 1e-12)).clamp(0, 1).mul(255).round().long()
    return table[levels].movedim(-1, 1).contiguous()
