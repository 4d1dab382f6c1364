"""A recipe row and the shape of the images → a model and its objective. Impossible pairs are refused here."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from vaekit.config.table import Recipe, check
from vaekit.errors import UserError, argument, lacks_memory
from vaekit.model.contracts import Likelihood, Objective, Posterior, Prior, Shape
from vaekit.model.latent_model import LatentModel
from vaekit.model.likelihoods import (
    DISCRETIZED_LOG_SCALES,
    BernoulliHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretizedLogisticHead,
    DiscretizedNormalHead,
    LaplaceHead,
    MixtureHead,
    NormalHead,
)
from vaekit.model.nets import (
    Grid,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    SeedConvDecoder,
    SeedConvEncoder,
    default_patch,
)
from vaekit.model.objectives import ELBO, IWAE, MMD, Capacity, Distortion, TotalCorrelation
from vaekit.model.posteriors import FlowPosterior, NormalPosterior, PointPosterior
from vaekit.model.priors import ConditionalNormal, FittedNormal, FlowPrior, StandardNormal, VampPrior
from vaekit.model.quantizers import (
    AutoregressiveWords,
    CodebookPosterior,
    CodePosterior,
    IndependentWords,
)
from vaekit.pixels.sizes import suggested
from vaekit.system.memory import physical_bytes

__all__ = ["build_model", "build_objective", "can_free_bits", "parameter_count", "resolve"]

_MOST_FLOW_LATENTS = 4096  #: its masks grow with their square
_MOST_EPOCHS = 500  #: where the recipe names none


def resolve(recipe: Recipe, shape: Shape, train_images: int = 10_000) -> Recipe:
    """Fills the values left to be chosen from the image shape ``(C, H, W)`` and the number of training images.

    Refuses impossible pairs with a :class:`UserError`.
    """
    longer = max(shape[1:])
    width = recipe.width or (32 if longer <= 16 else 64)
    patch = recipe.patch or default_patch(*shape[1:])
    latent_dim = recipe.latent_dim or (16 if longer <= 16 else 32 if longer <= 32 else 128)
    if recipe.latent == "codes":
        cells = math.prod(Grid(shape, width, patch, recipe.smallest_grid).coarsest[1:])
        size = recipe.code_size
        latent_dim = cells * size
        if recipe.latent_dim not in (None, latent_dim):
            raise UserError(
                f"latent_dim={recipe.latent_dim}: {cells} cells of {size} numbers make {latent_dim}; leave it out, and "
                "set code_dim, code_levels or smallest_grid"
            )
    wanted = round(recipe.images_to_train / train_images)
    epochs = recipe.epochs or float(min(_MOST_EPOCHS, max(recipe.fewest_epochs, wanted)))
    # Many small steps beat few large ones at equal time on a CPU, until the overhead of a step shows.
    batch_size = recipe.batch_size or (32 if longer < 64 else 16)
    row = replace(recipe, latent_dim=latent_dim, width=width, patch=patch, epochs=epochs, batch_size=batch_size)
    check(row)
    _refuse_impossible(row, shape)
    return row


def build_model(recipe: Recipe, shape: Shape, seed: int = 0) -> LatentModel:
    """The model of a resolved row for images of ``shape`` ``(C, H, W)``, its weights drawn from ``seed``.

    Raises :class:`UserError` if it does not fit into memory. Its size is known before anything is allocated.
    """
    row, is_meta = resolve(recipe, shape), torch.empty(0).device.type == "meta"
    try:
        if not is_meta:
            with torch.device("meta"):  # shapes alone
                _refuse_huge(row, _built(row, shape, seed))
        return _built(row, shape, seed)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        raise UserError(_too_large(row, "more memory than can be counted")) from error


def _refuse_huge(row: Recipe, model: nn.Module) -> None:
    """Refuses a model whose numbers alone fill the memory of this machine."""
    needed = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    whole = physical_bytes()
    if whole is not None and needed > whole:
        raise UserError(_too_large(row, f"{needed / 1e9:,.1f} GB, this machine has {whole / 1e9:,.1f} GB"))


def _too_large(row: Recipe, needed: str) -> str:
    return (
        f"a model of recipe {row.name!r} with these values does not fit into memory: it needs {needed}; give smaller "
        f"ones ({argument('latent_dim')}, {argument('size')}, {argument('width')})"
    )


def _built(row: Recipe, shape: Shape, seed: int) -> LatentModel:
    assert row.latent_dim is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        likelihood = _LIKELIHOODS[row.likelihood].from_recipe(row)
        encoder = _encoder(row, shape)
        posterior = _POSTERIORS[row.posterior].from_recipe(row, encoder.features + row.condition_size, shape)
        prior = _PRIORS[row.prior].from_recipe(row, shape) if row.prior != "none" else None
        decoder = _decoder(row, (likelihood.outputs(shape[0]), *shape[1:]))
    model = LatentModel(encoder, posterior, prior, decoder, likelihood, row.latent_dim)
    model.image_shape, model.decoder_l2 = shape, row.decoder_l2
    model.condition_size = row.condition_size
    # Convolutions of this net are faster with channels last; their numbers stay the same.
    return model.to(memory_format=torch.channels_last) if row.net == "resnet" else model  # type: ignore[call-overload]


def build_objective(recipe: Recipe) -> Objective:
    """The objective of a row."""
    return _OBJECTIVES[recipe.objective].from_recipe(recipe)


def parameter_count(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in model.parameters())


_OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": ELBO,
    "capacity": Capacity,
    "tc": TotalCorrelation,
    "mmd": MMD,
    "iwae": IWAE,
    "iwae-dreg": IWAE,
    "distortion": Distortion,
}

_PRIORS: dict[str, type[Prior]] = {
    "standard-normal": StandardNormal,
    "fitted-normal": FittedNormal,
    "conditional-normal": ConditionalNormal,
    "vamp": VampPrior,
    "flow": FlowPrior,
    "words": IndependentWords,
    "autoregressive-words": AutoregressiveWords,
}

_POSTERIORS: dict[str, type[Posterior]] = {
    "point": PointPosterior,
    "normal": NormalPosterior,
    "iaf": FlowPosterior,
    "vq": CodebookPosterior,
    "fsq": CodePosterior,
}

_LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": NormalHead,
    "laplace": LaplaceHead,
    "continuous-bernoulli": ContinuousBernoulliHead,
    "bernoulli": BernoulliHead,
    "discretized-logistic": DiscretizedLogisticHead,
    "discretized-logistic-mixture": MixtureHead,
    "discretized-normal": DiscretizedNormalHead,
    "categorical": CategoricalHead,
}


def _encoder(row: Recipe, shape: Shape) -> MLPEncoder | SeedConvEncoder | ResNetEncoder:
    if row.net == "mlp":
        return MLPEncoder(shape, row.hidden, row.activation)
    if row.net == "seed-conv":
        return SeedConvEncoder(shape)
    assert row.width and row.patch
    return ResNetEncoder(shape, row.width, row.depth, row.patch, row.smallest_grid)


def _decoder(row: Recipe, shape: Shape) -> nn.Module:
    assert row.latent_dim and row.width and row.patch
    inputs = row.latent_dim + row.condition_size
    if row.net == "mlp":
        return MLPDecoder(shape, row.hidden, inputs, row.activation)
    if row.net == "seed-conv":
        return SeedConvDecoder(shape, inputs)
    is_grid = row.latent == "codes"
    return ResNetDecoder(shape, row.width, row.depth, row.patch, inputs, row.smallest_grid, is_grid)


def _refuse_impossible(row: Recipe, shape: Shape) -> None:
    if row.objective not in ("distortion", "mmd") and (row.posterior == "point" or row.prior == "none"):
        raise UserError(
            f"recipe {row.name!r}: objective={row.objective} needs a posterior and a prior with densities; "
            "set posterior=normal and prior=standard-normal, or objective=distortion"
        )
    if row.bound_samples and (row.beta, row.kl_warmup, row.free_bits_nats) != (1, 0, 0):
        raise UserError(
            f"recipe {row.name!r}: objective={row.objective} is the bound itself and weighs nothing; "
            "set beta=1, kl_warmup=0 and free_bits_nats=0, or objective=elbo"
        )
    _refuse_weights(row)
    if row.posterior == "point" and row.samples > 1:
        raise UserError(f"samples={row.samples}: an autoencoder has one code per image; set samples=1")
    _refuse_codes(row)
    _refuse_priors(row)
    _refuse_comparisons(row)
    if row.shift >= min(shape[1:]):
        raise UserError(
            f"shift={row.shift}: must be smaller than a side of the images, which are {shape[1]}x{shape[2]}; "
            "give fewer pixels"
        )
    if row.jitter and row.likelihood == "bernoulli":
        raise UserError("jitter makes pixels grey, likelihood=bernoulli is for binary ones; set jitter=0")
    _refuse_fixed_scale(row)
    if row.start_at_mean and row.net != "mlp":
        raise UserError(
            f"recipe {row.name!r}: start_at_mean is for dense nets, whose last layer has a value for every pixel; "
            "set start_at_mean=false or net=mlp"
        )
    if row.net == "seed-conv" and any(side % 8 or side < 16 for side in shape[1:]):
        raise UserError(
            f"recipe {row.name!r} needs sides that are multiples of 8 and at least 16, the images are "
            f"{shape[1]}x{shape[2]}; give {argument('size', 256)} (its specification) or another such size"
        )
    if row.net == "resnet" and not all(8 <= side <= 512 for side in shape[1:]):
        raise UserError(
            f"net=resnet serves sides from 8 to 512 pixels, the images are {shape[1]}x{shape[2]}; "
            f"give {_sizes_to_give(shape)}"
        )


def _sizes_to_give(shape: tuple[int, int, int]) -> str:
    """The arguments that bring images to a size that can be trained, as ``vaekit data`` suggests them."""
    wanted = suggested([shape[1:]])
    return f"{wanted.arguments} ({wanted.reason})" if wanted.fit != "crop" else wanted.arguments


def _refuse_weights(row: Recipe) -> None:
    """What an objective would leave aside without a word."""
    if row.bound_samples:
        return  # it has said so of all of them
    if row.beta != 1 and row.objective not in ("elbo", "mmd"):
        raise UserError(f"beta={row.beta:g}: objective={row.objective} has weights of its own; set beta=1")
    if row.free_bits_nats and not can_free_bits(row):
        raise UserError(
            f"free_bits_nats={row.free_bits_nats:g}: it is of the dimensions of a normal posterior under a normal "
            "prior, by objective=elbo; set free_bits_nats=0"
        )


def can_free_bits(row: Recipe) -> bool:
    """Whether each dimension of the latent has a rate of its own, which may cost nothing."""
    normals = ("standard-normal", "fitted-normal", "conditional-normal")
    return row.objective == "elbo" and row.posterior == "normal" and row.prior in normals


def _refuse_codes(row: Recipe) -> None:
    """Codes come with their own posteriors and priors, and these with codes."""
    is_codes = row.latent == "codes"
    if is_codes != (row.posterior in ("vq", "fsq")) or (row.prior.endswith("words") and not is_codes):
        raise UserError(
            f"recipe {row.name!r}: latent=codes goes with posterior=vq or fsq, and these with a prior of words; "
            f"latent={row.latent}, posterior={row.posterior} and prior={row.prior} do not go together: begin with "
            f"{argument('recipe', 'vq-vae')} or fsq-vae"
        )
    if is_codes and (row.net, row.objective) != ("resnet", "elbo"):
        raise UserError(
            f"recipe {row.name!r}: codes lie on the grid of net=resnet and train by objective=elbo; set both"
        )
    if is_codes and not row.prior.endswith("words"):
        raise UserError(
            f"recipe {row.name!r}: prior={row.prior} is of vectors; set prior=autoregressive-words or words"
        )
    if is_codes and row.is_conditional:
        raise UserError(f"recipe {row.name!r}: codes are of images that nothing is told of; set is_conditional=false")
    if is_codes and row.samples > 1:
        raise UserError(f"samples={row.samples}: an image has one code per cell; set samples=1")


def _refuse_priors(row: Recipe) -> None:
    """What a prior cannot be put together with."""
    if row.prior in ("fitted-normal", "vamp") and row.posterior != "normal":
        raise UserError(
            f"recipe {row.name!r}: prior={row.prior} is made of normal posteriors; "
            "set posterior=normal, or prior=standard-normal"
        )
    if row.is_conditional and row.prior == "vamp":
        raise UserError(
            f"recipe {row.name!r}: of the learned images of prior=vamp nothing can be told; set is_conditional=false"
        )
    if row.prior == "conditional-normal" and not row.is_conditional:
        raise UserError(f"recipe {row.name!r}: prior={row.prior} is of what a model is told; set is_conditional=true")
    if row.prior == "vamp" and row.net == "seed-conv":
        raise UserError(
            f"recipe {row.name!r}: prior=vamp encodes learned images, which would mix with the batch in the "
            "normalisation of net=seed-conv; set net=resnet or net=mlp"
        )
    if row.prior not in ("none", "standard-normal", "fitted-normal") and not row.has_bound:
        raise UserError(
            f"recipe {row.name!r}: prior={row.prior} is learned by the bound, which is not what it trains on; "
            "set prior=none, and run vaekit fit-prior afterwards"
        )
    if (row.prior == "flow" or row.posterior == "iaf") and not 2 <= (row.latent_dim or 0) <= _MOST_FLOW_LATENTS:
        raise UserError(
            f"recipe {row.name!r}: a flow needs two latents at least, and serves {_MOST_FLOW_LATENTS:,} at most; give "
            f"another {argument('latent_dim')}"
        )


def _refuse_comparisons(row: Recipe) -> None:
    """What objectives that compare codes with one another, or with the prior, cannot do with others."""
    if row.objective in ("mmd", "tc") and row.batch_size == 1:
        raise UserError(
            f"objective={row.objective} compares images with one another; give a {argument('batch_size')} of 2 or more"
        )
    if row.objective == "mmd" and row.prior != "standard-normal":
        raise UserError(
            f"recipe {row.name!r}: objective=mmd holds codes to a standard normal; set prior=standard-normal"
        )
    if row.objective == "tc" and (row.prior, row.posterior) != ("standard-normal", "normal"):
        raise UserError(
            f"recipe {row.name!r}: objective=tc takes the rate apart by dimension; "
            "set prior=standard-normal and posterior=normal"
        )
    if row.objective == "iwae-dreg" and row.posterior == "iaf":
        raise UserError(
            f"recipe {row.name!r}: the density of posterior=iaf is known of its own samples alone; set objective=iwae"
        )


def _refuse_fixed_scale(row: Recipe) -> None:
    """Float32 cannot divide by the probabilities of bins that are far too wide or too narrow."""
    low, high = (math.exp(bound) for bound in DISCRETIZED_LOG_SCALES)
    is_discretized = row.likelihood in ("discretized-logistic", "discretized-normal")
    if is_discretized and row.scale == "fixed" and not low <= row.fixed_scale <= high:
        raise UserError(
            f"fixed_scale={row.fixed_scale:g}: with likelihood={row.likelihood} give {low:.2g} to {high:.2g}, on the "
            "[0, 1] scale of pixels, or scale=shared"
        )
