"""Eight mistakes of published VAE code, each with a test that fails if this library makes it.

Where it helps, the mistake is implemented too, and shown to be wrong.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

import vaekit
from vaekit.config.capabilities import serves
from vaekit.config.table import RECIPES, get, override
from vaekit.data import to_float
from vaekit.data.portraits.portraits import draw
from vaekit.evaluation.metrics import evaluate
from vaekit.latent import ops as edit
from vaekit.model.distributions.latent import DiagonalNormal, kl_divergence
from vaekit.model.factory import build_model
from vaekit.model.inference import Batch
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel
from vaekit.model.likelihoods import BernoulliHead, NormalHead
from vaekit.model.objectives import ELBO
from vaekit.model.posteriors import NormalPosterior
from vaekit.model.priors import FittedNormal, StandardNormal

ONE = torch.tensor(1.0)
FACES = torch.from_numpy(draw(6, 16)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def faces_model(name: str = "seed-vae") -> LatentModel:
    """A model for 16 px whose BatchNorm statistics are not those of a single batch."""
    latents = {"latent_dim": 5} if RECIPES[name].latent == "vector" else {}
    model = build_model(override(get(name), {"width": 8, **latents}), (3, 16, 16)).train()
    noise = torch.randn(1, 6, model.latent_dim, generator=torch.Generator().manual_seed(0))
    model.infer(Batch(to_float(FACES)), noise)
    return model.eval()


def posteriors(seed: int = 0) -> DiagonalNormal:
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    return DiagonalNormal(mean, log_std)


def test_mistake_1_kl_formula_mixes_std_and_log_variance() -> None:
    q = posteriors()
    p = StandardNormal(4).double()()
    std, unit = q.log_std.exp(), td.Normal(torch.zeros(4, dtype=torch.float64), 1.0)
    kl = kl_divergence(q, p)
    torch.testing.assert_close(kl, td.kl_divergence(td.Normal(q.mean, std), unit), rtol=1e-12, atol=1e-12)
    seed_b = std.square() / 2 + q.mean.square() / 2 - std.log() - 0.5
    torch.testing.assert_close(kl, seed_b, rtol=1e-12, atol=1e-12)
    wrong = -0.5 * (1 + std - q.mean.square() - std.exp())
    assert float((kl - wrong).abs().max()) > 0.1
    noise = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = q.mean[0] + std[0] * noise
    ratio = td.Normal(q.mean[0], std[0]).log_prob(z) - unit.log_prob(z)
    assert ((ratio.mean(0) - kl[0]).abs() < 4 * ratio.std(0) / math.sqrt(len(z))).all()


def test_mistake_2_the_negative_entropy_is_not_the_divergence() -> None:
    q = posteriors(2)
    negative_entropy = -td.Normal(q.mean, q.log_std.exp()).entropy().sum(-1)
    rate = kl_divergence(q, StandardNormal(4).double()()).sum(-1)
    cross_entropy = 0.5 * (q.mean.square() + (2 * q.log_std).exp() + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(rate, negative_entropy + cross_entropy, rtol=1e-12, atol=1e-12)
    assert (rate >= 0).all() and not (negative_entropy >= 0).all()
    standard = DiagonalNormal(torch.zeros(1, 4), torch.zeros(1, 4))
    assert float(kl_divergence(standard, StandardNormal(4)()).abs().sum()) == 0


class Tiled(nn.Module):
    """Decodes to a pattern repeated 2×2, because the encoder's pooling keeps only one of the four."""

    def __init__(self, times: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.times = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))), times

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z).repeat(1, 1, self.times, self.times)


@pytest.mark.parametrize("head", [NormalHead("fixed", 0.5**0.5), NormalHead("shared", 0.5), BernoulliHead()])
def test_mistake_3_the_balance_does_not_depend_on_the_size_of_the_image(head: nn.Module) -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., :4, :4].flatten(1)

    torch.manual_seed(1)
    posterior, x, noise = NormalPosterior(16, 3), torch.rand(5, 1, 4, 4).round(), torch.randn(2, 5, 3)
    terms = []
    for times in (1, 2):
        model = LatentModel(Corner(), posterior, StandardNormal(3), Tiled(times), head, 3)
        terms.append(ELBO()(model.infer(Batch(x.repeat(1, 1, times, times)), noise), ONE))
    small, large = terms
    torch.testing.assert_close(large.distortion, 4 * small.distortion, rtol=1e-5, atol=0)
    assert torch.equal(large.rate, small.rate)
    torch.testing.assert_close(large.loss, 4 * small.distortion + small.rate, rtol=1e-5, atol=0)


def test_mistake_3_terms_are_per_example_whatever_the_batch() -> None:
    model, x = faces_model(), to_float(FACES)
    noise = torch.randn(1, 6, 5)
    together = ELBO()(model.infer(Batch(x), noise), ONE).loss
    alone = [ELBO()(model.infer(Batch(x[i : i + 1]), noise[:, i : i + 1]), ONE).loss for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-3)


def test_mistake_4_the_seed_has_two_heads_of_all_dimensions_and_no_negative_std() -> None:
    with torch.device("meta"):
        model = build_model(get("seed-vae"), (3, 256, 256))
    for layer in (model.posterior.mean, model.posterior.log_std):
        assert (layer.in_features, layer.out_features) == (1024, 100)
    assert model.latent_dim == 100 and model.decoder[0].in_features == 100
    head = NormalPosterior(8, 4)
    q = head(1e3 * torch.randn(500, 8).clamp(-0.05, 0.05))
    spread = q.from_noise(torch.ones(500, 4)) - q.mean
    assert (q.log_std < 0).any() and (spread >= 0).all() and (q.log_std.exp() > 0).all()
    assert torch.equal(head.mean(torch.ones(1, 8)), head(torch.ones(1, 8)).mean)


def test_mistake_5_signs() -> None:
    """If p(x|z) does not depend on z, log p(x) is known, and the bound is lower by exactly the rate."""
    model = faces_model()
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
    x = to_float(FACES)
    inference = model.infer(Batch(x), torch.randn(3, 6, 5))
    terms = ELBO()(inference, ONE)
    exact = td.Normal(torch.sigmoid(model.decoder[-1].bias).view(3, 1, 1), 0.5**0.5).log_prob(x).sum((1, 2, 3))
    assert terms.elbo is not None and terms.rate is not None
    torch.testing.assert_close(terms.elbo, exact - terms.rate)
    torch.testing.assert_close(terms.loss, -terms.elbo)
    assert (terms.rate > 0).all() and (terms.elbo < exact).all()
    torch.testing.assert_close(terms.distortion, -exact)
    numbers = evaluate(model, FACES)
    assert numbers["elbo_nats"] < float(exact.mean().detach())
    assert numbers["distortion_nats"] == pytest.approx(-float(exact.mean().detach()), rel=1e-5)
    assert numbers["rate_nats"] == pytest.approx(float(terms.rate.mean().detach()), rel=1e-5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_mistake_6_encodings_are_posterior_means(name: str) -> None:
    model = faces_model(name)
    torch.manual_seed(0)
    latents = edit.encode(model, FACES)
    torch.manual_seed(1)
    assert torch.equal(latents, edit.encode(model, FACES))
    with torch.no_grad():
        qz = model.encode(to_float(FACES))
        picture = model.decode(qz.mean).mean
    assert torch.equal(latents, qz.mean)
    assert torch.equal(edit.reconstruct(model, FACES), (picture * 255).round().to(torch.uint8))
    if not serves("interpolate", model):
        return
    middle, between = edit.interpolate(model, latents[0], latents[1], 3)[1], (latents[:1] + latents[1:2]) / 2
    if isinstance(model, LadderModel):  # finer levels follow the top one
        between = model.with_top(between, model.split_levels(between)[0], keep_detail=False)
    assert torch.equal(middle, edit.decode(model, between)[0])


def test_mistake_7_batch_mates_do_not_change_an_encoding_or_a_picture() -> None:
    model = faces_model()
    alone = torch.cat([edit.encode(model, FACES[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(edit.encode(model, FACES), alone, rtol=1e-4, atol=1e-5)
    pictures = torch.cat([edit.decode(model, code[None]) for code in alone])
    assert int((edit.decode(model, alone).int() - pictures.int()).abs().max()) <= 1
    first = edit.generate(model, 1, seed=3)
    assert torch.equal(first, edit.generate(model, 6, seed=3)[:1])
    with torch.no_grad():
        mixed = model.train().encode(to_float(FACES)).mean
    assert float((mixed - alone).abs().max()) > 1e-3  # what a model left in training mode would have said


def test_mistake_7_public_functions_refuse_a_model_in_training_mode() -> None:
    model = faces_model().train()
    x = to_float(FACES)
    for call in (
        lambda: edit.encode(model, FACES),
        lambda: edit.decode(model, torch.zeros(1, 5)),
        lambda: edit.generate(model, 1),
        lambda: edit.denoise(model, x),
        lambda: evaluate(model, FACES),
    ):
        with pytest.raises(AssertionError):
            call()


def test_mistake_7_the_fitted_prior_does_not_follow_while_encoding() -> None:
    model = build_model(override(get("seed-vae"), {"latent_dim": 5, "prior": "fitted-normal"}), (3, 16, 16)).eval()
    assert isinstance(model.prior, FittedNormal)
    evaluate(model, FACES)
    assert torch.equal(model.prior.covariance, torch.eye(5))


def test_mistake_8_nothing_needs_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cuda(*_: object, **__: object) -> None:
        raise AssertionError("CUDA was asked for")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "_lazy_init", no_cuda)
    model = faces_model()
    assert edit.generate(model, 2).device.type == "cpu"
    assert edit.reconstruct(model, FACES).device.type == "cpu"
    assert evaluate(model, FACES)["images"] == 6


def test_mistake_8_no_source_file_moves_anything_to_cuda() -> None:
    for path in Path(vaekit.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ".cuda()" not in text and 'device="cuda"' not in text and 'to("cuda")' not in text, path


def test_mistake_8_pictures_and_curves_need_no_display(tmp_path: Path) -> None:
    code = (
        "import sys, torch, vaekit.figures.grid, vaekit.runs.report\n"
        "from vaekit.runs.report.curves import Panel, Series, draw\n"
        "vaekit.figures.grid.Sheet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 2).save(sys.argv[1])\n"
        "assert '<svg' in draw(Panel('ELBO', 'nats', '', (Series('train', (1.0, 2.0), (3.0, 4.0)),)))\n"
        "assert 'tkinter' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = ("MPLBACKEND", "DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, "-c", code, str(tmp_path / "sheet.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 0
