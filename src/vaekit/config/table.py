"""The table of recipes, one row each. :mod:`vaekit.config.recipe` explains the values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vaekit.config.recipe import DENSITIES, DESCRIPTIONS, LIKELIHOODS, Recipe, check, override, with_likelihood
from vaekit.errors import UserError, nearest
from vaekit.system.arguments import checked

__all__ = [
    "DENSITIES",
    "DESCRIPTIONS",
    "LIKELIHOODS",
    "RECIPES",
    "Recipe",
    "check",
    "get",
    "override",
    "own_values",
    "register",
    "unregister",
    "with_likelihood",
]

#: For recipes with the residual network: clipped gradients and averaged weights.
_STEADY: dict[str, Any] = {"clip_norm": 1.0, "ema_power": 16.0}
#: For most recipes with a bound: a slowly learned posterior scale, and a warm-up of the rate.
_BOUND: dict[str, Any] = {"posterior_std_gain": 0.125, "kl_warmup": 0.3, **_STEADY}
#: For plain autoencoders.
_AUTOENCODER: dict[str, Any] = {"posterior": "point", "prior": "none", "objective": "distortion"}
#: For grids of discrete codes.
_CODES: dict[str, Any] = {"latent": "codes", "prior": "autoregressive-words", "smallest_grid": 7, **_STEADY}
#: For the dense network of the first original system.
_SEED: dict[str, Any] = {
    "net": "mlp",
    "hidden": (200,),
    "latent_dim": 20,
    "scale": "fixed",
    "mean": "sigmoid",
    "train_on_val": True,
    **_AUTOENCODER,
}

_ROWS = [
    Recipe(
        "vae",
        summary="the default: a residual network and a learned observation scale; a good start for any images",
        paper="Kingma & Welling 2014, Eq. 10; learned scale: Rybkin et al. 2021, Eq. 4",
        prior="fitted-normal",
        **_BOUND,
    ),
    Recipe(
        "beta-vae",
        summary="a stronger KL term: smoother and more disentangled latents, blurrier images",
        paper="Higgins et al. 2017, Eq. 4",
        beta=4.0,
        scale="fixed",
        fixed_scale=0.1,
        **_BOUND,
    ),
    Recipe(
        "iwae",
        summary="a tighter bound, from five samples per image",
        paper="Burda et al. 2016, Eq. 8; gradient: Tucker et al. 2018",
        cost="3",
        posterior_std_gain=0.125,
        objective="iwae-dreg",
        samples=5,
        **_STEADY,
    ),
    Recipe(
        "capacity-vae",
        summary="a KL term that follows a rising target: disentangled latents, less blur than beta-vae",
        paper="Burgess et al. 2018, Eq. 8",
        posterior_std_gain=0.125,
        objective="capacity",
        scale="fixed",
        fixed_scale=0.1,
        kl_warmup=0.8,
        **_STEADY,
    ),
    Recipe(
        "beta-tcvae",
        summary="independent latent dimensions, each of which changes one thing",
        paper="Chen et al. 2018, Eq. 4",
        objective="tc",
        tc_weight=150.0,  # the paper's 6, times 25: Bernoulli pixels have a deviation of up to 0.5, not 0.1
        scale="fixed",
        fixed_scale=0.1,
        batch_size=64,
        **_BOUND,
    ),
    Recipe(
        "info-vae",
        summary="informative latents: the prior constrains all latents together, not each one",
        paper="Zhao et al. 2019, Eq. 6",
        objective="mmd",
        beta=0.1,
        batch_size=64,
        **_BOUND,
    ),
    Recipe(
        "vamp-vae",
        summary="a prior made of the posteriors of learned images, for a better bound",
        paper="Tomczak & Welling 2018, Eq. 9",
        cost="2.5",
        prior="vamp",
        **_BOUND,
    ),
    Recipe(
        "flow-vae",
        summary="a normalizing flow as the prior: fits latents of any distribution, with an exact density",
        paper="Dinh et al. 2017, Eq. 7; as a prior: Chen et al. 2017, Sec. 3.2",
        cost="1.1",
        prior="flow",
        **_BOUND,
    ),
    Recipe(
        "ladder-vae",
        summary="a hierarchy of latents: a vector for the whole image, finer grids for detail; the best bound",
        paper="Sønderby et al. 2016, Eq. 17 to 19; Vahdat & Kautz 2020, Eq. 2",
        cost="2.2",
        latent="levels",
        net="ladder",
        posterior="ladder",
        prior="ladder",
        posterior_std_gain=0.125,
        posterior_mean_gain=None,
        mixture_components=4,
        batch_size=16,
        clip_norm=5.0,
        ema_power=16.0,
    ),
    Recipe(
        "iaf-vae",
        summary="an inverse autoregressive flow as the posterior, which need not be normal",
        paper="Kingma et al. 2016, Eq. 10 and Algorithm 1",
        posterior="iaf",
        **_BOUND,
    ),
    Recipe(
        "conditional-vae",
        summary="conditioned on labels and attributes, so you can choose them for new images",
        paper="Kingma et al. 2014, Eq. 6; Sohn et al. 2015, Eq. 4; hidden conditions: Ho & Salimans 2021, Sec. 3.2",
        prior="conditional-normal",
        is_conditional=True,
        **_BOUND,
    ),
    Recipe(
        "wae-mmd",
        summary="an autoencoder whose latents follow a normal distribution, so it can be sampled",
        paper="Tolstikhin et al. 2018, Eq. 4 and Algorithm 2",
        posterior="point",
        objective="mmd",
        batch_size=64,
        **_STEADY,
    ),
    Recipe(
        "rae-l2",
        summary="an autoencoder with latents close to zero and a smooth decoder; can be sampled after fit-prior",
        paper="Ghosh et al. 2020, Eq. 4 to 7",
        code_l2=1.0,
        decoder_l2=1e-3,
        **_AUTOENCODER,
        **_STEADY,
    ),
    Recipe(
        "grid-vae",
        summary="a grid of latents in place of one vector: sharp reconstructions, of large images too",
        paper="Kingma & Welling 2014, Eq. 10; grid: Rombach et al. 2022, Sec. 3.1; Esser et al. 2021, Sec. 3.1",
        cost="0.4",
        latent="grid",
        net="grid",
        posterior="grid-normal",
        **{**_BOUND, "learning_rate": 2e-3, "clip_norm": 30.0},
    ),
    Recipe(
        "vq-vae",
        summary="a grid of codes from a learned codebook, with an autoregressive prior",
        paper="van den Oord et al. 2017, Eq. 3 and Appendix A.1; normalized codes: Yu et al. 2022, Sec. 3.2",
        cost="0.9",
        posterior="vq",
        **_CODES,
    ),
    Recipe(
        "fsq-vae",
        summary="a grid of codes from rounded numbers, without a codebook: no code stays unused",
        paper="Mentzer et al. 2024, Sec. 3.1",
        cost="0.9",
        posterior="fsq",
        **_CODES,
    ),
    Recipe(
        "ae",
        summary="a plain autoencoder: accurate reconstructions, no density; samples only after fit-prior",
        paper="Hinton & Salakhutdinov 2006",
        **_AUTOENCODER,
        **_STEADY,
    ),
    Recipe(
        "denoising-ae",
        summary="an autoencoder that removes noise of any strength up to noise_std",
        paper="Vincent et al. 2010, Eq. 10",
        noise_std=0.5,
        **_AUTOENCODER,
        **_STEADY,
    ),
    Recipe(
        "seed-ae",
        summary="the first model of vaekit: a dense 784-200-20-200-784 autoencoder for handwritten digits",
        paper="Hinton & Salakhutdinov 2006",
        cost="0.03",
        epochs=10.0,
        batch_size=32,
        learning_rate=2.5e-4,
        schedule="constant",
        reduction="sum",
        **_SEED,
    ),
    Recipe(
        "fast-ae",
        summary="the network of seed-ae, trained faster: as good after one epoch of MNIST as seed-ae after ten",
        paper="Hinton & Salakhutdinov 2006; schedule: Smith & Topin 2019",
        cost="0.02",
        images_to_train=60_000,
        fewest_epochs=1,
        start_at_mean=True,
        batch_size=64,
        learning_rate=0.011,
        warmup=0.2,
        adam_beta2=0.95,
        **_SEED,
    ),
    Recipe(
        "seed-vae",
        summary="the second model of vaekit: a convolutional VAE for 256x256 faces; blurry because of its fixed scale",
        paper="Kingma & Welling 2014, Eq. 10 and Appendix B",
        cost="2.5",
        net="seed-conv",
        latent_dim=100,
        scale="fixed",
        mean="sigmoid",
        epochs=10.0,
        batch_size=16,
        learning_rate=1e-4,
        schedule="constant",
        weight_decay=1e-5,
        reduction="sum",
        train_on_val=True,
    ),
]

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}


@checked
def get(name: str) -> Recipe:
    """Return the recipe called ``name``; raises :class:`UserError` with the nearest name if there is none.

    >>> get("seed-ae").latent_dim
    20
    """
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; {nearest(name, RECIPES)}")
    return RECIPES[name]


@checked
def own_values(recipe: Recipe) -> dict[str, tuple[str, str]]:
    """Return the values of a recipe that are not defaults, and those defaults, as text.

    >>> own_values(get("beta-vae"))["beta"]
    ('4', '1')
    """
    plain = Recipe(recipe.name)
    names = [field.name for field in fields(recipe) if field.name not in DESCRIPTIONS]
    pairs = {name: (getattr(recipe, name), getattr(plain, name)) for name in names}
    return {name: (_text(mine), _text(default)) for name, (mine, default) in pairs.items() if mine != default}


@checked
def register(recipe: Recipe, replace_existing: bool = False) -> Recipe:
    """Add a recipe to the table, so that all commands and options know it; returns it."""
    if not recipe.name.strip() or not recipe.name.isprintable():
        raise UserError(f"recipe: the name {recipe.name!r} is empty or not printable; give another", "recipe")
    if recipe.name in RECIPES and not replace_existing:
        raise UserError(f"a recipe {recipe.name!r} exists; give yours another name or pass replace_existing=True")
    RECIPES[recipe.name] = check(recipe)
    return RECIPES[recipe.name]


@checked
def unregister(name: str) -> None:
    """Remove a recipe from the table."""
    RECIPES.pop(get(name).name)


def _text(value: Any) -> str:
    """Format a value as on the command line, numbers with four digits."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "auto", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
