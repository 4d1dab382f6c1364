"""The verbs on tensors: deterministic latents, exact latent arithmetic, one seed per generated image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaekit.config import capabilities as verbs
from vaekit.config import table as recipes
from vaekit.data import Images, to_float, to_uint8
from vaekit.errors import UserError
from vaekit.latent import ops as edit
from vaekit.latent.arithmetic import evaluate_expression, parse
from vaekit.model.contracts import Likelihood, Posterior
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.distributions.pixel import NormalImage
from vaekit.model.factory import build_model
from vaekit.model.latent_model import LatentModel
from vaekit.model.priors import MixturePrior, StandardNormal

SHAPE = (1, 4, 4)


class IdentityPosterior(Posterior):
    """Features are the mean; the standard deviation is large, so that sampling would be noticed."""

    def forward(self, features: Tensor) -> DiagonalNormal:
        return DiagonalNormal(features, torch.zeros_like(features))


class IdentityLikelihood(Likelihood):
    def forward(self, output: Tensor) -> NormalImage:
        return NormalImage(output, torch.zeros(()))


def identity_model() -> LatentModel:
    """A linear toy model: the latent is the image, pixel by pixel."""
    linear = nn.Linear(16, 16, bias=False)
    nn.init.eye_(linear.weight)
    encoder, decoder = nn.Sequential(nn.Flatten(), linear), nn.Sequential(linear, nn.Unflatten(-1, SHAPE))
    model = LatentModel(encoder, IdentityPosterior(), StandardNormal(16), decoder, IdentityLikelihood(), 16)
    return model.eval().requires_grad_(False)


def random_pixels(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def seed_vae() -> LatentModel:
    """The smallest ``seed-conv`` network, with BatchNorm statistics that are not the initial ones."""
    model = build_model(recipes.get("seed-vae"), (3, 16, 16))
    model.train()
    with torch.no_grad():
        for seed in range(3):
            model.decode(model.encode(to_float(random_pixels(8, (3, 16, 16), seed))).mean)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> LatentModel:
    return build_model(recipes.get("vae"), (3, 16, 16)).eval().requires_grad_(False)


def test_encodings_are_posterior_means_and_do_not_change(seed_vae: LatentModel) -> None:
    """Mistake 6 of the original systems: sampled latents where deterministic ones are meant."""
    pixels = random_pixels(5, (3, 16, 16))
    first, second = edit.encode(seed_vae, pixels), edit.encode(seed_vae, pixels)
    with torch.no_grad():
        qz = seed_vae.encode(to_float(pixels))
    assert torch.equal(first, second) and torch.equal(first, qz.mean)
    assert first.dtype == torch.float32 and not first.requires_grad
    assert (qz.from_noise(torch.ones_like(qz.mean)) - first).abs().min() > 0.1, "a sample is something else"
    torch.manual_seed(1)
    assert torch.equal(edit.reconstruct(seed_vae, pixels), edit.decode(seed_vae, first))


@pytest.mark.parametrize(
    "verb",
    [
        lambda m: edit.encode(m, random_pixels(2, (3, 16, 16))),
        lambda m: edit.decode(m, torch.zeros(2, 100)),
        lambda m: edit.reconstruct(m, random_pixels(2, (3, 16, 16))),
        lambda m: edit.generate(m, 2),
        lambda m: edit.interpolate(m, torch.zeros(100), torch.ones(100), 2),
        lambda m: edit.denoise(m, torch.rand(2, 3, 16, 16)),
    ],
)
def test_no_verb_runs_in_training_mode(seed_vae: LatentModel, verb: Callable[[LatentModel], Tensor]) -> None:
    """Mistake 7: BatchNorm of a model in training mode mixes the images of a batch."""
    before = {name: t.clone() for name, t in seed_vae.state_dict().items()}
    seed_vae.train()
    try:
        with pytest.raises(AssertionError, match="eval"):
            verb(seed_vae)
    finally:
        seed_vae.eval()
    verb(seed_vae)
    assert all(torch.equal(t, before[name]) for name, t in seed_vae.state_dict().items())


def test_an_image_has_the_same_code_alone_and_in_any_chunk(seed_vae: LatentModel) -> None:
    pixels = random_pixels(7, (3, 16, 16))
    together = edit.encode(seed_vae, pixels)
    for size in (1, 3, 7):
        torch.testing.assert_close(edit.encode(seed_vae, pixels, size), together, rtol=1e-5, atol=1e-6)
        pictures = edit.decode(seed_vae, together, size).int()
        assert (pictures - edit.decode(seed_vae, together).int()).abs().max() <= 1


def test_nothing_in_nothing_out(vae: LatentModel) -> None:
    assert edit.encode(vae, random_pixels(0, (3, 16, 16))).shape == (0, vae.latent_dim)
    assert edit.decode(vae, torch.zeros(0, vae.latent_dim)).shape == (0, 3, 16, 16)


def test_arithmetic_is_exact_on_a_linear_model() -> None:
    model, pixels = identity_model(), random_pixels(3)
    latents = dict(zip("abc", edit.encode(model, pixels), strict=True))
    z = evaluate_expression(parse("a - b + c"), latents.__getitem__)
    x = to_float(pixels).flatten(1)
    assert torch.equal(z, x[0] - x[1] + x[2])
    assert torch.equal(edit.decode(model, z[None]), to_uint8((x[0] - x[1] + x[2]).view(1, *SHAPE)))
    assert torch.equal(evaluate_expression(parse("0.5*a + 0.25*b"), latents.__getitem__), 0.5 * x[0] + 0.25 * x[1])


def test_reconstruction_is_exact_on_a_linear_model() -> None:
    pixels = random_pixels(300)
    assert torch.equal(edit.reconstruct(identity_model(), pixels, batch_size=64), pixels)


def test_interpolation_is_straight_and_ends_at_the_ends() -> None:
    model, z = identity_model(), to_float(random_pixels(2)).flatten(1)
    pictures = edit.interpolate(model, z[0], z[1], 5)
    assert pictures.shape == (5, *SHAPE)
    expected = torch.stack([z[0] * (1 - w) + z[1] * w for w in (0, 0.25, 0.5, 0.75, 1)])
    assert torch.equal(pictures, to_uint8(expected.view(5, *SHAPE)))
    assert torch.equal(pictures[[0, -1]], edit.decode(model, z))


def test_interpolation_of_several_pairs_at_once() -> None:
    model, z = identity_model(), to_float(random_pixels(6)).view(2, 3, 16)
    pictures = edit.interpolate(model, z[0], z[1], 4)
    assert pictures.shape == (4, 3, *SHAPE)
    assert torch.equal(pictures[:, 1], edit.interpolate(model, z[0, 1], z[1, 1], 4))


def test_interpolation_needs_two_ends(vae: LatentModel) -> None:
    with pytest.raises(UserError, match="expected 2 .the ends"):
        edit.interpolate(vae, torch.zeros(32), torch.ones(32), 1)


def test_image_i_of_a_seed_is_the_same_whatever_the_count(vae: LatentModel) -> None:
    many = edit.generate(vae, 19, seed=3)
    assert many.dtype == torch.uint8 and many.shape == (19, 3, 16, 16)
    for count in (1, 2, 16, 17):
        assert torch.equal(edit.generate(vae, count, seed=3), many[:count])
    assert len({picture.numpy().tobytes() for picture in [*many, *edit.generate(vae, 19, seed=4)]}) == 38


def test_generated_latents_are_standard_normal() -> None:
    noise = edit.image_noise(0, edit.SAMPLES, 0, 4000, (3,))
    assert noise.mean(0).abs().max() < 0.06 and (noise.std(0) - 1).abs().max() < 0.04
    assert (torch.corrcoef(noise.T) - torch.eye(3)).abs().max() < 0.06
    assert torch.corrcoef(torch.stack([noise[:-1, 0], noise[1:, 0]]))[0, 1].abs() < 0.06


@pytest.mark.parametrize("recipe", ["vae", "beta-vae", "grid-vae", "ladder-vae"])
def test_temperature_one_is_no_temperature(recipe: str) -> None:
    model = build_model(recipes.get(recipe), (1, 16, 16)).eval().requires_grad_(False)
    plain = edit.generate(model, 3)
    for one in (1, 1.0, [1.0] * len(model.latent_shapes)):
        assert torch.equal(edit.generate(model, 3, temperature=one), plain)
    pz = model.drawn_from()
    assert pz is not None
    assert torch.equal(edit.generate(model, 2, temperature=0)[1], edit.decode(model, pz.mean[None])[0])
    assert not torch.equal(edit.generate(model, 3, temperature=0.5), plain)
    assert torch.equal(edit.generate(model, 19, temperature=0.5)[:3], edit.generate(model, 3, temperature=0.5))


@pytest.mark.parametrize("recipe", ["vae", "conditional-vae"])
def test_a_temperature_scales_the_deviation_of_a_normal_prior(recipe: str) -> None:
    row = replace(recipes.get(recipe), condition_size=2 if recipe == "conditional-vae" else 0)
    model = build_model(row, (1, 16, 16)).eval().requires_grad_(False)
    assert model.prior is not None
    generator = torch.Generator().manual_seed(1)
    for values in (*model.prior.parameters(), *model.prior.buffers()):
        values += 0.1 * torch.randn(values.shape, generator=generator)
    if recipe == "vae":  # a correlated prior
        factor = torch.randn(model.latent_dim, model.latent_dim, generator=generator)
        model.prior.covariance.copy_(factor @ factor.mT + torch.eye(model.latent_dim))  # type: ignore[operator]
    pz, noise = model.drawn_from(), torch.randn(4, model.latent_dim, generator=generator)
    assert pz is not None
    expected = pz.mean + 0.3 * (pz.from_noise(noise) - pz.mean)
    torch.testing.assert_close(pz.from_noise(model.tempered(noise, 0.3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("recipe", ["vamp-vae", "flow-vae", "vq-vae"])
def test_a_prior_that_is_not_normal_has_no_temperature(recipe: str) -> None:
    model = build_model(recipes.get(recipe), (1, 16, 16)).eval().requires_grad_(False)
    assert torch.equal(edit.generate(model, 1, temperature=1), edit.generate(model, 1))
    with pytest.raises(UserError, match=f"^temperature: recipe '{recipe}' has .*; train one of vae, beta-vae"):
        edit.generate(model, 1, recipe=recipe, temperature=0.8)


def test_a_temperature_that_makes_no_sense_is_refused() -> None:
    ladder = build_model(recipes.get("ladder-vae"), (1, 16, 16)).eval().requires_grad_(False)
    for wrong in (-0.5, math.nan, math.inf, [1.0, -1.0, 1.0]):
        with pytest.raises(UserError, match="^temperature .*: expected a number of at least 0, such as 0.8"):
            edit.generate(ladder, 1, temperature=wrong)
    levels = len(ladder.latent_shapes)
    with pytest.raises(UserError, match=f"^temperature 1: expected one number, or {levels}, one per level, top first"):
        edit.generate(ladder, 1, temperature=[1.0])
    plain = build_model(recipes.get("vae"), (1, 16, 16)).eval().requires_grad_(False)
    with pytest.raises(UserError, match="^temperature 1, 0.8: expected one number$"):
        edit.generate(plain, 1, temperature=[1.0, 0.8])
    plain.fitted_prior = MixturePrior(plain.latent_dim, 2)
    with pytest.raises(UserError, match=r"fitted to the latents, .* remove it with fit-prior and kind=none"):
        edit.generate(plain, 1, temperature=0.8)


def test_an_autoencoder_does_not_generate() -> None:
    model = build_model(recipes.get("seed-ae"), (1, 8, 8)).eval()
    with pytest.raises(
        UserError, match="vaekit fit-prior, or train one of vae, beta-vae, iwae, or another of vaekit recipes$"
    ):
        edit.generate(model, 3, recipe="seed-ae")
    with pytest.raises(UserError, match="this model has no prior"):
        edit.generate(model, 3)


def test_at_least_one_image_is_generated(vae: LatentModel) -> None:
    with pytest.raises(UserError, match="at least 1"):
        edit.generate(vae, 0)


def test_more_images_than_memory_holds_are_refused_at_once(vae: LatentModel) -> None:
    with pytest.raises(UserError, match="^count 1000000000000: so many images need .* GB of memory, .* another seed"):
        edit.generate(vae, 10**12)


def test_every_verb_serves_what_the_table_says() -> None:
    for name, row in recipes.RECIPES.items():
        served = [verb for verb in verbs.NEEDS if verbs.serves(verb, row)]
        of_codes = {"generate", "reconstruct", "denoise", "evaluate", "score", "doctor"}
        of_codes |= {"encode", "codes", "neighbors", "map", "factors", "inpaint", "export", "explore"}
        able = of_codes if row.latent == "codes" else set(verbs.NEEDS) - {"codes"}
        able = able - {"fit-prior"} if row.latent == "levels" else able
        able = able if row.latent == "grid" else able - {"tiles"}
        able = able if row.latent == "levels" else able - {"levels", "keep-detail"}
        able = able if row.prior != "none" else able - {"generate", "temperature"}
        able = able if row.prior not in ("vamp", "flow") else able - {"temperature"}
        expected = [verb for verb in verbs.NEEDS if verb in able]
        assert served == expected, name
        model = build_model(row, (1, 16, 16))
        assert served == [verb for verb in verbs.NEEDS if verbs.serves(verb, model)], "model and row agree"
    with pytest.raises(UserError, match="did you mean 'generate'"):
        verbs.refuse("generte", recipes.get("vae"))


def test_noise_has_its_strength_and_each_image_its_own() -> None:
    x = torch.linspace(0.3, 0.7, 40).view(40, 1, 1, 1).expand(40, 3, 16, 16)
    noise = edit.add_noise(x, 0.3, seed=1) - x
    assert abs(noise.std().item() - 0.3) < 0.005 and abs(noise.mean().item()) < 0.005
    assert (edit.add_noise(x, 0.3) > 1).any(), "not clamped"
    torch.testing.assert_close(edit.add_noise(x[:2], 0.3, seed=1), x[:2] + noise[:2])
    torch.testing.assert_close(edit.add_noise(x.flip(0), 0.3, seed=1), (x + noise).flip(0))  # it goes with the image
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(edit.add_noise(x, 0), x)
    for std in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="^noise_std"):
            edit.add_noise(x, std)


def test_denoising_decodes_the_mean_latent_of_what_it_is_given(seed_vae: LatentModel) -> None:
    noisy = edit.add_noise(torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 0.3)
    with torch.no_grad():
        expected = seed_vae.decode(seed_vae.encode(noisy).mean).mean
    torch.testing.assert_close(edit.denoise(seed_vae, noisy, batch_size=2), expected, rtol=1e-4, atol=1e-5)


def some_images(count: int) -> Images:
    return Images(
        random_pixels(count),
        tuple(f"{i}.png" for i in range(count)),
        torch.arange(count) % 2,
        ("no smile", "smile"),
        {"glasses": np.arange(count) % 3 / 2, "hair": np.array(["red", "", "black"] * count)[:count]},
    )


def test_a_stored_set_answers_as_the_images_do() -> None:
    model, images = identity_model(), some_images(12)
    tensors, facts = edit.encode_set(model, images)
    assert tensors["latents"].dtype == torch.float32 and tensors["labels"].dtype == torch.int64
    assert tensors["attribute.glasses"].dtype == torch.float64
    assert tensors["attribute.hair"].dtype == torch.int64
    for query in ("label:smile", "label:no smile", "attr:glasses=0.5", "attr:glasses=0,hair=red"):
        expected = edit.encode(model, images.select(query).pixels)
        assert torch.equal(edit.group_latents(tensors, facts, query), expected), query
    with pytest.raises(UserError, match="choose from: black, red"):
        edit.group_latents(tensors, facts, "attr:hair=pink")


def test_a_set_without_labels_or_attributes() -> None:
    model, images = identity_model(), Images(random_pixels(3), ("a", "b", "c"))
    tensors, facts = edit.encode_set(model, images)
    assert list(tensors) == ["latents"] and facts == {"classes": [], "strings": {}}
    with pytest.raises(UserError, match="these images have no"):
        edit.group_latents(tensors, facts, "label:smile")


def test_a_large_set_is_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit, "MOST_STORED_LATENTS", 4)
    model, images = identity_model(), some_images(10)
    tensors, _ = edit.encode_set(model, images)
    assert torch.equal(tensors["latents"], edit.encode(model, images[[0, 2, 5, 7]].pixels))
    assert tensors["labels"].tolist() == [0, 0, 1, 1]
