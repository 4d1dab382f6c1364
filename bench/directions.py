"""How well does ``vaekit edit`` add and remove attributes of held-out portraits, with its default strength?

    python bench/directions.py --run runs/bench/portraits-30m

For each attribute and method: how often the judge of editing.py sees the attribute after adding and removing it, for
how many faces its answer about another attribute differs from that for the unedited reconstruction, and the PSNR
against the same face drawn with the attribute toggled. The default method is marked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import accuracies, cached_classifier, facts
from editing import JUDGED, Task, columns, look_at, measure, picture, rounded
from headline import Headline
from machine import RESULTS, write_result
from results_of import describe_run

import vaekit as vk
from vaekit.data import to_float
from vaekit.evaluation.metrics import psnr_db
from vaekit.latent.directions import METHODS

__all__ = ["headlines", "measure_direction"]

STRENGTH = 1.0  # the default method
DEFAULT = ("adjusted", False)


def measure_direction(task: Task, faces: Any) -> dict[str, Any]:
    """Measure one direction at the default strength."""
    signs = torch.from_numpy(np.where(faces.has, -1.0, 1.0)).float()
    before = task.judge.predict(faces.reconstructed)
    after = task.judge.predict(task.edit(faces.latents, signs, STRENGTH))
    changed = {n: float(((before[n] > 0.5) != (after[n] > 0.5)).mean()) for n in JUDGED if n != task.attribute}
    found = measure(task, faces, STRENGTH)
    plain = psnr_db(to_float(faces.reconstructed), to_float(faces.pixels))
    return {
        **found,
        "others_changed": changed,
        "reconstruction_psnr_db": plain,
        "edit_below_reconstruction_db": plain - found["edit_psnr_db"],
        "doing_nothing_below_reconstruction_db": plain - psnr_db(to_float(faces.reconstructed), to_float(faces.truth)),
    }


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return how often an edit is seen, and what it changes, at the default strength."""
    rows = {name: next(row for row in result[name] if row["is_default"]) for name in ("glasses", "smiling", "male")}
    for name, row in rows.items():
        what = f"`vaekit edit`, “{name}” on {result['images']} held-out drawn portraits: "
        yield Headline(
            f"{what}share in which a classifier sees it after adding, after removing",
            f"{row['seen_after_adding']:.0%}, {row['seen_after_removing']:.0%}",
        )
        yield Headline(
            f"{what}largest share in which the classifier sees another attribute change",
            f"{max(row['others_changed'].values()):.0%}",
        )
        yield Headline(
            f"{what}PSNR against the same face drawn with the change, below the PSNR of a reconstruction",
            f"{row['edit_below_reconstruction_db']:.1f} dB",
            f"without an edit: {row['doing_nothing_below_reconstruction_db']:.1f} dB",
        )
    glasses = rows["glasses"]
    yield Headline(
        f"Glasses on {result['images']} held-out drawn faces, judged by a classifier",
        f"seen in {glasses['seen_after_adding']:.0%} after adding, {glasses['seen_after_removing']:.0%} after removing",
        in_readme=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where classifiers are kept")
    given = parser.parse_args()
    run = vk.load(given.run)
    images = run.images()
    train, test = images.part("train"), images.part("test")
    judge, seconds = cached_classifier(
        given.cache, train.fingerprint, train.pixels, columns(train, JUDGED[0]), epochs=8, seed=0
    )
    result: dict[str, Any] = {"run": describe_run(run), "classifier": facts(judge, seconds), "strength": STRENGTH}
    ways = [(method, False) for method in METHODS]
    for attribute in JUDGED:
        rows = []
        for method, orthogonal in ways:
            direction = run.directions(method, orthogonal)[attribute]
            task = Task(run, attribute, ("", ""), judge, direction.vector)
            faces = look_at(task, test, given.count)
            told = {"method": method, "orthogonal": orthogonal, "held_out_accuracy": direction.accuracy}
            rows.append({**told, "is_default": (method, orthogonal) == DEFAULT, **measure_direction(task, faces)})
            print(attribute, rows[-1], flush=True)
            if (method, orthogonal) == DEFAULT:
                picture(task, faces, STRENGTH, RESULTS / f"directions_{attribute}.png")
        result[attribute] = rows
    result["images"] = len(faces.has)
    result["classifier_right_on_originals"] = accuracies(judge, faces.pixels, faces.targets)
    result["classifier_right_on_reconstructions"] = accuracies(judge, faces.reconstructed, faces.targets)
    write_result("directions", rounded(result), headlines)


if __name__ == "__main__":
    main()
