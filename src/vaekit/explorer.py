"""A run as a page that anyone can touch: static files, and a model that computes in the visitor's browser.

    index.html, assets/    the page and what computes (onnxruntime, WebAssembly), built from web/ of the repository
    model/                 the run as an artefact (:mod:`vaekit.export.bundle`), which 'vaekit verify' takes
    explorer.json          numbers, verdict, curves, axes, names and places of images
    codes.bin              codes of the images, float32 [N, L] little-endian; then [L, L]: noise = (z − mean) @ matrix
    images.webp            their thumbnails, row by row
    pictures/              what was drawn while training
    SHA256SUMS             of these files; a kept page that does not match is made again

Nothing is sent anywhere: whoever visits downloads the model. `publish` writes all of it. `explore` keeps only the data
in the run folder; since a run may be a stranger's, it serves the page from the package and, of what is kept, regular
files of known names alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaekit._version import __version__
from vaekit.config.capabilities import serves
from vaekit.data import Images
from vaekit.errors import UserError, printable
from vaekit.export.bundle import SUMS
from vaekit.export.onnx import check_exporter
from vaekit.figures.mosaic import COLOURS
from vaekit.latent import neighbours as search
from vaekit.latent import ops as edit
from vaekit.latent.directions_store import directions_digest
from vaekit.latent.fit_prior import fitted_digest
from vaekit.latent.ops import stored_columns
from vaekit.runs.report.curves import panels
from vaekit.runs.report.facts import QUANTITIES, Facts, number
from vaekit.runs.report.gallery import evenly, say_left_out, stored_picture
from vaekit.runs.run import Run
from vaekit.system.drafts import clear_drafts, draft
from vaekit.system.files import file_digest
from vaekit.system.http import bind, files_in, serve
from vaekit.system.new_folder import check_new_folder, whole_folder
from vaekit.system.notes import note
from vaekit.system.regular_files import is_plain, is_plain_folder, read_plain

__all__ = ["FORMAT_VERSION", "check_page", "explore", "publish"]

FORMAT_VERSION = 1

_PAGE = "page"  # of the package: what `make web` builds
_FOLDER = "explorer"  # of a run: what `explore` keeps
_REQUIRED = (
    "explorer.json",
    "codes.bin",
    "images.webp",
    "model/model.json",
    "model/encoder.onnx",
    "model/decoder.onnx",
)
_DATA = re.compile(
    "|".join([*map(re.escape, _REQUIRED), r"model/prior\.onnx", r"pictures/\d+-(reconstructions|samples)\.webp"])
)
_MOST_FACTS_BYTES = 1 << 26  # of explorer.json
_TILE_PIXELS = 64  # the longer side of a thumbnail
_MOST_EPOCHS, _WIDEST_PIXELS = 40, 1400
_AXES = 12  # most active dimensions
_SHOWN = 1000  # images on the map, unless another number is asked for
_MOST_IMAGES = 5000  # so that a sheet of them is no larger than browsers draw


def check_page() -> Path:
    """The folder of the built page; raises :class:`UserError` if it has not been built."""
    folder = Path(str(files("vaekit") / _PAGE))
    if not (folder / "index.html").is_file():
        raise UserError(
            "the page of the explorer is not built; run 'make web' in the repository (it needs Node 20.19 or newer)"
        )
    return folder


def publish(run: Run, out: str | Path, count: int = _SHOWN, with_images: bool = True) -> dict[str, Any]:
    """Writes the page of a run into the folder ``out``, whole or not at all, for any host of static files.

    The map shows up to ``count`` of the run's images, evenly chosen, with their names. ``with_images=False`` publishes
    none of them, nor their names, codes and reconstructions: the map shows samples of the prior. An autoencoder has
    none unless one was fitted; there it shows what it makes of the codes of images. Names of classes and attributes
    stay in either case, and a model remembers of its images what it remembers; so does a prior fitted to their codes.
    """
    page = check_page()
    return _write(run, Path(out), count, with_images, files_in(page))


def _write(run: Run, out: Path, count: int, with_images: bool, page: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the data of the page, beside the files of ``page``, into the new folder ``out``."""
    run.needs("export")
    if not 1 <= count <= _MOST_IMAGES:
        raise UserError(f"count {count}: expected 1 to {_MOST_IMAGES:,} images", "count")
    check_new_folder(out)
    with whole_folder(out) as folder:
        for name, path in page.items():
            to = folder / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        own = _own_images(run)
        shown = _shown(run, own, count, with_images)
        told = run.export(folder / "model", shown.pixels if own is None else None)
        _write_codes(run, shown, folder / "codes.bin")
        tiles = _write_tiles(shown.pixels, folder / "images.webp")
        facts = Facts.of(run.path)
        epochs = _write_pictures(facts, folder / "pictures", with_images)
        described = _described(run, facts, shown) | {"tiles": tiles, "epochs": epochs}
        (folder / "explorer.json").write_text(json.dumps(described, allow_nan=False), encoding="utf-8")
        (folder / SUMS).write_text(_sums_of(folder), encoding="ascii")
        size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "published": str(out),
        "images_shown": len(shown.codes) if shown.kind == "images" else 0,
        "bytes": size_bytes,
        "model_digest": told["digest"],
    }


def explore(run: Run, port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Serves the page of a run on 127.0.0.1 until interrupted; ``ready`` is called with the address.

    The data of the page are kept in the run folder, and made anew when the run was trained on, was given another
    direction or prior, or vaekit has changed; where the folder cannot be written to, they lie in a temporary one.
    """
    run.needs("export")
    page = files_in(check_page())
    check_exporter()
    if port is not None:
        bind({}, port).server_close()  # a port that is taken is told before the work
    with _site(run) as folder, contextlib.suppress(KeyboardInterrupt):  # the way to end it
        serve({**_data_in(folder), **page}, port, ready)


def _data_in(folder: Path) -> dict[str, Path]:
    """The data files of a kept page, by name; whatever else lies there is not served."""
    found = {}
    for inside in ("", "model", "pictures"):
        if is_plain_folder(folder / inside):
            names = (f"{inside}/{path.name}".lstrip("/") for path in (folder / inside).iterdir())
            found.update({name: folder / name for name in names if _DATA.fullmatch(name) and is_plain(folder / name)})
    return found


def _sums_of(folder: Path) -> str:
    """A line for each data file of a page, as ``sha256sum --check`` reads it."""
    return "".join(f"{file_digest(path)}  {name}\n" for name, path in sorted(_data_in(folder).items()))


@contextlib.contextmanager
def _site(run: Run) -> Iterator[Path]:
    kept = run.path / _FOLDER
    clear_drafts(run.path)
    if _is_current(kept, run):
        yield kept
        return
    if is_plain_folder(kept) and (kept / "explorer.json").exists():  # ours, and out of date
        shutil.rmtree(kept, ignore_errors=True)
    if not os.path.lexists(kept) and _is_writable(run.path):
        note(f"vaekit: making the page of {printable(str(run.path))}; it is kept for the next time")
        try:
            _write(run, kept, _SHOWN, True, {})
        except UserError:
            if not _is_current(kept, run):  # or another process was faster
                raise
        yield kept
        return
    note(f"vaekit: making the page of {printable(str(run.path))}")
    with draft(Path(tempfile.gettempdir())) as folder:
        _write(run, folder / _FOLDER, _SHOWN, True, {})
        yield folder / _FOLDER


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_current(folder: Path, run: Run) -> bool:
    """Whether the data of a page were made of this run as it is, and are all there and unchanged."""
    try:
        found = json.loads(read_plain(folder / "explorer.json", _MOST_FACTS_BYTES))
        if found["of"] != _origin(run) or not set(_REQUIRED) <= _data_in(folder).keys():
            return False
        sums = read_plain(folder / SUMS, _MOST_FACTS_BYTES).decode("ascii").splitlines()
        return set(sums) <= set(_sums_of(folder).splitlines()) and len(sums) >= len(_REQUIRED)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _origin(run: Run) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"vaekit {__version__}",
        "images_seen": run.images_seen(),
        "directions": directions_digest(run.path),
        "prior": fitted_digest(run.path),
    }


@dataclass(frozen=True, eq=False)
class _Shown:
    """The images of the map."""

    codes: Tensor  #: float32 ``[N, L]``
    pixels: Tensor  #: uint8 ``[N, C, H, W]``
    kind: str  #: images, codes (what the model makes of those of images), or samples of the prior
    names: list[str] | None = None
    labels: list[int] | None = None


def _own_images(run: Run) -> Images | None:
    """The images that the run was trained on, unless they have gone or changed."""
    try:
        return run.images()
    except UserError:
        return None


def _shown(run: Run, images: Images | None, count: int, with_images: bool) -> _Shown:
    """Some of the run's own images; where these have gone what is stored of them; where none may be seen samples."""
    if not with_images and serves("generate", run.model):
        noise = torch.randn(count, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            pz = run.model.drawn_from()
            assert pz is not None
            codes = pz.from_noise(noise)
        return _Shown(codes, run.decode(codes).pixels, "samples")
    if images is None or not with_images:
        tensors, facts = run.stored()
        rows = _rows(len(tensors["latents"]), count)
        codes, (labels, _, _) = tensors["latents"][rows], stored_columns(tensors, facts)
        return _Shown(
            codes, run.decode(codes).pixels, "codes", labels=None if labels is None else labels[rows.numpy()].tolist()
        )
    rows = _rows(len(images), count)
    pixels = torch.index_select(images.pixels, 0, rows)
    names = [printable(images.names[i]) for i in rows.tolist()]
    found = None if images.labels is None else images.labels[rows].tolist()
    return _Shown(edit.encode(run.model, pixels).cpu(), pixels, "images", names, found)


def _rows(available: int, count: int) -> Tensor:
    """``count`` rows at most, evenly spaced."""
    return torch.tensor(evenly(list(range(available)), max(2, count))[:count])


def _write_codes(run: Run, shown: _Shown, path: Path) -> None:
    """The codes, and the matrix that makes standard normal noise of them; of an autoencoder that of no change."""
    ends = torch.cat([torch.zeros(1, run.model.latent_dim), torch.eye(run.model.latent_dim)])
    noise = search.standardised(run.model, ends)
    whitening = noise[1:] - noise[0]
    data = [shown.codes.numpy(), whitening.numpy()]
    path.write_bytes(b"".join(np.ascontiguousarray(each, "<f4").tobytes() for each in data))


def _write_tiles(pixels: Tensor, path: Path) -> dict[str, int]:
    """Thumbnails in a square of tiles; small images as they are."""
    _, channels, height, width = pixels.shape
    scale = min(1.0, _TILE_PIXELS / max(height, width))
    tile = max(1, round(width * scale)), max(1, round(height * scale))
    columns = math.ceil(math.sqrt(len(pixels)))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    sheet = Image.new(mode, (columns * tile[0], math.ceil(len(pixels) / columns) * tile[1]))
    for i, each in enumerate(pixels):
        picture = Image.fromarray(each.permute(1, 2, 0).numpy().squeeze())
        if scale < 1:
            picture = picture.resize(tile, Image.Resampling.BICUBIC)
        sheet.paste(picture, (i % columns * tile[0], i // columns * tile[1]))
    sheet.save(path, "WEBP", lossless=max(height, width) < 32, quality=85)
    return {"columns": columns, "width": tile[0], "height": tile[1]}


def _write_pictures(facts: Facts, folder: Path, with_images: bool) -> list[dict[str, Any]]:
    """What was drawn after up to forty epochs; reconstructions stand beside images, which not everyone shows."""
    folder.mkdir()
    kinds = ("reconstructions", "samples") if with_images else ("samples",)
    found = []
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
            except Exception as error:  # whatever a file of another making brings up
                (folder / name).unlink(missing_ok=True)
                say_left_out(source, error)
                continue
            kept[kind] = {"file": f"pictures/{name}", "width": picture.width, "height": picture.height}
        if kept:
            found.append({"epoch": epoch, **kept})
    return found


def _described(run: Run, facts: Facts, shown: _Shown) -> dict[str, Any]:
    codes = shown.codes.double()
    plane = search.plane(codes)
    diagnosis = facts.diagnosis
    return {
        "of": _origin(run),
        "title": facts.name,
        "recipe": facts.recipe.name,
        "source": facts.source if shown.kind != "samples" else None,
        "trained_on": facts.config.data.train_images,
        "images_seen": facts.images_seen,
        "measured_on": facts.measured_on,
        "numbers": [
            {"name": q.name, "value": number(facts.numbers[q.key], q.decimals), "unit": q.unit, "meaning": q.meaning}
            for q in QUANTITIES
            if facts.numbers.get(q.key) is not None
        ],
        "verdict": None if diagnosis is None else {"name": diagnosis.verdict, "reason": diagnosis.reason},
        "curves": [asdict(panel) for panel in panels(facts)],
        "axes": [
            {"name": axis.name, "step": axis.step.tolist(), "levels": axis.size} for axis in run.axes(_AXES)
        ],
        "mean": codes.mean(0).tolist(),
        "plane": {"axes": plane.axes.tolist(), "shares": list(plane.shares)},
        "images": {
            "kind": shown.kind,
            "points": plane.coordinates.tolist(),
            "names": shown.names,
            "labels": shown.labels,
        },
        "classes": list(facts.config.data.classes),
        "colours": list(COLOURS),
    }  # fmt: skip
