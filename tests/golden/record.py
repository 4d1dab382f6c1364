"""Write golden runs: ``python tests/golden/record.py``. For a new ``format_version``, add some and keep the old ones.

The runs in this folder were saved by earlier versions. They must load in every later one, with the same numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

import vaekit as vk
from vaekit.system.files import save_tensors

HERE = Path(__file__).parent
RUNS = {
    "format-1-vae": {"recipe": "vae", "settings": {"width": "4", "latent_dim": "4"}},
    "format-1-seed-ae": {"recipe": "seed-ae", "settings": {"hidden": "16", "latent_dim": "4"}},
}


def record(name: str) -> None:
    """Train for a second, keep the files that the verbs need, and record their results."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    run = vk.train("digits", out=folder, epochs=2, device="cpu", quiet=True, **RUNS[name])  # type: ignore[arg-type]
    pixels = run.images("test").pixels[:6]
    codes = run.encode(pixels)
    with torch.inference_mode():
        pictures = run.model.decode(codes).mean
    tensors = {"pixels": pixels, "codes": codes, "pictures": pictures, "threes": run.latent("label:3")}
    if run.model.prior is not None:
        tensors["generated"] = run.generate(4, seed=7).pixels
    save_tensors(folder / "recorded.safetensors", tensors, {"evaluated": run.evaluate(pixels).numbers})
    for unneeded in ("state.safetensors", "state-previous.safetensors", "report.html", "README.md"):
        (folder / unneeded).unlink(missing_ok=True)
    shutil.rmtree(folder / "pictures")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in RUNS:
        record(each)
