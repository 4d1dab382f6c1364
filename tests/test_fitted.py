"""A prior fitted to codes: it finds what they were drawn from, is kept for its weights alone, and is what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import vaekit as vk
from vaekit.errors import UserError
from vaekit.fitted import KINDS, fit


def bundles(count: int = 600) -> Tensor:
    """Three bundles of codes, of which two are narrow, far from the origin and of unlike scales."""
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    centres = torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 0.2]])
    return torch.tensor([100.0, -7.0]) + centres[torch.arange(count) % 3] + noise * torch.tensor([2.0, 0.01])


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_a_normal_on_codes_that_are_not_normal(kind: str) -> None:
    _, facts = fit(bundles(), kind, components=3)
    assert facts["held_out_nats"] > facts["held_out_nats_of_a_normal"] + 0.5
    assert facts["codes"] == 540 and facts["kind"] == kind


def test_the_mixture_is_that_of_scikit_learn_in_the_units_of_the_codes() -> None:
    codes = bundles()
    prior, _ = fit(codes, "mixture", components=3)
    train = codes[torch.arange(len(codes)) % 10 != 9].double()
    mean, std = train.mean(0), train.std(0, correction=0)
    theirs = GaussianMixture(3, random_state=0, reg_covar=1e-4, max_iter=300).fit(((train - mean) / std).numpy())
    z = codes[:50]
    expected = theirs.score_samples(((z.double() - mean) / std).numpy()) - std.log().sum().item()
    torch.testing.assert_close(prior().log_prob(z).double(), torch.from_numpy(expected), rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_lie_where_the_codes_are(kind: str) -> None:
    codes = bundles()
    prior, _ = fit(codes, kind, components=3)
    with torch.no_grad():
        z = prior().from_noise(torch.randn(4000, 2, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(z.mean(0), codes.mean(0), rtol=0, atol=1.5)
    torch.testing.assert_close(z.std(0), codes.std(0), rtol=0.15, atol=0)


def test_the_same_seed_fits_the_same() -> None:
    for kind in KINDS:
        one, two = (fit(bundles(200), kind, 2, seed=3)[0].state_dict() for _ in range(2))
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("codes", "kind", "components", "message"),
    [
        (bundles(), "mixtur", 3, "did you mean 'mixture'"),
        (bundles(10), "mixture", 3, "10 codes .* at least 20"),
        (bundles(), "mixture", 0, "--components 0: expected 1 to 540"),
        (bundles(), "mixture", 5000, "--components 5000"),
        (torch.full((50, 2), torch.nan), "mixture", 3, "not all finite"),
        (torch.randn(50, 1), "flow", 3, "two latents at least"),
    ],
)
def test_what_cannot_be_fitted_is_refused(codes: Tensor, kind: str, components: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(codes, kind, components)


def test_codes_that_do_not_vary_are_fitted_nevertheless() -> None:
    codes = torch.cat([bundles(100), torch.full((100, 1), 3.0)], 1)
    prior, facts = fit(codes, "mixture", 2)
    z = prior().from_noise(torch.randn(100, 3))
    assert (z[:, 2] - 3).abs().max() < 1e-3 and facts["held_out_nats"] > 0


def train(out: Path, recipe: str = "ae", images: int = 64) -> vk.Run:
    return vk.train("digits", recipe=recipe, out=out, images=images, settings={"net": "mlp"}, quiet=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_autoencoder_draws_from_what_was_fitted_and_a_reopened_run_draws_the_same(tmp_path: Path, kind: str) -> None:
    run = train(tmp_path / "ae")
    with pytest.raises(UserError, match="no prior .* vaekit fit-prior"):
        run.generate(2)
    run.fit_prior(kind, components=3)
    drawn = run.generate(5).pixels
    assert torch.equal(vk.load(tmp_path / "ae").generate(5).pixels, drawn)
    assert torch.equal(run.generate(3).pixels, drawn[:3])
    assert run.evaluate(samples=20)["frechet_distance"] > 0


def test_bounds_are_of_the_prior_that_was_trained(tmp_path: Path) -> None:
    run = train(tmp_path / "vae", "vae")
    before, drawn = run.evaluate(), run.generate(4).pixels
    run.fit_prior(components=3)
    assert run.evaluate() == before and not torch.equal(run.generate(4).pixels, drawn)


def test_after_more_training_it_is_not_used_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path / "vae", "vae")
    drawn = run.generate(4).pixels
    run.fit_prior(components=3)
    train(tmp_path / "vae", "vae", images=128)
    again = vk.load(tmp_path / "vae")
    assert "other weights" in capsys.readouterr().err
    assert not torch.equal(again.generate(4).pixels, drawn) and again.model.fitted_prior is None


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path / "ae")
    run.fit_prior(components=3)
    path = tmp_path / "ae" / "prior.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert vk.load(tmp_path / "ae").model.fitted_prior is None
    assert f"{path} cannot be read" in capsys.readouterr().err


def test_the_verb_prints_how_well_it_fits(tmp_path: Path, vaekit: Callable) -> None:
    train(tmp_path / "ae")
    answer = vaekit("fit-prior", str(tmp_path / "ae"), "--components", "3", "--json")
    assert answer.code == 0 and '"held_out_nats"' in answer.out
    assert vaekit("generate", str(tmp_path / "ae"), "--out", str(tmp_path / "new.png")).code == 0
    assert vaekit("fit-prior", str(tmp_path / "ae"), "--kind", "flw").code == 2
