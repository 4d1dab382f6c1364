"""Images that a model finds unlike those it was trained on: scores, a threshold with a promise, and maps.

    score       a column of what was measured on each image, turned so that more is stranger:
                sse, distortion_nats, rate_nats, and −elbo_nats as ``negative_elbo_nats``
    threshold   the k-th smallest score of n held-out normal images, k = ⌈(n + 1)(1 − α)⌉: a further one exceeds it
                with a probability of at most α (Vovk et al. 2005; Angelopoulos & Bates 2023, Eq. 1 and Theorem 1)
    map         −log p(x|z) per pixel, summed over channels, z the posterior mean

The promise is one of an average over sets of n images that come as the further image comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import to_float
from vaekit.errors import NotFinite, UserError, argument, nearest
from vaekit.model.latent_model import LatentModel

__all__ = ["SCORES", "check_score", "coloured", "found_among", "heat_maps", "scores_of", "separation", "threshold_of"]

#: name of a score: the column it comes from, and its sign
SCORES = {
    "negative_elbo_nats": ("elbo_nats", -1.0),
    "distortion_nats": ("distortion_nats", 1.0),
    "rate_nats": ("rate_nats", 1.0),
    "sse": ("sse", 1.0),
}


def check_score(name: str | None, has_density: bool) -> str:
    """The score to judge by, by default the negative bound, of an autoencoder the squared error."""
    known = list(SCORES) if has_density else ["distortion_nats", "sse"]
    if name is None:
        return "negative_elbo_nats" if has_density else "sse"
    if name not in SCORES:
        raise UserError(f"by {name}: {nearest(name, known)}", "by")
    if name not in known:
        raise UserError(f"by {name}: an autoencoder has none; choose from: {', '.join(known)}", "by")
    return name


def scores_of(columns: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Every score of N images, float64 ``[N]``, from the columns of :func:`vaekit.evaluation.metrics.measure`.

    Raises :class:`UserError` for a score that is not a number: it would be above no threshold.
    """
    scores = {name: sign * columns[column].numpy() for name, (column, sign) in SCORES.items() if column in columns}
    for name, each in scores.items():
        if count := int(np.isnan(each).sum()):
            raise UserError(
                f"{name} of {count:,} of {len(each):,} images is not a number, so they cannot be judged; the weights "
                "may have diverged: vaekit doctor tells"
            )
    return scores


def threshold_of(normal: np.ndarray, false_alarms: float) -> float:
    """What a further normal image exceeds with a probability of at most ``false_alarms``; ``normal`` float ``[n]``.

    Raises :class:`UserError` for a probability outside (0, 1), or one that so few images cannot promise.

    >>> threshold_of(np.arange(1.0, 20.0), 0.1)  # of 19 images the 18th
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
            f"false_alarms {false_alarms:g} needs at least {needed:,} held-out normal images, there are "
            f"{len(normal):,}; use a larger rate, or more images as {argument('normal_images')}",
            "false_alarms",
        )
    return float(np.sort(normal)[place - 1])


def separation(scores: np.ndarray, is_anomalous: np.ndarray, threshold: float) -> dict[str, Any]:
    """How well scores ``[N]`` tell the anomalous (bool ``[N]``) from the others, both of which there are.

    ``auroc``: the probability that an anomalous image scores higher than a normal one, ties counting half. ``aupr``:
    average precision, whose value by chance is ``anomalous_fraction``. The table counts images above and up to the
    threshold.
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


def found_among(classes: Sequence[str], trained_on: Sequence[str]) -> list[str]:
    """The classes that are normal where nobody says so: those trained on, else those called good or normal.

    Empty if that leaves nothing to tell apart.

    >>> found_among(["0", "1", "2"], ["0", "1"]), found_among(["crack", "good"], []), found_among(["a", "b"], [])
    (['0', '1'], ['good'], [])
    """
    for normal in (set(trained_on), {"good", "normal"}):
        found = [name for name in classes if name in normal]
        if 0 < len(found) < len(classes):
            return found
    return []


@torch.inference_mode()
def heat_maps(model: LatentModel, pixels: Tensor, batch_size: int = 64) -> Tensor:
    """uint8 ``[N, C, H, W]`` → −log p(x|z) per pixel, nats, float32 ``[N, H, W]``; z is the posterior mean.

    Raises :class:`NotFinite` if one is not finite: it would have no color.
    """
    device = next(model.parameters()).device
    maps = []
    for some in pixels.split(model.at_once(batch_size)):
        x = to_float(some.to(device))
        maps.append(-model.decode(model.encode(x).mean).log_prob_map(x).sum(1).cpu())
    found = torch.cat(maps)
    if not bool(found.isfinite().all()):
        raise NotFinite("likelihoods of pixels")
    return found


def coloured(maps: Tensor, normal: Tensor) -> Tensor:
    """Maps ``[N, H, W]`` as pictures uint8 ``[N, 3, H, W]``, from the median of ``normal`` maps, black, to the
    brightest, which a thousandth of their pixels exceed.
    """
    import matplotlib

    flat = normal.flatten()
    flat = flat[:: max(1, len(flat) // 1_000_000)].double().sort().values
    low, high = float(flat[len(flat) // 2]), float(flat[len(flat) * 999 // 1000])
    table = torch.from_numpy(matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3].copy())
    levels = ((maps.double() - low) / max(high - low, 1e-12)).clamp(0, 1).mul(255).round().long()
    return table[levels].movedim(-1, 1).contiguous()
