"""Export a run to ONNX (:mod:`vaekit.export.bundle`), verified against PyTorch on images before it is published."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from vaekit._version import __version__
from vaekit.data import Form, to_float
from vaekit.errors import UserError, argument, nearest
from vaekit.export.bundle import SUMS, TOLERANCES, Session, allowed_in, differences, digest_of, sums_of
from vaekit.export.code_networks import CodeDecoder, CodeEncoder, expected_of_codes
from vaekit.export.description import FORMAT_VERSION, PRIOR
from vaekit.export.readme import readme
from vaekit.latent.codes import code_grid
from vaekit.latent.directions import Direction
from vaekit.model.distributions.base import LatentDistribution, NormalDistribution
from vaekit.model.distributions.latent import DiagonalNormal, Mixture
from vaekit.model.ladder import Hierarchy
from vaekit.model.latent_model import LatentModel
from vaekit.model.token_priors import TokenDistribution
from vaekit.system.new_folder import check_new_folder, whole_folder
from vaekit.system.number_text import size_text

__all__ = ["check_export", "check_exporter", "export"]

_CHECKED_AT_ONCE = 25
_OPSET = 18
_MOST_BYTES = 2_000_000_000  # limit of a protobuf message
#: Outputs of the encoder, and their names in check.npz, where ``noise`` is the input of the prior.
_CHECKED = {"mean": "mean", "log_variance": "log_variance", "noise": "noise_of_mean"}


class _Encoder(nn.Module):
    """Image to posterior mean and, if there is one, log-variance; for a hierarchy, mean and noise of the mean."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode float images ``[N, C, H, W]``."""
        return tuple(_encoded(self.model.encode(image)).values())


def _encoded(q: LatentDistribution) -> dict[str, Tensor]:
    """Return the outputs of the encoder by name."""
    if isinstance(q, Hierarchy):
        return {"mean": q.mean, "noise": q.noise_of_mean}
    return {"mean": q.mean, "log_variance": 2 * q.log_std} if isinstance(q, DiagonalNormal) else {"mean": q.mean}


class _Decoder(nn.Module):
    """Latent to picture."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latents ``[N, L]``."""
        picture: Tensor = self.model.decode(latent).picture
        return picture


class _Prior(nn.Module):
    """Standard normal noise ``[N, L + 1]`` to latents ``[N, L]``; the last number selects a mixture component."""

    def __init__(self, pz: LatentDistribution) -> None:
        super().__init__()
        self.pz = pz

    def forward(self, noise: Tensor) -> Tensor:
        """Transform noise to samples of the prior."""
        pz, e = self.pz, noise[:, :-1]
        if not isinstance(pz, Mixture):
            return pz.from_noise(e)
        fraction = 0.5 + 0.5 * torch.erf(noise[:, -1:] / math.sqrt(2))
        ends = pz.log_weights.exp().cumsum(0)[:-1]
        return pz.of_components((fraction > ends).sum(-1), e)


def check_export(out: Path, precision: str) -> None:
    """Check before the work that the export can be written; raises :class:`UserError`."""
    if precision not in TOLERANCES:
        raise UserError(f"precision {precision}: {nearest(precision, TOLERANCES)}", "precision")
    check_new_folder(out)
    check_exporter()


def check_exporter() -> None:
    """Raise :class:`UserError` if the libraries that write ONNX networks are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("writing ONNX networks needs pip install 'vaekit[export]'") from error


def export(
    model: LatentModel,
    out: Path,
    images: Tensor,
    form: Form,
    directions: Mapping[str, Direction],
    facts: Mapping[str, Any],
    precision: str = "fp32",
) -> dict[str, Any]:
    """Write the export atomically and compare it with PyTorch.

    Args:
        model: The model in eval mode.
        out: New folder.
        images: uint8 images for the comparison.
        form: Form of the images.
        directions: Directions by name.
        facts: Further entries of ``model.json``.
        precision: "fp32" or "fp16".

    Returns:
        The folder, the precision, the largest differences and the digest.

    Raises:
        UserError: If a difference exceeds :data:`vaekit.export.bundle.TOLERANCES`; nothing is then left behind.
    """
    check_export(out, precision)
    model = model.cpu()
    with torch.inference_mode():
        pz = model.drawn_from()
    has_codes = model.latent == "codes"
    size = 4 * max(sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder))
    if size > _MOST_BYTES:
        raise UserError(f"the model has a network of {size_text(size)}, but an ONNX file is limited to 2 GB")
    with whole_folder(out) as folder:
        with _quiet():
            _write_networks(model, pz, folder, precision)
        allowed = allowed_in(precision, has_codes)
        session, largest = Session(folder), dict.fromkeys(allowed, 0.0)
        for batch in images.split(_CHECKED_AT_ONCE):
            off = differences(session, _expected(model, pz, to_float(batch)))
            largest = {name: max(value, largest[name]) for name, value in off.items()}
        for name, value in largest.items():
            if value > allowed[name]:
                raise UserError(
                    f"{name} of the exported networks differ from PyTorch by {value:.2g}, but at most "
                    f"{allowed[name]:.2g} is allowed; no files were written"
                    + (f"; use {argument('precision', 'fp32')}" if precision == "fp16" else "")
                )
        np.savez(folder / "check.npz", **_expected(model, pz, to_float(_patterns(model))))  # type: ignore[arg-type]
        checked = {"images": len(images), "largest_difference": largest, "allowed": allowed}
        described = _described(model, pz, form, directions, precision) | {**facts, "compared_with_pytorch": checked}
        (folder / "model.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        (folder / "example.py").write_text(
            (files("vaekit.export") / "artifact_example.txt").read_text(encoding="utf-8")
        )
        (folder / "README.md").write_text(readme(described), encoding="utf-8")
        (folder / SUMS).write_text(sums_of(folder))
        digest = digest_of(folder)
    return {"written": str(out), "precision": precision, **checked, "digest": digest}


def _write_networks(model: LatentModel, pz: LatentDistribution | None, folder: Path, precision: str) -> None:
    images = to_float(_patterns(model))
    if model.latent == "codes":
        grid = code_grid(model)
        codes = torch.zeros(2, grid.rows, grid.columns, dtype=torch.int64)
        _write_network(CodeEncoder(model), images, folder / "encoder.onnx", "image", ["codes"], precision)
        _write_network(CodeDecoder(model), codes, folder / "decoder.onnx", "codes", ["image"], precision)
        return
    latents = torch.zeros(2, model.latent_dim)
    with torch.inference_mode():
        encoded = list(_encoded(model.encode(images)))
    _write_network(_Encoder(model), images, folder / "encoder.onnx", "image", encoded, precision)
    _write_network(_Decoder(model), latents, folder / "decoder.onnx", "latent", ["image"], precision)
    if _needs_network(pz):
        noise = torch.zeros(2, model.latent_dim + 1)
        # always fp32, because fp16 could select another component
        _write_network(_Prior(pz), noise, folder / PRIOR, "noise", ["latent"], "fp32")


def _write_network(
    network: nn.Module, given: Tensor, path: Path, name: str, outputs: list[str], precision: str
) -> None:
    import onnx

    network.eval()
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        program = torch.onnx.export(
            network, (given,), dynamo=True, input_names=[name], output_names=outputs, dynamic_shapes=shapes,
            opset_version=_OPSET, verbose=False, external_data=False,
        )  # fmt: skip
    except Exception as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        raise
    assert program is not None
    proto = program.model_proto
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        proto = convert_float_to_float16(proto, keep_io_types=True)
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # source code locations and local paths
    onnx.save_model(proto, path)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error; the exporter wraps it in its own exception."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _needs_network(pz: LatentDistribution | None) -> TypeGuard[LatentDistribution]:
    """Whether samples of a prior are no matrix times noise. The prior of codes is not exported."""
    return pz is not None and not isinstance(pz, NormalDistribution | TokenDistribution)


@torch.inference_mode()
def _expected(model: LatentModel, pz: LatentDistribution | None, x: Tensor) -> dict[str, np.ndarray]:
    """Return PyTorch's outputs for float images, and for latents distributed as those of the prior."""
    noise = torch.randn(len(x), model.latent_dim, generator=torch.Generator().manual_seed(0))
    if isinstance(pz, TokenDistribution):
        return {name: tensor.numpy() for name, tensor in expected_of_codes(model, pz, x, noise).items()}
    q = model.encode(x)
    latents = q.mean.flip(0) if pz is None else pz.from_noise(noise)
    arrays = {
        "images": x, "latents": latents, **{_CHECKED[name]: output for name, output in _encoded(q).items()},
        "pictures": model.decode(latents).picture, "round_trips": model.decode(q.mean).picture,
    }  # fmt: skip
    if _needs_network(pz):
        arrays["noise"] = torch.cat([noise, noise[:, :1].flip(0)], dim=1)
        arrays["drawn"] = _Prior(pz)(arrays["noise"])
    return {name: tensor.contiguous().numpy() for name, tensor in arrays.items()}


def _patterns(model: LatentModel) -> Tensor:
    """Return four test images with waves and ramps, uint8 ``[4, C, H, W]``."""
    assert model.image_shape is not None
    channels, height, width = model.image_shape
    across = torch.linspace(0, 1, width).expand(channels, height, width)
    down = torch.linspace(0, 1, height)[:, None].expand(channels, height, width)
    phase = torch.arange(channels).view(-1, 1, 1) / 3
    waves = [across, 1 - down, 0.5 + 0.5 * torch.sin(9 * across + 5 * down + phase), (across - down).abs()]
    return torch.stack([(wave.clamp(0, 1) * 255).round().to(torch.uint8) for wave in waves])


@torch.inference_mode()
def _described(
    model: LatentModel, pz: LatentDistribution | None, form: Form, directions: Mapping[str, Direction], precision: str
) -> dict[str, Any]:
    assert form.size is not None and model.image_shape is not None
    described: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "made_by": f"vaekit {__version__}",
        "precision": precision,
        "image": {
            "channels": model.image_shape[0], "height": form.size[0], "width": form.size[1], "fit": form.fit,
            "background": form.background, "resampling": "bicubic, antialiased", "scale": "divided by 255",
        },
        "latent_dim": model.latent_dim,
        "prior": None,
        "directions": {
            name: {"vector": item.vector.tolist(), "method": item.method, "accuracy": item.accuracy}
            for name, item in directions.items()
        },
    }  # fmt: skip
    if model.latent == "codes":
        described["codes"] = asdict(code_grid(model))
    elif isinstance(pz, Hierarchy):
        mean = pz.mean.tolist()
        described["prior"] = {"formula": f"latent = {PRIOR}(noise)", "network": PRIOR, "mean": mean, "factor": []}
    elif model.latent == "grid" and isinstance(pz, DiagonalNormal) and not (pz.mean.any() or pz.log_std.any()):
        # its matrix, the identity, would have 67 million numbers at 256 pixels
        described["prior"] = {"formula": "latent = noise", "network": None, "mean": pz.mean.tolist(), "factor": []}
    elif pz is not None and pz.moments is not None:
        origin = pz.moments.from_noise(torch.zeros(1, model.latent_dim))
        factor = pz.moments.from_noise(torch.eye(model.latent_dim)) - origin
        is_normal = isinstance(pz, NormalDistribution)
        described["prior"] = {
            "formula": "latent = mean + noise @ factor" if is_normal else f"latent = {PRIOR}(noise)",
            "network": None if is_normal else PRIOR,
            "mean": origin[0].tolist(),
            "factor": factor.tolist(),
        }
    return described


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress messages and deprecation warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
