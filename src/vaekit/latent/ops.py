"""What a trained model can do with images: encode, decode, generate, interpolate and denoise.

    z = E[q(z|x)]        the latent of an image is its posterior mean; samples are drawn only on request
    x̂ = E[p(x|z)]        the picture of a latent is the mean of the likelihood

All functions are pure functions of a model in eval mode and tensors: deterministic, without gradients, in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import refuse
from vaekit.data import Images, Selection, check_float, match_group, to_float, to_uint8
from vaekit.errors import NotFinite, UserError, argument
from vaekit.latent.levels import Moved, progression
from vaekit.latent.paths import points
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel
from vaekit.system.distributed import ALONE, Team
from vaekit.system.memory import physical_bytes
from vaekit.system.number_text import size_text
from vaekit.system.rng import SAMPLES, VERB_NOISE, image_noise, keys_of, noise_of

__all__ = [
    "ATTRIBUTE",
    "GENERATED_AT_ONCE",
    "MOST_STEPS",
    "MOST_STORED_LATENTS",
    "add_noise",
    "check_steps",
    "decode",
    "denoise",
    "encode",
    "encode_set",
    "finite",
    "generate",
    "generate_in_pieces",
    "group_latents",
    "interpolate",
    "posteriors",
    "reconstruct",
    "reconstruct_by_level",
    "stored_columns",
    "thinned",
]

MOST_STEPS = 1000  #: in a walk
MOST_STORED_LATENTS = 20_000  #: of the training images, stored in the run
GENERATED_AT_ONCE = 16  #: images, always in a batch of this size
_MOST_STORED_NUMBERS = 1 << 25  # in all of them: 128 MiB


@torch.inference_mode()
def encode(
    model: LatentModel,
    pixels: Tensor | Selection,
    batch_size: int = 128,
    team: Team = ALONE,
    view: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Encode images to posterior means.

    Args:
        model: The model in eval mode; in training mode BatchNorm would mix the images of a batch.
        pixels: uint8 ``[N, C, H, W]``.
        batch_size: Images per batch.
        team: Processes that share the work; all of them get the complete result.
        view: What to keep of the latents ``[B, L]`` of a batch, such as ``model.summary``; by default all.

    Returns:
        float32 ``[N, L]`` on the CPU, or ``[N, S]`` with a view. Deterministic.

    Raises:
        NotFinite: If a latent is NaN or infinite.
    """
    view = view or (lambda z: z)
    size = view(torch.zeros(1, model.latent_dim)).shape[1]
    latents = torch.zeros(len(pixels), size)  # allocated at once, to avoid fragmentation by small pieces
    for rows, qz in posteriors(model, pixels, batch_size, team):
        latents[rows] = view(qz.mean)
    team.sum_(latents)
    return finite(latents, "latents")


def posteriors(
    model: LatentModel,
    pixels: Tensor | Selection,
    batch_size: int = 128,
    team: Team = ALONE,
    mirrored: bool = False,
) -> Iterator[tuple[slice, LatentDistribution]]:
    """Yield this process's batches of images, uint8 ``[N, C, H, W]``: their rows, and the posterior of each.

    With ``mirrored``, the posteriors are those of the images with left and right exchanged.
    """
    model.check_eval_mode()
    batch_size = model.at_once(batch_size)
    for start in range(team.rank * batch_size, len(pixels), team.size * batch_size):
        chunk = to_float(pixels[start : start + batch_size].to(model.device))
        yield slice(start, start + len(chunk)), model.encode(chunk.flip(-1) if mirrored else chunk)


@torch.inference_mode()
def decode(model: LatentModel, z: Tensor, batch_size: int = 128) -> Tensor:
    """Decode latents ``[N, L]`` to the mean of the likelihood, uint8 ``[N, C, H, W]`` on the CPU."""
    model.check_eval_mode()
    if z.ndim != 2 or z.shape[1] != model.latent_dim:
        raise UserError(f"latents have shape {tuple(z.shape)}; expected [N, {model.latent_dim}]")
    chunks = z.split(model.at_once(batch_size)) if len(z) else [z.new_zeros(1, model.latent_dim)]
    pictures = [to_uint8(finite(model.decode(chunk.to(model.device)).mean, "pictures")).cpu() for chunk in chunks]
    return torch.cat(pictures)[: len(z)]


def reconstruct(model: LatentModel, pixels: Tensor, batch_size: int = 128) -> Tensor:
    """Encode and decode uint8 images ``[N, C, H, W]`` by their posterior means; the result has the same shape."""
    return decode(model, encode(model, pixels, batch_size), batch_size)


def reconstruct_by_level(model: LadderModel, pixels: Tensor, most: int | None = None) -> dict[str, Tensor]:
    """Reconstruct images from their first levels, with the others at the mean of their prior.

    Args:
        model: The model in eval mode.
        pixels: uint8 ``[N, C, H, W]``.
        most: Largest number of levels to keep before all are kept; by default all numbers are shown.

    Returns:
        Reconstructions uint8 ``[N, C, H, W]`` by what was kept: ``level 1``, ``levels 1 to 2``, …, ``all 4 levels``.
    """
    count = len(model.latent_shapes)
    kept = dict.fromkeys([*range(1, 1 + (most or count)), count])
    names = (f"all {count} levels" if n == count else "level 1" if n == 1 else f"levels 1 to {n}" for n in kept)
    latents = progression(model, encode(model, pixels), [*kept])
    return {name: decode(model, z) for name, z in zip(names, latents, strict=True)}


def generate(
    model: LatentModel,
    count: int,
    seed: int = 0,
    recipe: str = "",
    condition: Tensor | None = None,
    temperature: float | Sequence[float] = 1.0,
    source: LatentDistribution | None = None,
) -> Tensor:
    """Generate images from samples of the prior, or of the prior that was fitted afterward.

    Image i of a seed is the same for every ``count``: its noise has its own stream, and it is computed at the same
    position of a batch of constant size, because sums in other batches may round differently.

    Args:
        model: The model in eval mode.
        count: Number of images.
        seed: Random seed.
        recipe: Name of the recipe, for messages.
        condition: Condition ``[C]`` of a conditional model.
        temperature: Factor of the standard deviation of a normal prior (Vahdat & Kautz 2020, Sec. 4.1; Child 2021,
            Sec. 4.1), one number, or one per level of the latent, top first.
        source: What latents are drawn from, in place of the prior.

    Returns:
        uint8 ``[count, C, H, W]``.

    Raises:
        UserError: If the model has no prior, ``count`` is below 1, or the prior has no temperature.
    """
    refuse("generate", model, recipe)
    _check_temperature(model, temperature, recipe)
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 image", "count")
    _check_memory(model, count)
    return torch.cat(list(generate_in_pieces(model, count, seed, condition, temperature, source)))


def _check_temperature(model: LatentModel, temperature: float | Sequence[float], recipe: str) -> None:
    """Raise :class:`UserError` unless the prior has a temperature, and for each level of it a valid one is given."""
    factors = [temperature] if isinstance(temperature, int | float) else list(temperature)
    text, levels = ", ".join(f"{factor:g}" for factor in factors), len(model.latent_shapes)
    if any(factor != 1 for factor in factors):
        if model.fitted_prior is not None and not model.fitted_prior.is_normal:
            raise UserError(
                f"temperature {text}: new images are drawn from the prior that fit-prior fitted to the latents, which "
                "is not normal and has no standard deviation to scale; remove it with fit-prior and "
                f"{argument('kind', 'none')}",
                "temperature",
            )
        refuse("temperature", model, recipe)
    if not all(0 <= factor < math.inf for factor in factors):
        raise UserError(f"temperature {text}: expected a number of at least 0, such as 0.8", "temperature")
    if not isinstance(temperature, int | float) and len(factors) != levels:
        expected = f"one number, or {levels}, one per level, top first" if levels > 1 else "one number"
        raise UserError(f"temperature {text}: expected {expected}", "temperature")


def _check_memory(model: LatentModel, count: int) -> None:
    """Refuse more images than the memory of this machine holds, before hours of drawing them."""
    assert model.image_shape is not None
    needed, memory = 2 * count * math.prod(model.image_shape), physical_bytes()  # in pieces, and together
    if memory is not None and needed > memory:
        raise UserError(
            f"count {count}: so many images need {size_text(needed)} of memory, and this machine has "
            f"{size_text(memory)}; generate fewer at a time, each time with another {argument('seed')}",
            "count",
        )


def generate_in_pieces(
    model: LatentModel,
    count: int,
    seed: int = 0,
    condition: Tensor | None = None,
    temperature: float | Sequence[float] = 1.0,
    source: LatentDistribution | None = None,
) -> Iterator[Tensor]:
    """Yield the images of :func:`generate` in batches, for more than fit into memory."""
    for start in range(0, count, GENERATED_AT_ONCE):
        noise = image_noise(seed, SAMPLES, start, GENERATED_AT_ONCE, (model.latent_dim,))
        yield _sample(model, model.tempered(noise, temperature), condition, source)[: count - start]


def encode_set(
    model: LatentModel, images: Images, mask: np.ndarray | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Encode the training images that a run stores, with their labels and attributes.

    They are up to 20,000, evenly spaced; fewer if their latents would fill more than 128 MiB.

    Args:
        model: The model in eval mode.
        images: The images.
        mask: Training images, bool ``[N]``; all if omitted.

    Returns:
        Tensors ``latents`` float32 ``[n, L]``, ``labels`` int64 ``[n]`` if there are any, and ``attribute.NAME``
        ``[n]`` for each column, float64 or int64 indices into its strings; and facts with the class names and the
        strings. :func:`group_latents` reads them.
    """
    rows = np.arange(len(images)) if mask is None else np.flatnonzero(mask)
    rows = thinned(model, rows)
    tensors = {"latents": encode(model, images.selection(rows))}
    if images.labels is not None:
        tensors["labels"] = images.labels[torch.from_numpy(rows)].to(torch.int64)
    strings: dict[str, list[str]] = {}
    for name, column in ((name, whole[rows]) for name, whole in images.attributes.items()):
        if column.dtype.kind == "f":
            tensors[ATTRIBUTE + name] = torch.from_numpy(column.astype(np.float64))
        else:
            values, indices = np.unique(column.astype(str), return_inverse=True)
            strings[name] = values.tolist()
            tensors[ATTRIBUTE + name] = torch.from_numpy(indices.reshape(-1).astype(np.int64))
    return tensors, {"classes": list(images.classes), "strings": strings}


def thinned(model: LatentModel, rows: np.ndarray) -> np.ndarray:
    """Return the rows ``[N]``, or as many of them, evenly spaced, as the latents of one run may fill memory."""
    most = min(MOST_STORED_LATENTS, max(1, _MOST_STORED_NUMBERS // model.latent_dim))
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def group_latents(tensors: dict[str, Tensor], facts: dict[str, Any], query: str) -> Tensor:
    """Return the stored latents ``[M, L]`` of a group such as ``label:smiling`` or ``attr:glasses=1,male=0``.

    Raises:
        UserError: If the group is unknown or empty. The message lists what exists.
    """
    mask = match_group(query, *stored_columns(tensors, facts))
    return tensors["latents"][torch.from_numpy(mask)]


def stored_columns(
    tensors: dict[str, Tensor], facts: dict[str, Any]
) -> tuple[np.ndarray | None, tuple[str, ...], dict[str, np.ndarray]]:
    """Return labels, classes and attributes from the result of :func:`encode_set`."""
    strings = facts.get("strings", {})
    attributes = {}
    for key in tensors:
        if key.startswith(ATTRIBUTE):
            name, column = key.removeprefix(ATTRIBUTE), tensors[key].numpy()
            attributes[name] = np.array(strings[name])[column] if name in strings else column
    labels = tensors["labels"].numpy() if "labels" in tensors else None
    return labels, tuple(facts.get("classes", ())), attributes


def interpolate(
    model: LatentModel, z_a: Tensor, z_b: Tensor, steps: int, path: str = "linear", what: Moved | None = None
) -> Tensor:
    """Decode a path between latents, including its ends.

    Args:
        model: The model in eval mode.
        z_a: Start ``[..., L]``.
        z_b: End ``[..., L]``.
        steps: Number of pictures.
        path: As in :func:`vaekit.latent.paths.points`.
        what: What moves in a hierarchy; by default its top level.

    Returns:
        uint8 ``[steps, ..., C, H, W]``.

    Raises:
        UserError: If there are fewer than two steps, or ``path`` is unknown.
    """
    check_steps(steps)
    z = points(model, z_a, z_b, steps, path, what)
    result: Tensor = decode(model, z.flatten(0, -2)).unflatten(0, z.shape[:-1])
    return result


def check_steps(steps: int) -> None:
    """Raise :class:`UserError` unless a walk has 2 to :data:`MOST_STEPS` steps."""
    if not 2 <= steps <= MOST_STEPS:
        raise UserError(f"steps {steps:,}: expected 2 (the ends) to {MOST_STEPS:,}", "steps")


def add_noise(x: Tensor, std: float, seed: int = 0) -> Tensor:
    """Add normal noise of standard deviation ``std`` to float images ``[N, C, H, W]`` in [0, 1], without clamping.

    The noise of an image depends only on the seed and its own bytes.

    Raises:
        UserError: If ``std`` is negative or not finite.
    """
    if not 0 <= std < float("inf"):
        raise UserError(f"noise_std {std}: expected a standard deviation such as 0.3", "noise_std")
    return x + std * noise_of(keys_of(to_uint8(x)), seed, VERB_NOISE, tuple(x.shape[1:])).to(x.device)


@torch.inference_mode()
def denoise(model: LatentModel, x: Tensor, batch_size: int = 128) -> Tensor:
    """Reconstruct noisy float images ``[N, C, H, W]``, N ≥ 1, as floats in [0, 1] on the CPU.

    Input values may be out of [0, 1]; they are not clamped.
    """
    model.check_eval_mode()
    check_float(x)
    pictures = [model.decode(model.encode(chunk.to(model.device)).mean).picture for chunk in x.split(batch_size)]
    return finite(torch.cat([picture.cpu() for picture in pictures]), "pictures")


@torch.inference_mode()
def _sample(
    model: LatentModel, noise: Tensor, condition: Tensor | None, source: LatentDistribution | None = None
) -> Tensor:
    model.check_eval_mode()
    noise = noise.to(model.device)
    px = model.sample(noise, condition) if source is None else model.decode(source.from_noise(noise))
    return to_uint8(finite(px.mean, "pictures")).cpu()


def finite(numbers: Tensor, what: str) -> Tensor:
    """Return ``numbers``, or raise :class:`NotFinite`; converted to bytes, NaN would be black."""
    if not bool(numbers.isfinite().all()):
        raise NotFinite(what)
    return numbers


ATTRIBUTE = "attribute."  #: prefix of the name of a stored column
