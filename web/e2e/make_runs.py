"""Small runs for the tests of the page, each with its page and with what PyTorch makes of a few codes.

python web/e2e/make_runs.py FOLDER [RUN]      RUN: a run of 64 px portraits to show in place of a small one
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from PIL import Image

import vaekit as vk
from vaekit.explorer import publish

#: What each is trained on, and how.
RUNS = {
    "portraits": ("portraits:300", dict(size=64, images=1200)),
    "large": ("portraits:60", dict(size=128, images=120)),
    "digits": ("digits", dict(recipe="ae", epochs=2)),
}


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
        shutil.rmtree(path / "explorer", ignore_errors=True)
        publish(run, path / "explorer", count=1000)
        (folder / f"{name}.json").write_text(json.dumps(_expected(run, folder)))


def _expected(run: vk.Run, folder: Path) -> dict[str, object]:
    """Codes, and the pictures of them as they should be in the browser: [H][W][C] of 0 to 255."""
    codes = run.stored()[0]["latents"][:3]
    made = {"codes": codes.tolist(), "pictures": _rows(run.decode(codes).pixels)}
    made["sum"] = _rows(run.decode((codes[0] - codes[1] + codes[2])[None]).pixels)[0]
    photo = vk.open_images("portraits:3", size=(180, 140)).pixels[2]
    Image.fromarray(photo.permute(1, 2, 0).numpy()).save(folder / "photo.png")
    made["photo"] = _rows(run.reconstruct(str(folder / "photo.png")).pixels)[0]
    return made


def _rows(pixels: torch.Tensor) -> list[object]:
    return pixels.permute(0, 2, 3, 1).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
