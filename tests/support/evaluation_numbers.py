"""The names of the numbers in the evaluation of a model with a density."""

from __future__ import annotations

__all__ = ["MEANS", "NUMBERS", "OF_LATENTS", "SSIM"]

MEANS = {"sse_per_image", "psnr_db", "elbo_nats", "rate_nats", "distortion_nats", "bits_per_dim"}
SSIM = {"ssim", "ssim_error"}  #: of the verb alone: too slow after every epoch
_INFORMATION = {
    f"{name}_nats"
    for name in ("mutual_information", "mutual_information_at_least", "marginal_kl", "marginal_kl_at_most")
}
OF_LATENTS = {"active_units"} | _INFORMATION | {f"{name}_error" for name in _INFORMATION}
NUMBERS = {"images"} | MEANS | {f"{name}_error" for name in MEANS} | OF_LATENTS
