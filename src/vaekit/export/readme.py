"""The README.md of an export: what each file is, and the commands that use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from vaekit.pixels.choices import COLORS

__all__ = ["readme"]


def readme(described: Mapping[str, Any]) -> str:
    """Return the text for an export with this ``model.json``."""
    image, directions = described["image"], list(described["directions"])
    colors = COLORS[image["channels"]]
    has_network = described["prior"] is not None and described["prior"]["network"] is not None
    codes = described.get("codes")
    latent = "latent `[N, L]`" if codes is None else f"codes, int64 `[N, {codes['rows']}, {codes['columns']}]`"
    numbers = f"{described['latent_dim']} latents,"
    if codes is not None:
        numbers = f"a grid of {codes['rows']}×{codes['columns']} codes, each one of {codes['count']:,},"
    is_hierarchy = has_network and not described["prior"]["factor"]
    noise = ", and the noise that `prior.onnx` maps to it, once a 0 is appended" if is_hierarchy else ""
    files = {
        "encoder.onnx": f"image, float32 `[N, C, H, W]` in [0, 1] → {latent}{noise}",
        "decoder.onnx": f"{latent} → image",
        **({"prior.onnx": "noise `[N, L + 1]`, standard normal → latent of a new image"} if has_network else {}),
        "model.json": "preprocessing, prior, directions, and the measured differences from PyTorch",
        "example.py": "encodes, edits and decodes an image" if codes is None else "encodes and decodes an image",
        "check.npz, SHA256SUMS": "what `vaekit verify` checks",
    }
    more = "" if codes is None else "The prior of the codes is not part of the export, so it samples no new images.\n\n"
    rows = "\n".join(f"| {name} | {content} |" for name, content in files.items())
    named = next((name for name in directions if name.isprintable()), None)
    edit = [] if named is None else [f"python example.py photo.jpg edited.png {shlex.quote(f'{named}=2')}"]
    commands = ["pip install numpy pillow onnxruntime", "python example.py photo.jpg out.png", *edit, "vaekit verify ."]
    return (
        f"# An autoencoder for {image['height']}×{image['width']} {colors} images\n\n"
        f"Exported by {described['made_by']} as ONNX networks with {numbers} for use without "
        "PyTorch.\n\n"
        f"| file | content |\n|---|---|\n{rows}\n\n{more}"
        "In this folder:\n\n```sh\n" + "\n".join(commands) + "\n```\n\n"
        "Only `vaekit verify` needs vaekit: `pip install 'vaekit[export]'`.\n"
    )
