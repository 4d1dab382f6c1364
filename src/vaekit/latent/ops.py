"""What a trained model can do with images: encode, decode, generate, interpolate, add and subtract, denoise.

    z = E[q(z|x)]        an image's code is its posterior mean: no sampling unless a sample is asked for
    x̂ = E[p(x|z)]        a code's picture is the likelihood's mean

Everything here is a pure function of a model in eval mode and tensors: deterministic, without gradients, in
chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import refuse
from vaekit.data import Images, Selection, check_float, match_group, to_float, to_uint8
from vaekit.errors import NotFinite, UserError, nearest
from vaekit.model.latent_model import LatentModel
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import SAMPLES, VERB_NOISE, image_noise, keys_of, noise_of

__all__ = [
    "ATTRIBUTE",
    "MOST_STEPS",
    "MOST_STORED_LATENTS",
    "PATHS",
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
    "reconstruct",
    "spherical",
    "stored_columns",
]

PATHS = ("linear", "spherical")  #: between two codes

MOST_STEPS = 1000  #: of a walk
MOST_STORED_LATENTS = 20_000  #: of the training images, kept in the run
_GENERATED_AT_ONCE = 16
_TINY = 1e-12
_NO_PLANE = 1e-3  # sine of an angle below which two directions span none


@torch.inference_mode()
def encode(model: LatentModel, pixels: Tensor | Selection, batch_size: int = 128, team: Team = ALONE) -> Tensor:
    """Posterior means ``[N, L]``, float32 on the CPU, of uint8 images ``[N, C, H, W]``. Deterministic.

    Each process of a ``team`` encodes some of the chunks, and all get all.

    The model must be in eval mode (an assertion): in training mode BatchNorm would mix the images of a batch.
    """
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    device = _device(model)
    codes = torch.zeros(len(pixels), model.latent_dim)  # at once: small pieces would lie between large freed blocks
    for start in range(team.rank * batch_size, len(pixels), team.size * batch_size):
        chunk = to_float(pixels[start : start + batch_size].to(device))
        codes[start : start + len(chunk)] = model.encode(chunk).mean
    team.sum_(codes)
    return finite(codes, "codes")


@torch.inference_mode()
def decode(model: LatentModel, z: Tensor, batch_size: int = 128) -> Tensor:
    """The pictures, uint8 ``[N, C, H, W]`` on the CPU, of codes ``[N, L]``: the likelihood's mean."""
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    if z.ndim != 2 or z.shape[1] != model.latent_dim:
        raise UserError(f"latents have shape {tuple(z.shape)}; expected [N, {model.latent_dim}]")
    device = _device(model)
    chunks = z.split(model.at_once(batch_size)) if len(z) else [z.new_zeros(1, model.latent_dim)]
    pictures = [to_uint8(finite(model.decode(chunk.to(device)).mean, "pictures")).cpu() for chunk in chunks]
    return torch.cat(pictures)[: len(z)]


def reconstruct(model: LatentModel, pixels: Tensor, batch_size: int = 128) -> Tensor:
    """uint8 images ``[N, C, H, W]`` → the pictures of their posterior means, of the same shape."""
    return decode(model, encode(model, pixels, batch_size), batch_size)


def generate(
    model: LatentModel, count: int, seed: int = 0, recipe: str = "", condition: Tensor | None = None
) -> Tensor:
    """``count`` new images, uint8 ``[count, C, H, W]``, from samples of the prior, or of what was fitted to the codes.

    Image i of a seed is the same bytes whatever ``count`` is: its noise has its own stream, and it is always
    computed at the same place of a batch of the same size, since sums may round differently in another.
    ``condition`` ``[C]`` is what a conditional model is told. Raises :class:`UserError` if the model has no prior; it
    then names ``recipe``.
    """
    refuse("generate", model, recipe)
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 image", "count")
    return torch.cat(list(generate_in_pieces(model, count, seed, condition)))


def generate_in_pieces(
    model: LatentModel, count: int, seed: int = 0, condition: Tensor | None = None
) -> Iterator[Tensor]:
    """The images of :func:`generate` piece by piece, for more of them than memory holds."""
    for start in range(0, count, _GENERATED_AT_ONCE):
        noise = image_noise(seed, SAMPLES, start, _GENERATED_AT_ONCE, (model.latent_dim,))
        yield _sample(model, noise, condition)[: count - start]


def encode_set(
    model: LatentModel, images: Images, mask: np.ndarray | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a run keeps of its training images: the codes of up to 20,000, evenly spaced, with their columns.

    ``mask`` (bool ``[N]``) says which are the training images; without it all are. Returns tensors ``latents``
    float32 ``[n, L]``, ``labels`` int64 ``[n]`` if there are any, and one ``attribute.NAME`` ``[n]`` per column:
    float64, or int64 positions in its strings; and the facts that name the classes and the strings.
    :func:`group_latents` reads them.
    """
    rows = np.arange(len(images)) if mask is None else np.flatnonzero(mask)
    if len(rows) > MOST_STORED_LATENTS:
        rows = rows[np.arange(MOST_STORED_LATENTS) * len(rows) // MOST_STORED_LATENTS]
    tensors = {"latents": encode(model, images.selection(rows))}
    if images.labels is not None:
        tensors["labels"] = images.labels[torch.from_numpy(rows)].to(torch.int64)
    strings: dict[str, list[str]] = {}
    for name, column in ((name, whole[rows]) for name, whole in images.attributes.items()):
        if column.dtype.kind == "f":
            tensors[ATTRIBUTE + name] = torch.from_numpy(column.astype(np.float64))
        else:
            values, codes = np.unique(column.astype(str), return_inverse=True)
            strings[name] = values.tolist()
            tensors[ATTRIBUTE + name] = torch.from_numpy(codes.reshape(-1).astype(np.int64))
    return tensors, {"classes": list(images.classes), "strings": strings}


def group_latents(tensors: dict[str, Tensor], facts: dict[str, Any], query: str) -> Tensor:
    """The stored codes ``[M, L]`` of a group, ``label:smiling`` or ``attr:glasses=1,male=0``.

    Raises :class:`UserError` that names what is known if the group is unknown or empty.
    """
    mask = match_group(query, *stored_columns(tensors, facts))
    return tensors["latents"][torch.from_numpy(mask)]


def stored_columns(
    tensors: dict[str, Tensor], facts: dict[str, Any]
) -> tuple[np.ndarray | None, tuple[str, ...], dict[str, np.ndarray]]:
    """Labels, classes and attributes of what :func:`encode_set` kept."""
    strings = facts.get("strings", {})
    attributes = {}
    for key in tensors:
        if key.startswith(ATTRIBUTE):
            name, column = key.removeprefix(ATTRIBUTE), tensors[key].numpy()
            attributes[name] = np.array(strings[name])[column] if name in strings else column
    labels = tensors["labels"].numpy() if "labels" in tensors else None
    return labels, tuple(facts.get("classes", ())), attributes


def interpolate(model: LatentModel, z_a: Tensor, z_b: Tensor, steps: int, path: str = "linear") -> Tensor:
    """Pictures uint8 ``[steps, ..., C, H, W]`` on a path between codes ``[..., L]``, its ends included.

    ``linear``: the straight line, in equal steps. ``spherical``: through the noise that a normal prior makes the codes
    of (:func:`spherical`), where samples lie near a sphere; of a prior that is not normal the normal with its moments
    stands for it. Of an autoencoder it turns about the origin of its codes. Raises
    :class:`UserError` for fewer than two steps and for another path.
    """
    check_steps(steps)
    if path not in PATHS:
        raise UserError(f"path {path}: {nearest(path, PATHS)}", "path")
    weights = torch.linspace(0, 1, steps).view(-1, *[1] * z_a.ndim)
    z = z_a * (1 - weights) + z_b * weights if path == "linear" else _turned(model, z_a, z_b, weights)
    return decode(model, z.flatten(0, -2)).unflatten(0, z.shape[:-1])


@torch.inference_mode()
def _turned(model: LatentModel, z_a: Tensor, z_b: Tensor, weights: Tensor) -> Tensor:
    """From one code to the other on a sphere of noise."""
    pz, device = model.drawn_from(), _device(model)
    normal = None if pz is None else pz.moments
    if normal is None:
        return spherical(z_a, z_b, weights)
    noise_a, noise_b = (normal.to_noise(z.to(device)).cpu() for z in (z_a, z_b))
    return normal.from_noise(spherical(noise_a, noise_b, weights).to(device)).cpu()


def check_steps(steps: int) -> None:
    """Raises :class:`UserError` for a walk without two ends, and for one that nobody could look at."""
    if not 2 <= steps <= MOST_STEPS:
        raise UserError(f"steps {steps:,}: expected 2, the two ends, to {MOST_STEPS:,}", "steps")


def spherical(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """From a to b, ``[..., L]``, turning at an even rate (Shoemake 1985, Eq. 1) while the length goes straight.

    ``weights`` 0 to 1, broadcastable. Where a and b point the same way, opposite ways, or nowhere, it is the
    straight line.

    >>> round(float(spherical(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5])).norm()), 4)
    2.0
    """
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    units = a / lengths[0].clamp(min=_TINY), b / lengths[1].clamp(min=_TINY)
    angle = (units[0] * units[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - weights) * angle).sin() * units[0] + (weights * angle).sin() * units[1]) / sine.clamp(min=_TINY)
    along = turned * (lengths[0] * (1 - weights) + lengths[1] * weights)
    has_no_plane = (sine < _NO_PLANE) | (torch.minimum(*lengths) < _TINY)
    return torch.where(has_no_plane, a * (1 - weights) + b * weights, along)


def add_noise(x: Tensor, std: float, seed: int = 0) -> Tensor:
    """Float images ``[N, C, H, W]`` in [0, 1] plus normal noise of standard deviation ``std``, not clamped.

    The noise of an image depends on the seed and its own bytes alone. Raises :class:`UserError` if
    ``std`` is negative or not finite.
    """
    if not 0 <= std < float("inf"):
        raise UserError(f"noise_std {std}: expected a standard deviation, for example 0.3", "noise_std")
    return x + std * noise_of(keys_of(to_uint8(x)), seed, VERB_NOISE, tuple(x.shape[1:])).to(x.device)


@torch.inference_mode()
def denoise(model: LatentModel, x: Tensor, batch_size: int = 128) -> Tensor:
    """Noisy float images ``[N, C, H, W]`` → their reconstructions, float in [0, 1] on the CPU; N ≥ 1.

    The noisy values may leave [0, 1]: they are not clamped.
    """
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    check_float(x)
    device = _device(model)
    pictures = [model.decode(model.encode(chunk.to(device)).mean).picture for chunk in x.split(batch_size)]
    return finite(torch.cat([picture.cpu() for picture in pictures]), "pictures")


@torch.inference_mode()
def _sample(model: LatentModel, noise: Tensor, condition: Tensor | None) -> Tensor:
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    return to_uint8(finite(model.sample(noise.to(_device(model)), condition).mean, "pictures")).cpu()


def finite(numbers: Tensor, what: str) -> Tensor:
    """The numbers, or :class:`NotFinite`: as bytes NaN would be a black picture."""
    if not bool(numbers.isfinite().all()):
        raise NotFinite(what)
    return numbers


def _device(model: LatentModel) -> torch.device:
    return next(model.parameters()).device


ATTRIBUTE = "attribute."  #: begins the name of a stored column
