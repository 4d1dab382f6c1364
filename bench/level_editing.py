"""Do edits of portraits through a hierarchy of latents match those through one vector, after the same time of training?

    vaekit train portraits --size 64 --recipe vae --budget 10m --out runs/bench/portraits-vae-10m
    vaekit train portraits --size 64 --recipe ladder-vae --budget 10m --set posterior_mean_gain=0 \\
        --set top_latents=128 --set patch=8 --out runs/bench/portraits-ladder-10m
    python bench/level_editing.py --ladder runs/bench/portraits-ladder-10m --vae runs/bench/portraits-vae-10m

With these values of ``ladder-vae``, posterior and prior start equal, so the top level learns first and holds most of an
image, as the vector of ``vae`` does. By default, the finest grid would hold most of it, and could not be edited through
the levels above. OMP_NUM_THREADS limits the threads.

Every edit is that of ``vaekit edit`` with its default method and strength. The hierarchy is edited with --keep-detail,
for every number of levels to move. One of these numbers is chosen on validation images: of those that meet the goal, or
come closest to it, the one with the highest PSNR to 0.1 dB, and of several the smallest. All results are for test
images, and the judge is the classifier of ``directions.py``. The goal is that it sees the attribute in at least 95 % of
the faces after adding it, and in at most 5 % after removing it. PSNR is that against the same face drawn with the
attribute toggled.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifier import cached_classifier, facts
from directions import DEFAULT, STRENGTH, measure_direction
from editing import JUDGED, Task, columns, look_at, picture, rounded
from headline import Headline
from machine import RESULTS, write_result
from results_of import describe_run

import vaekit as vk
from vaekit.data import Images
from vaekit.latent.levels import Moved

__all__ = ["best_levels", "headlines"]

NAME = "level_editing"
ADDED, REMOVED = 0.95, 0.05  # shares in which the judge should see the attribute


def measured(
    run: vk.Run, attribute: str, judge: Any, images: Images, count: int, moved: Moved
) -> tuple[Task, Any, dict[str, Any]]:
    """Measure the default edit of a run on the first ``count`` images."""
    direction = run.directions(*DEFAULT, moved.levels)[attribute]
    task = Task(run, attribute, ("", ""), judge, direction.vector, moved)
    faces = look_at(task, images, count)
    told = {"levels": moved.levels, "held_out_accuracy": direction.accuracy}
    return task, faces, {**told, **measure_direction(task, faces)}


def best_levels(rows: list[dict[str, Any]]) -> int:
    """Return how many levels to move: nearest to the goal, then with the highest PSNR to 0.1 dB, then the fewest."""

    def worth(row: dict[str, Any]) -> tuple[float, float, int]:
        short = max(0.0, ADDED - row["seen_after_adding"]), max(0.0, row["seen_after_removing"] - REMOVED)
        return -max(short), round(row["edit_psnr_db"], 1), -row["levels"]

    return int(max(rows, key=worth)["levels"])


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare the hierarchy, with the chosen number of levels, with the vector."""
    for name, found in result["attributes"].items():
        row, other = found["ladder_test"][found["levels"] - 1], found["vae_test"]
        yield Headline(
            f"`ladder-vae`, edits of {found['levels']} of {len(found['ladder_test'])} levels with `--keep-detail`, "
            f"“{name}” on {result['images']} held-out drawn portraits: share in which a classifier sees it after "
            "adding, after removing; PSNR against the same face drawn with the change",
            f"{_figure(row)}",
            f"`vae` after the same time: {_figure(other)}; `ladder-vae` without an edit: "
            f"{row['reconstruction_psnr_db'] - row['doing_nothing_below_reconstruction_db']:.1f} dB",
        )


def _figure(row: dict[str, Any]) -> str:
    return f"{row['seen_after_adding']:.0%}, {row['seen_after_removing']:.0%}; {row['edit_psnr_db']:.1f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladder", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--attributes", nargs="+", default=list(JUDGED))
    parser.add_argument("--count", type=int, default=500, help="number of faces of each held-out part")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where the classifier is kept")
    given = parser.parse_args()
    ladder, vae = vk.load(given.ladder), vk.load(given.vae)
    images = ladder.images()
    train, val, test = (images.part(part) for part in ("train", "val", "test"))
    judge, seconds = cached_classifier(
        given.cache, train.fingerprint, train.pixels, columns(train, JUDGED[0]), epochs=8, seed=0
    )
    attributes: dict[str, Any] = {}
    result = {
        "ladder": describe_run(ladder),
        "vae": describe_run(vae),
        "classifier": facts(judge, seconds),
        "strength": STRENGTH,
        "images": min(given.count, len(test)),
        "attributes": attributes,
    }
    for name in given.attributes:
        ways = [Moved(count, keeps_detail=True) for count in range(1, len(ladder.model.latent_shapes) + 1)]
        rows = [measured(ladder, name, judge, val, given.count, way)[2] for way in ways]
        tests = [measured(ladder, name, judge, test, given.count, way) for way in ways]
        levels = best_levels(rows)
        attributes[name] = {
            "levels": levels,
            "ladder_validation": rows,
            "ladder_test": [row for _, _, row in tests],
            "vae_test": measured(vae, name, judge, test, given.count, Moved())[2],
        }
        print(name, levels, [_figure(row) for _, _, row in tests], _figure(attributes[name]["vae_test"]), flush=True)
        task, faces, _ = tests[levels - 1]
        picture(task, faces, STRENGTH, RESULTS / f"{NAME}_{name}.png")
        write_result(NAME, rounded(result), headlines)


if __name__ == "__main__":
    main()
