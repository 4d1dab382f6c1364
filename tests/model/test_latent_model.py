"""The result of inference equals the formulas for the same noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.distributions.latent import DiagonalNormal, PointMass
from vaekit.model.distributions.pixel import NormalImage
from vaekit.model.inference import Batch, Inference, Level
from vaekit.model.latent_model import LatentModel
from vaekit.model.likelihoods import NormalHead
from vaekit.model.posteriors import NormalPosterior, PointPosterior
from vaekit.model.priors import ConditionalNormal, FittedNormal, StandardNormal

NOISE = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
X = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))


def tiny(posterior: str = "normal", prior: str = "standard") -> LatentModel:
    torch.manual_seed(0)
    head = NormalPosterior(18, 3) if posterior == "normal" else PointPosterior(18, 3)
    decoder = nn.Sequential(nn.Linear(3, 18), nn.Unflatten(1, (2, 3, 3)))
    kinds = {"standard": lambda: StandardNormal(3), "fitted": lambda: FittedNormal(3), "none": lambda: None}
    return LatentModel(nn.Flatten(), head, kinds[prior](), decoder, NormalHead("fixed", 0.3), 3)


def test_the_terms_of_an_inference_are_those_of_its_noise() -> None:
    model = tiny().eval()
    inference, qz = model.infer(Batch(X), NOISE), model.encode(X)
    z = qz.mean + qz.log_std.exp() * NOISE
    torch.testing.assert_close(inference.levels[0].z, z)
    each = torch.stack([model.decode(z[k]).log_prob(X) for k in range(5)])
    torch.testing.assert_close(inference.log_px, each)
    torch.testing.assert_close(inference.log_qz, qz.log_prob(z))
    torch.testing.assert_close(inference.log_pz, torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1))
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(qz.mean, qz.log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(inference.kl[0], kl)
    assert inference.has_density


def test_the_target_is_compared_and_the_input_is_encoded() -> None:
    model, clean = tiny().eval(), X.flip(0)
    inference = model.infer(Batch(X, clean), NOISE)
    torch.testing.assert_close(inference.levels[0].qz.mean, model.encode(X).mean)
    torch.testing.assert_close(inference.log_px, inference.px.log_prob(clean))


def test_a_posterior_without_a_formula_gives_the_sampled_divergence() -> None:
    class Shifted(LatentDistribution):
        def from_noise(self, noise: Tensor) -> Tensor:
            return 1 + noise

        def log_prob(self, z: Tensor) -> Tensor:
            return DiagonalNormal(torch.ones(3), torch.zeros(3)).log_prob(z)

    z = 1 + torch.randn(20_000, 4, 3, generator=torch.Generator().manual_seed(2))
    pz = StandardNormal(3)()
    px = NormalImage(X, torch.zeros(()))
    kl = Inference((Level(z, Shifted(), pz),), px, X, z).kl[0]
    assert kl.shape == (4, 1)
    torch.testing.assert_close(kl, torch.full((4, 1), 1.5), rtol=0, atol=4 * 3**0.5 / 20_000**0.5)


def test_levels_are_summed() -> None:
    qz, pz = DiagonalNormal(torch.ones(4, 3), torch.zeros(4, 3)), StandardNormal(3)()
    level = Level(qz.from_noise(NOISE), qz, pz)
    one, two = (Inference(levels, NormalImage(X, torch.zeros(())), X, level.z) for levels in ((level,), (level, level)))
    torch.testing.assert_close(two.log_qz, 2 * one.log_qz)
    torch.testing.assert_close(two.log_pz, 2 * one.log_pz)
    assert len(two.kl) == 2


@pytest.mark.parametrize(("posterior", "prior"), [("point", "none"), ("normal", "none"), ("point", "standard")])
def test_nothing_without_both_densities_has_a_rate(posterior: str, prior: str) -> None:
    assert not tiny(posterior, prior).eval().infer(Batch(X), NOISE).has_density


def test_an_autoencoder_ignores_the_noise() -> None:
    model = tiny("point", "none")
    inference = model.infer(Batch(X), NOISE)
    assert torch.equal(inference.levels[0].z, model.encode(X).mean.expand(5, 4, 3))
    assert isinstance(inference.levels[0].qz, PointMass) and model.prior is None


def test_decode_keeps_leading_dimensions() -> None:
    model = tiny()
    many = model.decode(NOISE).mean
    torch.testing.assert_close(many, torch.stack([model.decode(z).mean for z in NOISE]))


def test_samples_are_decoded_prior_samples() -> None:
    fitted = tiny(prior="fitted")
    assert isinstance(fitted.prior, FittedNormal)
    fitted.prior.mean.fill_(2.0)
    torch.testing.assert_close(fitted.sample(NOISE[0]).mean, fitted.decode(NOISE[0] + 2).mean)
    plain = tiny()
    assert torch.equal(plain.sample(NOISE[0]).mean, plain.decode(NOISE[0]).mean)


def test_the_fitted_prior_follows_in_training_and_holds_still_in_evaluation() -> None:
    model = tiny(prior="fitted")
    assert isinstance(model.prior, FittedNormal)
    model.eval().infer(Batch(X), NOISE)
    assert torch.equal(model.prior.mean, torch.zeros(3)) and float(model.prior.observed) == 0
    model.train().infer(Batch(X), NOISE)
    assert not torch.equal(model.prior.mean, torch.zeros(3)) and float(model.prior.observed) == 1


def test_encoder_decoder_and_prior_are_told_of_each_image() -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3 + 2, 18), nn.Unflatten(1, (2, 3, 3)))
    prior = ConditionalNormal(2, 3)
    nn.init.normal_(prior.last.weight)
    head = NormalPosterior(18 + 2, 3)
    model = LatentModel(nn.Flatten(), head, prior, decoder, NormalHead("fixed", 0.3), 3).eval()
    model.condition_size = 2
    told = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    inference = model.infer(Batch(X, condition=told), NOISE)
    level = inference.levels[0]
    torch.testing.assert_close(level.qz.mean, head(torch.cat([X.flatten(1), told], 1)).mean)
    torch.testing.assert_close(level.pz.mean, prior(None, told).mean)
    behind = torch.cat([level.z, told.expand(5, 4, 2)], -1)
    pictures = decoder(behind.flatten(0, 1)).unflatten(0, (5, 4)) + 0.5
    torch.testing.assert_close(inference.px.mean, pictures)
    nothing, zeros = model.infer(Batch(X), NOISE), model.infer(Batch(X, condition=torch.zeros(4, 2)), NOISE)
    torch.testing.assert_close(nothing.log_px, zeros.log_px)
    torch.testing.assert_close(nothing.kl, zeros.kl)
    z = prior(None, told).from_noise(NOISE[0])
    torch.testing.assert_close(model.sample(NOISE[0], told).mean, model.decode(z, told).mean)


def test_new_latents_are_drawn_from_what_was_fitted() -> None:
    model = tiny()
    model.fitted_prior = FittedNormal(3)
    model.fitted_prior.mean.fill_(2.0)
    torch.testing.assert_close(model.sample(NOISE[0]).mean, model.decode(NOISE[0] + 2).mean)
    inference = model.eval().infer(Batch(X), NOISE)
    torch.testing.assert_close(inference.levels[0].pz.mean, torch.zeros(3))


def test_the_weights_of_the_decoder_are_a_penalty_of_every_image() -> None:
    model = tiny("point", "none")
    assert not model.infer(Batch(X), NOISE).penalties
    model.decoder_l2 = 0.25
    squares = sum(p.square().sum() for p in model.decoder.parameters())
    torch.testing.assert_close(model.infer(Batch(X), NOISE).penalties["decoder_l2"], 0.25 * squares.expand(4))


def test_what_a_whole_batch_was_shown_is_not_shown_its_pieces() -> None:
    whole, pieces = tiny(prior="fitted").train(), tiny(prior="fitted").train()
    whole.infer(Batch(X), NOISE)
    pieces.observe_all(Batch(X).split(2))
    with pieces.observed():
        for piece, noise in zip(Batch(X).split(2), NOISE.split(2, 1), strict=True):
            pieces.infer(piece, noise)
    torch.testing.assert_close(pieces.prior.state_dict(), whole.prior.state_dict())
