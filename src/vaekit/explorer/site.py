"""The explorer of a run: a static page whose model runs in the visitor's browser.

    index.html, assets/    the page and the runtime (onnxruntime, WebAssembly), built from web/ in the repository
    model/                 the exported run (:mod:`vaekit.export.bundle`), which 'vaekit verify' accepts
    explorer.json          metrics, verdict, curves, axes, names and positions of images
    latents.bin            float32, little-endian: latents of the images [N, L]. If the prior is a normal with a full
                           covariance, a matrix [L, L] follows, with noise = (z − mean) @ matrix. A hierarchy has
                           the noise that the prior maps to the latents [N, L] instead. Discrete codes have codes of
                           the images [N, P], vectors of all codes [K, D], and codes of samples [S, P]
    images.webp            thumbnails of the images, row by row
    pictures/              pictures drawn during training
    SHA256SUMS             checksums of the data files; a stored page that does not match is created again

No data is sent anywhere: visitors download the model. ``publish`` writes all files. ``explore`` stores only the data in
the run folder. Because the run may come from a stranger, the page itself is served from the package, and only regular
files with known names are served from the run folder.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from vaekit._version import __version__
from vaekit.config.capabilities import serves
from vaekit.data import Images
from vaekit.errors import UserError, printable
from vaekit.export.bundle import SUMS
from vaekit.export.description import read_description
from vaekit.figures.mosaic import COLORS
from vaekit.latent import neighbors as search
from vaekit.latent import ops as edit
from vaekit.latent.directions_store import directions_digest
from vaekit.latent.fit_prior import fitted_digest
from vaekit.latent.levels import to_prior_noise
from vaekit.latent.ops import stored_columns
from vaekit.model.ladder import LadderModel
from vaekit.model.quantizers import CodePosterior
from vaekit.run import Run
from vaekit.runs.report.curves import panels
from vaekit.runs.report.facts import Facts, number
from vaekit.runs.report.gallery import evenly, say_left_out, stored_picture
from vaekit.runs.verbs.export import exported_model
from vaekit.runs.verbs.traverse import axes_by_level
from vaekit.system.files import file_digest
from vaekit.system.http import files_in
from vaekit.system.new_folder import check_new_folder, whole_folder
from vaekit.system.notes import note
from vaekit.system.regular_files import is_plain, is_plain_folder

__all__ = [
    "FORMAT_VERSION",
    "REQUIRED",
    "SHOWN",
    "check_page",
    "data_in",
    "origin_of",
    "publish",
    "sums_of",
    "write_site",
]

FORMAT_VERSION = 4

_PAGE = "page"  # in the package, built by `make web`
#: Files of every page
REQUIRED = (
    "explorer.json",
    "latents.bin",
    "images.webp",
    "model/model.json",
    "model/encoder.onnx",
    "model/decoder.onnx",
)
_DATA = re.compile(
    "|".join([*map(re.escape, REQUIRED), r"model/prior\.onnx", r"pictures/\d+-(reconstructions|samples)\.webp"])
)
_TILE_PIXELS = 64  # longer side of a thumbnail
_MOST_EPOCHS, _WIDEST_PIXELS = 40, 1400
_STEPS = 4  # of writing a page
_AXES = 12  # most active dimensions
SHOWN = 1000  #: default number of images on the map
_SAMPLES = 180  # of a prior of codes, which the page cannot sample itself
_MOST_IMAGES = 5000  # browsers cannot draw larger sheets of thumbnails


def check_page() -> Path:
    """Return the folder of the built page; raises :class:`UserError` if it has not been built."""
    folder = Path(str(files("vaekit") / _PAGE))
    if not (folder / "index.html").is_file():
        raise UserError(
            "the page of the explorer has not been built; run 'make web' in the repository (needs Node 20.19 or newer)"
        )
    return folder


def publish(run: Run, out: str | Path, count: int = SHOWN, with_images: bool = True) -> dict[str, Any]:
    """Write the page of a run for any static web host, atomically.

    Class and attribute names are published in any case. The model may have memorized images, and a prior that was
    fitted to their latents too.

    Args:
        run: The run.
        out: New folder.
        count: Most images on the map, evenly chosen from the run's images and shown with their names.
        with_images: If False, no images, names, latents and reconstructions are published; the map shows samples of the
            prior instead. An autoencoder without a fitted prior shows reconstructions from the latents of images.

    Returns:
        The folder, the number of images shown, the size in bytes and the digest of the model.

    Raises:
        UserError: If the run cannot be exported or the folder cannot be written.
    """
    page = check_page()
    return write_site(run, Path(out), count, with_images, files_in(page))


def write_site(run: Run, out: Path, count: int, with_images: bool, page: Mapping[str, Path]) -> dict[str, Any]:
    """Write the data of the page, and copies of the files in ``page``, into the new folder ``out``."""
    run.needs("explore")
    if not 1 <= count <= _MOST_IMAGES:
        raise UserError(f"count {count}: expected 1 to {_MOST_IMAGES:,} images", "count")
    check_new_folder(out)
    run = Run(run.path, run.config, exported_model(run.context))
    step = _counter()
    with whole_folder(out) as folder:
        for name, path in page.items():
            to = folder / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        step("opening the images of the run")
        own = _own_images(run)
        step(f"encoding up to {count:,} images")
        shown = _shown(run, own, count, with_images)
        step("exporting the networks, and comparing them with PyTorch")
        exported = run.export(folder / "model", shown.pixels if own is None else None)
        step("drawing thumbnails, curves, and axes")
        described_prior = read_description(folder / "model").prior
        _write_latents(run, shown, bool(described_prior and described_prior.factor), folder / "latents.bin")
        tiles = _write_tiles(shown.pixels, folder / "images.webp")
        facts = Facts.of(run.path)
        epochs = _write_pictures(facts, folder / "pictures", with_images)
        described = _described(run, facts, shown) | {"tiles": tiles, "epochs": epochs}
        (folder / "explorer.json").write_text(json.dumps(described, allow_nan=False), encoding="utf-8")
        (folder / SUMS).write_text(sums_of(folder), encoding="ascii")
        size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "published": str(out),
        "images_shown": len(shown.latents) if shown.kind == "images" else 0,
        "bytes": size_bytes,
        "model_digest": exported["digest"],
    }


def _counter() -> Callable[[str], None]:
    """Return a function that notes the next step of the work, so that the user sees how far it is."""
    numbers = iter(range(1, _STEPS + 1))
    return lambda what: note(f"vaekit: step {next(numbers)} of {_STEPS}: {what}")


def data_in(folder: Path) -> dict[str, Path]:
    """Return the data files of a stored page by name; other files are not served."""
    result = {}
    for inside in ("", "model", "pictures"):
        if is_plain_folder(folder / inside):
            names = (f"{inside}/{path.name}".lstrip("/") for path in (folder / inside).iterdir())
            result.update({name: folder / name for name in names if _DATA.fullmatch(name) and is_plain(folder / name)})
    return result


def sums_of(folder: Path) -> str:
    """Return a line for each data file of a page, in the format of ``sha256sum --check``."""
    return "".join(f"{file_digest(path)}  {name}\n" for name, path in sorted(data_in(folder).items()))


def origin_of(run: Run) -> dict[str, Any]:
    """Identify the state of a run. A stored page of another state is outdated."""
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"vaekit {__version__}",
        "images_seen": run.images_seen(),
        "directions": directions_digest(run.path),
        "prior": fitted_digest(run.path),
    }


@dataclass(frozen=True, eq=False)
class _Shown:
    """The images on the map."""

    latents: Tensor  #: float32 ``[N, L]``; of discrete codes, their vectors
    pixels: Tensor  #: uint8 ``[N, C, H, W]``
    kind: str  #: images, latents (reconstructions from their latents), or samples of the prior
    names: list[str] | None = None
    labels: list[int] | None = None


def _own_images(run: Run) -> Images | None:
    """Return the images that the run was trained on, or None if they are missing or have changed."""
    try:
        return run.images()
    except UserError:
        return None


def _shown(run: Run, images: Images | None, count: int, with_images: bool) -> _Shown:
    """Choose what the map shows: the run's images, else its stored latents; or samples if images must not be shown."""
    if not with_images and serves("generate", run.model):
        latents = _sampled(run, count)
        return _Shown(latents, run.decode(latents).pixels, "samples")
    if images is None or not with_images:
        tensors, facts = run.stored()
        rows = _rows(len(tensors["latents"]), count)
        latents, (labels, _, _) = tensors["latents"][rows], stored_columns(tensors, facts)
        return _Shown(
            latents,
            run.decode(latents).pixels,
            "latents",
            labels=None if labels is None else labels[rows.numpy()].tolist(),
        )
    rows = _rows(len(images), count)
    pixels = torch.index_select(images.pixels, 0, rows)
    names = [printable(images.names[i]) for i in rows.tolist()]
    own_labels = None if images.labels is None else images.labels[rows].tolist()
    return _Shown(edit.encode(run.model, pixels).cpu(), pixels, "images", names, own_labels)


def _sampled(run: Run, count: int) -> Tensor:
    """Return samples of the prior, float32 ``[count, L]``."""
    noise = torch.randn(count, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pz = run.model.drawn_from()
        assert pz is not None
        return pz.from_noise(noise.to(run.model.device)).cpu()


def _rows(available: int, count: int) -> Tensor:
    """Return at most ``count`` evenly spaced rows."""
    return torch.tensor(evenly(list(range(available)), max(2, count))[:count])


def _write_latents(run: Run, shown: _Shown, is_whitened: bool, path: Path) -> None:
    """Write the latents, and what the page needs to compare and to sample them; see the module."""
    data = [shown.latents]
    if isinstance(run.model.posterior, CodePosterior):
        quantizer, tokens_of = run.model.posterior.quantiser, run.model.posterior.tokens_of
        vectors = quantizer.vectors_of(torch.arange(quantizer.count, device=run.model.device))
        data = [tokens_of(shown.latents), vectors, tokens_of(_sampled(run, _SAMPLES))]
    elif isinstance(run.model, LadderModel):
        data = [to_prior_noise(run.model, shown.latents)]
    elif is_whitened:
        ends = torch.cat([torch.zeros(1, run.model.latent_dim), torch.eye(run.model.latent_dim)])
        noise = search.standardized(run.model, ends)
        data.append(noise[1:] - noise[0])
    path.write_bytes(b"".join(np.ascontiguousarray(array.cpu().numpy(), "<f4").tobytes() for array in data))


def _about_codes(run: Run) -> dict[str, int] | None:
    """Return the sizes that the page needs to read ``latents.bin`` of discrete codes."""
    posterior = run.model.posterior
    if not isinstance(posterior, CodePosterior):
        return None
    return {"vector_size": posterior.quantiser.size, "samples": _SAMPLES}


def _write_tiles(pixels: Tensor, path: Path) -> dict[str, int]:
    """Write thumbnails in a square of tiles; small images keep their size."""
    _, channels, height, width = pixels.shape
    scale = min(1.0, _TILE_PIXELS / max(height, width))
    tile = max(1, round(width * scale)), max(1, round(height * scale))
    columns = math.ceil(math.sqrt(len(pixels)))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    sheet = Image.new(mode, (columns * tile[0], math.ceil(len(pixels) / columns) * tile[1]))
    for i, image in enumerate(pixels):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy().squeeze())
        if scale < 1:
            picture = picture.resize(tile, Image.Resampling.BICUBIC)
        sheet.paste(picture, (i % columns * tile[0], i // columns * tile[1]))
    sheet.save(path, "WEBP", lossless=max(height, width) < 32, quality=85)
    return {"columns": columns, "width": tile[0], "height": tile[1]}


def _write_pictures(facts: Facts, folder: Path, with_images: bool) -> list[dict[str, Any]]:
    """Write the pictures of up to 40 epochs; reconstructions, which are next to images, only on request."""
    folder.mkdir()
    kinds = ("reconstructions", "samples") if with_images else ("samples",)
    epochs = []
    for epoch in evenly(list(facts.pictures), _MOST_EPOCHS):
        kept: dict[str, Any] = {}
        for kind in kinds:
            source = facts.pictures[epoch].get(kind)
            if source is None:
                continue
            name = f"{epoch:04d}-{kind}.webp"
            try:
                picture = stored_picture(source)[1].convert("RGB")
                if picture.width > _WIDEST_PIXELS:
                    picture = picture.resize((_WIDEST_PIXELS, round(picture.height * _WIDEST_PIXELS / picture.width)))
                picture.save(folder / name, "WEBP", quality=85)
            except Exception as error:  # a file from a stranger may raise anything
                (folder / name).unlink(missing_ok=True)
                say_left_out(source, error)
                continue
            kept[kind] = {"file": f"pictures/{name}", "width": picture.width, "height": picture.height}
        if kept:
            epochs.append({"epoch": epoch, **kept})
    return epochs


def _described(run: Run, facts: Facts, shown: _Shown) -> dict[str, Any]:
    latent = run.model.latent
    compared = run.model.summary(shown.latents).double()
    plane, mean = search.plane(compared), compared.mean(0)
    axes = plane.axes
    if latent == "levels":  # those below the top stay at the mean of their prior
        below = (0, run.model.latent_dim - len(mean))
        axes, mean = pad(axes, below), pad(mean, below)
    elif latent == "grid":
        axes, mean = run.model.from_summary(axes), shown.latents.double().mean(0)
    diagnosis = facts.diagnosis
    return {
        "of": origin_of(run),
        "title": facts.name,
        "recipe": facts.recipe.name,
        "source": facts.source if shown.kind != "samples" else None,
        "trained_on": facts.config.data.train_images,
        "images_seen": facts.images_seen,
        "measured_on": facts.measured_on,
        "numbers": [
            {"name": q.name, "value": number(facts.numbers[q.key], q.decimals), "unit": q.unit, "meaning": q.meaning}
            for q in facts.quantities
            if facts.numbers.get(q.key) is not None
        ],
        "verdict": None if diagnosis is None else {"name": diagnosis.verdict, "reason": diagnosis.reason},
        "curves": [asdict(panel) for panel in panels(facts)],
        "axes": [
            {"name": axis.name, "step": axis.step.tolist(), "levels": axis.size, "level": level}
            for level, dimensions in enumerate([] if latent == "codes" else axes_by_level(run.context, _AXES), 1)
            for axis in dimensions
        ],
        "codes": _about_codes(run),
        "compared": compared.shape[1] if latent == "levels" else None,
        "grid": list(run.model.latent_shapes[0]) if latent == "grid" else None,
        "mean": mean.tolist(),
        "plane": {"axes": axes.tolist(), "shares": list(plane.shares)},
        "images": {
            "kind": shown.kind,
            "points": plane.coordinates.tolist(),
            "names": shown.names,
            "labels": shown.labels,
        },
        "classes": list(facts.config.data.classes),
        "colors": list(COLORS),
    }  # fmt: skip
