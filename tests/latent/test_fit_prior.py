"""A prior fitted to latents: it recovers their distribution, belongs to one set of weights, and is sampled from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch import distributions as td

import vaekit as vk
from vaekit.errors import UserError
from vaekit.latent.fit_prior import KINDS, FittedFlow, fit
from vaekit.system.files import load_tensors, save_tensors


def bundles(count: int = 600) -> Tensor:
    """Return three clusters of latents, two of them narrow, far from the origin and with different scales."""
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    centers = torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 0.2]])
    return torch.tensor([100.0, -7.0]) + centers[torch.arange(count) % 3] + noise * torch.tensor([2.0, 0.01])


@cache
def fitted(kind: str) -> tuple[nn.Module, dict[str, Any]]:
    return fit(bundles(), kind, 3 if kind == "mixture" else None)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of a flow, for properties that hold after any number of steps."""
    monkeypatch.setattr("vaekit.latent.fit_prior._STEPS", 60)


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_a_normal_on_latents_that_are_not_normal(kind: str) -> None:
    _, facts = fitted(kind)
    assert facts["held_out_nats"] > facts["held_out_nats_of_a_normal"] + 0.5
    assert facts["latents"] == 540 and facts["kind"] == kind


def test_the_mixture_is_that_of_scikit_learn_in_the_units_of_the_latents() -> None:
    row = torch.arange(600)
    latents = bundles()[(row % 3 == 0) | (row % 6 == 1) | (row % 12 == 2)]  # of unlike size too
    prior, _ = fit(latents, "mixture", components=3)
    train = latents[torch.arange(len(latents)) % 10 != 9].double()
    mean, std = train.mean(0), train.std(0, correction=0)
    theirs = GaussianMixture(3, random_state=0, reg_covar=1e-4, max_iter=300).fit(((train - mean) / std).numpy())
    z = latents[:50]
    expected = theirs.score_samples(((z.double() - mean) / std).numpy()) - std.log().sum().item()
    torch.testing.assert_close(prior().log_prob(z).double(), torch.from_numpy(expected), rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_lie_where_the_latents_are(kind: str) -> None:
    latents = bundles()
    prior, _ = fitted(kind)
    with torch.no_grad():
        z = prior().from_noise(torch.randn(4000, 2, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(z.mean(0), latents.mean(0), rtol=0, atol=3)  # their spread is 14
    torch.testing.assert_close(z.std(0), latents.std(0), rtol=0.15, atol=0)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_fits_the_same(kind: str) -> None:
    one, two = (fit(bundles(200), kind, 2 if kind == "mixture" else None, seed=3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def is_held(count: int) -> Tensor:
    return torch.arange(count) % 10 == 9


@pytest.mark.parametrize("kind", KINDS)
def test_the_nats_are_of_the_latents_that_were_held_out_in_their_own_units(kind: str) -> None:
    latents, (prior, facts) = bundles(), fitted(kind)
    train, held = latents[~is_held(len(latents))].double(), latents[is_held(len(latents))]
    assert facts["held_out_nats"] == pytest.approx(float(prior().log_prob(held).double().mean()), abs=1e-6)
    covariance = torch.cov(train.mT, correction=0) + 1e-4 * train.var(0, correction=0).diag()
    normal = td.MultivariateNormal(train.mean(0), covariance)
    assert facts["held_out_nats_of_a_normal"] == pytest.approx(float(normal.log_prob(held.double()).mean()), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_of_latents_that_are_held_out_nothing_is_fitted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for the choice of the best step of a flow; here there is only one step."""
    monkeypatch.setattr("vaekit.latent.fit_prior._STEPS", 0)
    latents = bundles(200)
    elsewhere = torch.where(is_held(len(latents)).unsqueeze(1), 1000.0, latents)
    one, two = (fit(each, kind, 2 if kind == "mixture" else None)[0].state_dict() for each in (latents, elsewhere))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_flow_that_has_learned_nothing_is_the_normal_of_the_scaling() -> None:
    prior, mean, std = FittedFlow(3), torch.tensor([1.0, -20.0, 300.0]), torch.tensor([0.1, 2.0, 50.0])
    prior.scale(mean, std)
    noise = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = prior().from_noise(noise)
        torch.testing.assert_close(z, mean + std * noise)
        torch.testing.assert_close(prior().log_prob(z.clone()), td.Normal(mean, std).log_prob(z).sum(-1))


def test_a_flow_is_that_of_its_best_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With far too large steps, a flow gets worse."""
    monkeypatch.setattr("vaekit.latent.fit_prior._LEARNING_RATE", 0.3)
    monkeypatch.setattr("vaekit.latent.fit_prior._STEPS", 100)
    latents = bundles(200)
    first = FittedFlow(2)
    train, held = latents[~is_held(200)], latents[is_held(200)]
    first.scale(train.mean(0), train.std(0, correction=0))
    found = fit(latents, "flow")[1]["held_out_nats"]
    assert found >= first().log_prob(held).mean().item() - 1e-4


@pytest.mark.parametrize(
    ("latents", "kind", "components", "message"),
    [
        (bundles(), "mixtur", 3, "did you mean 'mixture'"),
        (bundles(10), "mixture", 3, "10 latents .* at least 20"),
        (bundles(), "mixture", 0, "^components 0: expected 1 to 108, one for every 5 of the 540 latents"),
        (bundles(), "mixture", 5000, "^components 5000"),
        (torch.full((50, 2), torch.nan), "mixture", 3, "not finite"),
        (torch.randn(50, 1), "flow", None, "at least two latent dimensions"),
        (bundles(), "flow", 3, "a flow has none"),
    ],
)
def test_what_cannot_be_fitted_is_refused(latents: Tensor, kind: str, components: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(latents, kind, components)


def test_latents_that_do_not_vary_are_fitted_nevertheless() -> None:
    latents = torch.cat([bundles(100), torch.full((100, 1), 3.0)], 1)
    prior, facts = fit(latents, "mixture", 2)
    z = prior().from_noise(torch.randn(100, 3))
    assert (z[:, 2] - 3).abs().max() < 1e-3 and facts["held_out_nats"] > 0


def train(out: Path, recipe: str = "ae", images: int = 64) -> vk.Run:
    return vk.train("digits", recipe=recipe, out=out, images=images, settings={"net": "mlp"}, quiet=True)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("kind", KINDS)
def test_an_autoencoder_draws_from_what_was_fitted_and_a_reopened_run_draws_the_same(tmp_path: Path, kind: str) -> None:
    run = train(tmp_path / "ae")
    with pytest.raises(UserError, match="no prior .* vaekit fit-prior"):
        run.generate(2)
    run.fit_prior(kind)
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
    assert "earlier weights" in capsys.readouterr().err
    assert not torch.equal(again.generate(4).pixels, drawn) and again.model.fitted_prior is None


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path / "ae")
    run.fit_prior(components=3)
    path = tmp_path / "ae" / "prior.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert vk.load(tmp_path / "ae").model.fitted_prior is None
    assert f"{path} is damaged and not used: cannot be read (" in capsys.readouterr().err


def test_a_prior_of_an_earlier_version_is_used(tmp_path: Path) -> None:
    run = train(tmp_path / "ae")
    run.fit_prior(components=3)
    drawn, path = run.generate(4).pixels, tmp_path / "ae" / "prior.safetensors"
    tensors, facts = load_tensors(path)
    save_tensors(path, tensors, {"codes" if key == "latents" else key: value for key, value in facts.items()})
    assert torch.equal(vk.load(tmp_path / "ae").generate(4).pixels, drawn)


def test_the_verb_prints_how_well_it_fits(tmp_path: Path, vaekit: Callable) -> None:
    train(tmp_path / "ae")
    answer = vaekit("fit-prior", str(tmp_path / "ae"), "--components", "3", "--json")
    assert answer.code == 0 and '"held_out_nats"' in answer.out
    assert vaekit("generate", str(tmp_path / "ae"), "--out", str(tmp_path / "new.png")).code == 0
    assert vaekit("fit-prior", str(tmp_path / "ae"), "--kind", "flw").code == 2


def test_a_fit_that_a_normal_beats_says_so_and_any_seed_serves() -> None:
    normal = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    _, facts = fit(normal, "mixture", 10, seed=99_999_999_999)
    assert "a single normal fits held-out latents better" in facts["warning"]
    assert "warning" not in fit(bundles(), "mixture", 3)[1]


def test_components_are_chosen_by_held_out_latents() -> None:
    normal = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    one, facts = fit(normal, seed=3)
    assert facts["components"] == 1 and "warning" not in facts
    assert facts["choice"] == "best on held-out latents, of 1, 2, 5 and 10 components"
    assert facts["held_out_nats"] == pytest.approx(facts["held_out_nats_of_a_normal"], abs=1e-4)
    again = fit(normal, seed=3)[0]
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in one.state_dict().items())
    found = {count: fit(bundles(), components=count)[1] for count in (1, 2, 5, 10)}
    assert not any("choice" in each for each in found.values())
    best = max(found, key=lambda count: found[count]["held_out_nats"])
    assert best > 1 and fit(bundles())[1]["components"] == best
    assert fit(bundles(20))[1]["components"] in (1, 2)  # of 18 latents that are fitted to, five for each


def test_the_choice_is_printed_and_kept(tmp_path: Path, vaekit: Callable) -> None:
    train(tmp_path / "ae")
    answer = vaekit("fit-prior", tmp_path / "ae")
    assert answer.code == 0 and "best on held-out latents, of 1, " in answer.out
    kept = vk.load(tmp_path / "ae").model.fitted_prior
    assert kept is not None and f"components                 {len(kept.log_weights)}\n" in answer.out


def test_what_was_fitted_can_be_removed(tmp_path: Path, vaekit: Callable) -> None:
    run = train(tmp_path / "vae", "vae")
    drawn = run.generate(4).pixels
    run.fit_prior()
    assert not torch.equal(run.generate(4).pixels, drawn)
    assert vaekit("fit-prior", tmp_path / "vae", "--kind", "none", "--json").out == '{"removed": true}\n'
    assert torch.equal(vk.load(tmp_path / "vae").generate(4).pixels, drawn)
    assert run.fit_prior("none") == {"removed": False} and torch.equal(run.generate(4).pixels, drawn)


def test_a_prior_of_another_run_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path / "vae", "vae")
    run.fit_prior()
    vk.train("digits", recipe="vae", out=tmp_path / "two", images=64, seed=1, settings={"net": "mlp"}, quiet=True)
    shutil.copy(tmp_path / "vae" / "prior.safetensors", tmp_path / "two")
    assert vk.load(tmp_path / "two").model.fitted_prior is None
    assert "earlier weights" in capsys.readouterr().err


def test_a_conditional_recipe_keeps_the_prior_that_is_told(tmp_path: Path) -> None:
    run = train(tmp_path / "told", "conditional-vae")
    with pytest.raises(UserError, match="depends on the condition"):
        run.fit_prior()
