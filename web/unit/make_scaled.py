"""Writes scaled.json: small pictures, and what Pillow and vaekit make of them in every way to fit.

python web/unit/make_scaled.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from vaekit.pixels.form import fit

from vaekit.data import Form

SIZES = {"smaller": (37, 29, 12, 9), "larger": (9, 7, 16, 20), "wider": (40, 10, 8, 8), "taller": (11, 33, 10, 6)}


def main() -> None:
    generator = np.random.Generator(np.random.Philox(0))
    cases = []
    for what, (width, height, to_width, to_height) in SIZES.items():
        for how in ("crop", "pad", "stretch"):
            for channels in (1, 3, 4):
                rgba = _waves(generator, height, width, is_opaque=channels < 4)
                given = Image.fromarray(rgba).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
                form = Form((to_height, to_width), channels, how, "#404040")
                cases.append(
                    {
                        "name": f"{what}, {how}, {channels} channels",
                        "given": {"data": rgba.ravel().tolist(), "width": width, "height": height, "channels": 4},
                        "image": {
                            "channels": channels, "height": to_height, "width": to_width, "fit": how,
                            "background": "#404040",
                        },
                        "expected": np.asarray(fit(given, form)).ravel().tolist(),
                    }
                )  # fmt: skip
    Path(__file__).with_name("scaled.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def _waves(generator: np.random.Generator, height: int, width: int, is_opaque: bool) -> np.ndarray:
    """Colors that stay within 8 bits when scaled: the order of the two passes, of which each clamps and
    rounds, is one that Pillow chooses by size."""
    y, x = np.mgrid[:height, :width]
    waves = [generator.uniform(0.2, 0.9, 3) for _ in range(3)]
    colors = [128 + 80 * np.sin(a * x + b * y + 7 * c) for a, b, c in waves]
    alpha = np.full((height, width), 255.0) if is_opaque else 150 + 90 * np.cos(0.3 * x + 0.2 * y)
    return np.stack([*colors, alpha], -1).round().astype(np.uint8)


if __name__ == "__main__":
    main()
