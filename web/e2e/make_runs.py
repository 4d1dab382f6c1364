"""Small runs for the tests of the page, each with its page and with what PyTorch makes of a few latents.

python web/e2e/make_runs.py FOLDER [RUN]      RUN: a run of 64 px portraits to show in place of a small one
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import vaekit as vk
from vaekit.explorer.site import publish
from vaekit.export.bundle import PRIOR, Session
from vaekit.latent.levels import Moved, follow, to_prior_noise
from vaekit.model.ladder import LadderModel

#: What each is trained on, and how.
RUNS = {
    "portraits": ("portraits:300", dict(size=64, images=1200)),
    "large": ("portraits:60", dict(size=128, images=120)),
    "digits": ("digits", dict(recipe="ae", epochs=2)),
    "vamp": ("digits", dict(recipe="vamp-vae", epochs=2)),
    "flow": ("digits", dict(recipe="flow-vae", epochs=2)),
    "ladder": ("digits", dict(recipe="ladder-vae", epochs=2, settings={"width": "8"})),
    "grid": ("digits", dict(recipe="grid-vae", size=24, epochs=2, settings={"width": "8"})),
    "codes": ("digits", dict(recipe="vq-vae", epochs=2, settings={"width": "8", "code_count": "32"})),
    "fitted": ("digits", dict(recipe="ae", epochs=2)),
}
_TILES = 18  # of the page's first samples


def main(folder: Path, given: Path | None) -> None:
    torch.set_num_threads(2)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (data, options) in RUNS.items():
        path = folder / name
        if name == "portraits" and given is not None:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(given, path, ignore=shutil.ignore_patterns("explorer"))
            run = vk.load(path)
        else:
            run = vk.train(data, out=path, quiet=True, **options)
        if name == "fitted":
            run.fit_prior()
        shutil.rmtree(path / "explorer", ignore_errors=True)
        publish(run, path / "explorer", count=1000)
        if run.model.latent == "codes":
            made = _expected_of_codes(run, path / "explorer")
        else:
            made = _expected(run, folder) | _drawn(run, path / "explorer" / "model")
        if isinstance(run.model, LadderModel):
            made["moved"] = _moved(run, path / "explorer")
        if run.model.latent == "grid":
            made["distances"] = _distances(run, path / "explorer")
        (folder / f"{name}.json").write_text(json.dumps(made))


def _expected(run: vk.Run, folder: Path) -> dict[str, object]:
    """Codes, and the pictures of them as they should be in the browser: [H][W][C] of 0 to 255."""
    latents = run.stored()[0]["latents"][:3]
    is_hierarchy = isinstance(run.model, LadderModel)
    kept = to_prior_noise(run.model, latents) if is_hierarchy else latents
    made = {"latents": kept.tolist(), "pictures": _rows(run.decode(latents).pixels)}
    made["sum"] = _rows(run.decode((latents[0] - latents[1] + latents[2])[None]).pixels)[0]
    photo = vk.open_images("portraits:3", size=(180, 140)).pixels[2]
    Image.fromarray(photo.permute(1, 2, 0).numpy()).save(folder / "photo.png")
    made["photo"] = _rows(run.reconstruct(str(folder / "photo.png")).pixels)[0]
    return made


def _expected_of_codes(run: vk.Run, site: Path) -> dict[str, object]:
    """Codes of images and their pictures, the first samples, and the distances of the nearest images."""
    codes = run.codes(run.images().pixels[:3])
    data = np.fromfile(site / "latents.bin", "<f4")
    samples = torch.from_numpy(data).long()[-180 * codes[0].numel() :].unflatten(0, (180, *codes.shape[1:]))
    return {
        "latents": codes.flatten(1).tolist(),
        "pictures": _rows(run.decode(codes).pixels),
        "drawn": _rows(run.decode(samples[:_TILES]).pixels),
        "distances": _distances(run, site),
    }


def _distances(run: vk.Run, site: Path) -> list[float]:
    """Distances of the images on the map that are nearest to the first image of the run."""
    images, shown = run.images(), json.loads((site / "explorer.json").read_text())["images"]["names"]
    rows = [images.names.index(name) for name in shown]
    near = run.neighbors(images.pixels[0], images.pixels[rows], count=12)
    return [each["distance"] for each in near.numbers["neighbors"][0]]


def _moved(run: vk.Run, site: Path) -> list[object]:
    """The picture of the first latent after its most active top dimension was moved by 2, with its detail."""
    axis = next(each for each in json.loads((site / "explorer.json").read_text())["axes"] if each["level"] == 1)
    latent = run.stored()[0]["latents"][:1]
    moved = latent + 2 * torch.tensor(axis["step"])
    return _rows(run.decode(follow(run.model, latent, moved, Moved(1, keeps_detail=True))).pixels)[0]


def _drawn(run: vk.Run, artifact: Path) -> dict[str, object]:
    """The first samples of the page, where a network makes them of noise."""
    if not (artifact / PRIOR).exists():
        return {}
    noise = np.float32([_normals(seed, run.model.latent_dim + 1) for seed in range(_TILES)])
    return {"drawn": _rows(run.decode(torch.from_numpy(Session(artifact).draw(noise))).pixels)}


def _normals(seed: int, count: int) -> list[float]:
    """The numbers of `normals` of web/src/latents.ts."""
    state, found, whole = seed, [], (1 << 32) - 1

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & whole
        mixed = (state ^ state >> 15) * (state | 1) & whole
        mixed ^= (mixed + (mixed ^ mixed >> 7) * (mixed | 61)) & whole
        return (mixed ^ mixed >> 14) / 2**32

    while len(found) < count:
        radius, angle = math.sqrt(-2 * math.log(1 - uniform())), 2 * math.pi * uniform()
        found += [radius * math.cos(angle), radius * math.sin(angle)]
    return found[:count]


def _rows(pixels: torch.Tensor) -> list[object]:
    return pixels.permute(0, 2, 3, 1).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
