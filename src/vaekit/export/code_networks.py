"""The networks of a model whose latents are discrete codes: image → codes int64 ``[N, rows, columns]`` → image.

Codes are compared by the share of cells with another code, because the numbers of codes have no order. A difference of
rounding can choose another code where two are almost equally near. Pictures are decoded from PyTorch's codes.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaekit.latent.codes import code_grid
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.latent_model import LatentModel
from vaekit.model.quantizers import CodePosterior, Tokens

__all__ = ["CodeDecoder", "CodeEncoder", "expected_of_codes"]


class CodeEncoder(nn.Module):
    """Image to codes."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model, self.grid = model, code_grid(model)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Encode float images ``[N, C, H, W]``."""
        qz = self.model.encode(image)
        assert isinstance(qz, Tokens)
        return (qz.tokens.unflatten(1, (self.grid.rows, self.grid.columns)),)


class CodeDecoder(nn.Module):
    """Codes to picture."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes, int64 ``[N, rows, columns]``."""
        assert isinstance(self.model.posterior, CodePosterior)
        picture: Tensor = self.model.decode(self.model.posterior.latents_of(codes)).picture
        return picture


def expected_of_codes(model: LatentModel, pz: LatentDistribution, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Return PyTorch's outputs for float images and for samples of the prior, by the names of ``check.npz``."""
    assert isinstance(model.posterior, CodePosterior)
    decode, sampled = CodeDecoder(model), model.posterior.tokens_of(pz.from_noise(noise))
    (codes,) = CodeEncoder(model)(x)
    return {
        "images": x, "codes": codes, "sampled_codes": sampled, "pictures": decode(sampled),
        "round_trips": decode(codes),
    }  # fmt: skip
