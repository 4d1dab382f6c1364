"""Draw the picture of the README from a run on portraits: python scripts/demo_picture.py RUN OUT [STRENGTH]

Rows: held-out faces, their reconstructions, samples, an interpolation between two held-out faces, faces without glasses
and the same with glasses added, faces with glasses and the same with glasses removed.
"""

from __future__ import annotations

import sys

import torch

import vaekit as vk

COLUMNS = 9


def main(path: str, out: str, strength: float) -> None:
    run = vk.load(path)
    test = run.images("test")
    faces = test[:COLUMNS].pixels
    glasses = strength * (run.latent("attr:glasses=1") - run.latent("attr:glasses=0"))
    without, with_glasses = (test.select(f"attr:glasses={value}")[:COLUMNS].pixels for value in (0, 1))
    rows = {
        "held out": faces,
        "reconstructed": run.reconstruct(faces).pixels,
        "new": run.generate(COLUMNS, seed=0).pixels,
        "walk": run.interpolate(*run.encode(faces[[1, 8]]), steps=COLUMNS).pixels,
        "without": without,
        "+ glasses": run.decode(run.encode(without) + glasses).pixels,
        "with": with_glasses,
        "- glasses": run.decode(run.encode(with_glasses) - glasses).pixels,
    }
    vk.Sheet(torch.cat(list(rows.values())), COLUMNS, row_labels=tuple(rows)).save(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)
