"""A recipe and the shape of the images → a model and its objective.

Incompatible parts are refused, by the parts themselves or because of what they declare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from vaekit.config.parts import is_own
from vaekit.config.recipe import LATENTS
from vaekit.config.table import RECIPES, Recipe, check
from vaekit.errors import UserError, argument, lacks_memory
from vaekit.model import registry
from vaekit.model.contracts import Likelihood, Network, Objective, Prior, Shape
from vaekit.model.dry_run import output_for
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets import Grid, default_patch
from vaekit.system.memory import physical_bytes
from vaekit.system.number_text import size_text

__all__ = ["build_model", "build_objective", "can_free_bits", "parameter_count", "resized", "resolve"]

_MOST_EPOCHS = 500  #: if the recipe names none


def resolve(recipe: Recipe, shape: Shape, train_images: int = 10_000) -> Recipe:
    """Fill in the values that a recipe leaves open: they depend on the image shape and on how many images there are.

    Args:
        recipe: The recipe, with open values.
        shape: Shape of an image, ``(C, H, W)``.
        train_images: Number of training images.

    Raises:
        UserError: The recipe's values do not work together or with the image size.
    """
    recipe, longer = registry.network(recipe.net).resolved(check(recipe), shape), max(shape[1:])
    width = recipe.width or (32 if longer <= 16 else 64)
    patch = recipe.patch or default_patch(*shape[1:])
    latent_dim = recipe.latent_dim or (16 if longer <= 16 else 32 if longer <= 32 else 128)
    if recipe.latent == "codes":
        cells = math.prod(Grid(shape, width, patch, recipe.smallest_grid).coarsest[1:])
        size = recipe.code_size
        latent_dim = cells * size
        settings = ("code_dim", "code_levels", "smallest_grid")
        _refuse_other_size(recipe, latent_dim, f"{cells} cells of {size} numbers make", settings)
    elif recipe.latent != "vector":
        _refuse_mixed_latents(recipe)
        network = registry.network(recipe.net)(replace(recipe, width=width, patch=patch))
        shapes = network.latent_shapes(shape)
        latent_dim = sum(map(math.prod, shapes))
        levels = " and ".join("×".join(map(str, each)) for each in shapes)
        _refuse_other_size(recipe, latent_dim, f"{levels} numbers make", network.latent_settings)
    wanted = round(recipe.images_to_train / train_images)
    epochs = recipe.epochs or float(min(_MOST_EPOCHS, max(recipe.fewest_epochs, wanted)))
    # In equal time on a CPU, many small steps beat few large ones, until the overhead per step dominates.
    batch_size = recipe.batch_size or (32 if longer < 64 else 16)
    row = replace(recipe, latent_dim=latent_dim, width=width, patch=patch, epochs=epochs, batch_size=batch_size)
    check(row)
    _refuse_impossible(row, shape)
    return row


def _refuse_other_size(recipe: Recipe, latent_dim: int, made_of: str, settings: Sequence[str]) -> None:
    """Refuse a latent size that does not follow from the grid."""
    if recipe.latent_dim not in (None, latent_dim):
        raise UserError(
            f"{argument('latent_dim', recipe.latent_dim)}: {made_of} {latent_dim}; leave it out, and set "
            f"{', '.join(settings[:-1])} or {settings[-1]}"
        )


def build_model(recipe: Recipe, shape: Shape, seed: int = 0) -> LatentModel:
    """Build the model of a recipe, with random weights.

    The size of the model is computed on the meta device first, before memory is allocated.

    Args:
        recipe: The recipe.
        shape: Shape of an image, ``(C, H, W)``.
        seed: Seed of the weights.

    Raises:
        UserError: The recipe is invalid for these images, or the model does not fit into memory.
    """
    row, is_meta = resolve(recipe, shape), torch.empty(0).device.type == "meta"
    try:
        if not is_meta:
            with torch.device("meta"):  # shapes only
                _refuse_huge(row, _built(row, shape, seed))
        return _built(row, shape, seed)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        raise UserError(_too_large(row, "more memory than a machine can address")) from error


def resized(model: LatentModel, recipe: Recipe, shape: Shape) -> LatentModel:
    """Build a model of images of another size with copies of the weights of ``model``, in eval mode.

    Args:
        model: A model whose weights do not depend on the image size, because its network has a reach.
        recipe: Its resolved recipe.
        shape: Shape of an image, ``(C, H, W)``.

    Raises:
        UserError: The network does not work with images of this shape.
    """
    made = build_model(replace(recipe, latent_dim=None), shape)
    made.load_state_dict(
        {name: value for name, value in model.state_dict().items() if not name.startswith("fitted_prior.")}
    )
    weight = next(model.parameters())
    return made.to(weight.device, weight.dtype).eval()


def _refuse_huge(row: Recipe, model: nn.Module) -> None:
    """Refuse a model whose parameters and buffers exceed the memory of this machine."""
    needed = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    whole = physical_bytes()
    if whole is not None and needed > whole:
        raise UserError(_too_large(row, f"{size_text(needed)}, this machine has {size_text(whole)}"))


def _too_large(row: Recipe, needed: str) -> str:
    return (
        f"recipe {row.name!r}: a model with these values does not fit into memory: it needs {needed}; set smaller "
        f"values ({argument('latent_dim')}, {argument('size')}, {argument('width')})"
    )


def _built(row: Recipe, shape: Shape, seed: int) -> LatentModel:
    assert row.latent_dim is not None
    network, prior = registry.network(row.net)(row), registry.prior(row.prior)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        likelihood = registry.likelihood(row.likelihood).from_recipe(row)
        encoder = network.encoder(shape)
        features = network.features(encoder, shape) + row.condition_size
        posterior = registry.posterior(row.posterior).from_recipe(row, features, shape)
        made_prior = None if prior is None else prior.from_recipe(row, shape)
        outputs = (likelihood.outputs(shape[0]), *shape[1:])
        decoder = network.decoder(outputs, row.latent_dim + row.condition_size)
        if is_own("net", row.net):
            _check_own_network(row, encoder, decoder, outputs)
    kind = LadderModel if row.latent == "levels" else LatentModel
    model = kind(encoder, posterior, made_prior, decoder, likelihood, row.latent_dim)
    model.image_shape, model.decoder_l2 = shape, row.decoder_l2
    model.latent_shapes = network.latent_shapes(shape)
    model.condition_size = row.condition_size
    if network.prefers_channels_last:  # numbers stay the same
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _check_own_network(row: Recipe, encoder: nn.Module, decoder: nn.Module, outputs: Shape) -> None:
    """Raise :class:`UserError` if a user's network has the wrong output shape, or BatchNorm with ``prior=vamp``."""
    inputs = ((row.latent_dim or 0) + row.condition_size,)
    found = output_for(decoder, inputs, f"the decoder of net={row.net}")
    if tuple(found.shape) != (1, *outputs):
        raise UserError(
            f"net={row.net}: its decoder returns {list(found.shape)} for one latent; expected {[1, *outputs]}, with "
            f"the channels that likelihood={row.likelihood} asks for"
        )
    if row.prior == "vamp" and any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in encoder.modules()):
        raise UserError(
            f"recipe {row.name!r}: prior=vamp encodes learned images, which would mix with the batch in the BatchNorm "
            f"of net={row.net}; set another prior"
        )


def build_objective(recipe: Recipe) -> Objective:
    """Return the objective of a recipe."""
    return registry.objective(recipe.objective).from_recipe(recipe)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters())


def can_free_bits(row: Recipe) -> bool:
    """Whether each latent dimension has its own rate, as free bits require."""
    has_normals, prior = row.posterior in ("normal", "grid-normal", "ladder"), registry.prior(row.prior)
    return row.objective == "elbo" and has_normals and prior is not None and prior.is_normal


def _refuse_impossible(row: Recipe, shape: Shape) -> None:
    """Raise :class:`UserError` if parts are incompatible with each other or with images of this shape."""
    objective, network = registry.objective(row.objective), registry.network(row.net)
    posterior, prior = registry.posterior(row.posterior), registry.prior(row.prior)
    likelihood = registry.likelihood(row.likelihood)
    faults = (
        _without_density(row, objective),
        objective.refuses(row, shape),
        _unused_weights(row, objective),
        _unused_grid(row, network),
        _mixed_latents(row),
        posterior.refuses(row, shape),
        None if prior is None else prior.refuses(row, shape) or _unlearned(row, prior),
        _too_far_moved(row, shape),
        likelihood.refuses(row, shape),
        _no_start(row, network, likelihood),
        network.refuses(row, shape),
    )
    for fault in filter(None, faults):
        raise UserError(fault)


def _without_density(row: Recipe, objective: type[Objective]) -> str | None:
    if not objective.needs_density or row.has_density:
        return None
    return (
        f"recipe {row.name!r}: objective={row.objective} needs a posterior and a prior with densities; "
        f"give {argument('posterior', 'normal')} and {argument('prior', 'standard-normal')}, or "
        f"{argument('objective', 'distortion')}"
    )


def _unused_weights(row: Recipe, objective: type[Objective]) -> str | None:
    """Refuse values that the objective or the posterior would ignore."""
    if row.beta != 1 and not objective.uses_beta:
        beta = argument("beta", f"{row.beta:g}")
        return f"{beta}: objective={row.objective} has weights of its own; give {argument('beta', 1)}"
    if row.free_bits_nats and not can_free_bits(row):
        return (
            f"{argument('free_bits_nats', f'{row.free_bits_nats:g}')}: free bits need a normal posterior, a normal "
            f"prior and objective=elbo; give {argument('free_bits_nats', 0)}"
        )
    if row.posterior_mean_gain and row.posterior != "ladder":
        gain = argument("posterior_mean_gain", f"{row.posterior_mean_gain:g}")
        return f"{gain}: posterior={row.posterior} does not use it; leave it out"
    return None


def _unused_grid(row: Recipe, network: type[Network]) -> str | None:
    """Refuse the size of a latent grid for a network that has none."""
    for name, value in (("downsampling", row.downsampling), ("latent_channels", row.latent_channels)):
        if value is not None and name not in network.latent_settings:
            return f"{argument(name, value)}: net={row.net} does not use it; leave it out{_begin_with('grid')}"
    return None


def _refuse_mixed_latents(row: Recipe) -> None:
    if fault := _mixed_latents(row):
        raise UserError(fault)


def _mixed_latents(row: Recipe) -> str | None:
    """Refuse a network, posterior or prior for another kind of latent."""
    prior = registry.prior(row.prior)
    parts = {
        "net": (row.net, registry.network(row.net).latents),
        "posterior": (row.posterior, (registry.posterior(row.posterior).latent,)),
        "prior": (row.prior, LATENTS if prior is None else prior.latents),
    }
    wrong = [f"{part}={name}" for part, (name, latents) in parts.items() if row.latent not in latents]
    if not wrong:
        return None
    return (
        f"recipe {row.name!r}: latent={row.latent} does not go together with {' and '.join(wrong)}"
        f"{_begin_with(row.latent) if row.latent != 'vector' else ''}"
    )


def _begin_with(latent: str) -> str:
    """The end of a message: which recipes have this kind of latent."""
    able = [name for name, row in RECIPES.items() if row.latent == latent]
    return f"; begin with {argument('recipe', able[0])}" + (f" or {', '.join(able[1:])}" if able[1:] else "")


def _unlearned(row: Recipe, prior: type[Prior]) -> str | None:
    if not prior.is_learned or row.has_bound:
        return None
    return (
        f"recipe {row.name!r}: prior={row.prior} is learned by the bound, which is not what it trains on; "
        f"give {argument('prior', 'none')}, and run vaekit fit-prior afterwards"
    )


def _too_far_moved(row: Recipe, shape: Shape) -> str | None:
    if row.shift < min(shape[1:]):
        return None
    return (
        f"{argument('shift', row.shift)}: must be smaller than a side of the images, which are {shape[1]}x{shape[2]}; "
        "give fewer pixels"
    )


def _no_start(row: Recipe, network: type[Network], likelihood: type[Likelihood]) -> str | None:
    if not row.start_at_mean or (network.can_start_at_mean and likelihood.can_start_at_mean):
        return None
    return (
        f"recipe {row.name!r}: start_at_mean is for dense nets, whose last layer has a value for every pixel, and for "
        f"likelihoods of vaekit; give {argument('start_at_mean', 'false')} or {argument('net', 'mlp')}"
    )
