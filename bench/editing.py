"""How well do "+ attribute" and "− attribute" edit held-out faces, according to a classifier and, if known, the truth?

    edit   z(image) ± S · (mean latent of attr:NAME=1 − mean latent of attr:NAME=0), decoded, as by
           vaekit arithmetic RUN "IMAGE + S*attr:NAME=1 - S*attr:NAME=0"
    truth  for drawn portraits, the same face drawn with the attribute toggled

    python bench/editing.py --run RUN --attribute smiling --out bench/results/editing_smiles_vae.json

Results are for the test part and two strengths: 1, the default, and the one that works best on the validation part. One
classifier, trained on half of the training images, chooses that strength. The judge is another one, trained on the
other half with another seed. Fidelity is measured too: the PSNR between edits and plain reconstructions, and the
Fréchet distance, over the judge's features, between edits and real faces that have the added attribute (or lack the
removed one). The rows "seen in" are for unedited images. In data without such a column, the attribute is a class label,
and the other images are its opposite. PSNR is that of the mean squared error over all faces, on the [0, 1] scale.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import LARGEST_SIDE, Classifier, accuracies, cached_classifier, facts, shrink
from headline import Headline
from machine import write_json
from PIL import Image
from results_of import describe_run
from torch import Tensor

import vaekit as vk
from vaekit.data import Images, to_float
from vaekit.data.portraits import portraits
from vaekit.evaluation.frechet import frechet_distance
from vaekit.evaluation.metrics import psnr_db
from vaekit.figures.grid import Sheet
from vaekit.latent.levels import Moved, follow

__all__ = ["Task", "choose_strength", "headlines", "measure"]

SWEEP = tuple(round(0.5 + 0.125 * i, 3) for i in range(29))  # 0.5 … 4.0
DEFAULT_STRENGTH = 1.0
JUDGED = ("glasses", "male", "smiling")  # attributes of portraits for the classifier
LARGEST_CELL = 96  # pixels of an image on the sheet


@dataclass(frozen=True, eq=False)
class Task:
    """A run, an attribute with its two groups and the direction between them, and the judge."""

    run: vk.Run
    attribute: str
    groups: tuple[str, str]  #: without, with
    judge: Classifier
    direction: Tensor  #: [L], from without to with
    moved: Moved = Moved()  #: the levels of a hierarchy that it moves

    @property
    def has_truth(self) -> bool:
        """Whether the same face can be drawn with the attribute toggled."""
        return self.run.config.data.source.split(":")[0] == "portraits"

    def edit(self, latents: Tensor, signs: Tensor, strength: float) -> Tensor:
        """Return pictures uint8 [N, C, H, W] of ``latents`` [N, L] moved by ``signs`` [N] (+1 adds, −1 removes)."""
        moved = latents + strength * signs[:, None] * self.direction
        return self.run.decode(follow(self.run.model, latents, moved, self.moved)).pixels

    def says(self, pixels: Tensor) -> np.ndarray:
        """Return whether the judge sees the attribute, bool [N]."""
        return self.judge.predict(pixels)[self.attribute] > 0.5


@dataclass(frozen=True, eq=False)
class Faces:
    """Held-out faces, and all values that do not depend on the strength."""

    pixels: Tensor  #: uint8 [N, C, H, W]
    has: np.ndarray  #: bool [N], whether they have the attribute
    targets: dict[str, np.ndarray]  #: every judged column
    latents: Tensor  #: [N, L]
    reconstructed: Tensor  #: uint8 [N, C, H, W]
    truth: Tensor | None  #: uint8 [N, C, H, W], the attribute toggled


def columns(images: Images, attribute: str) -> dict[str, np.ndarray]:
    """Return 0/1 columns for the judge: the attribute first, then the others."""
    if attribute in images.attributes:
        names = dict.fromkeys((attribute, *(n for n in JUDGED if n in images.attributes)))
        return {name: images.attributes[name].astype(np.float32) for name in names}
    if images.labels is None or attribute not in images.classes:
        known = ", ".join((*images.attributes, *images.classes)) or "none"
        raise SystemExit(f"--attribute {attribute}: neither a column nor a class of this data; there are: {known}")
    return {attribute: (images.labels.numpy() == images.classes.index(attribute)).astype(np.float32)}


def groups_of(images: Images, attribute: str) -> tuple[str, str]:
    """Return the expressions of the images without and with the attribute."""
    if attribute in images.attributes:
        return f"attr:{attribute}=0", f"attr:{attribute}=1"
    others = [name for name in images.classes if name != attribute]
    if len(others) != 1:
        raise SystemExit(f"--attribute {attribute}: a label needs exactly one opposite, but there are {len(others)}")
    return f"label:{others[0]}", f"label:{attribute}"


def look_at(task: Task, images: Images, count: int) -> Faces:
    """Return ``count`` images of a part: the first ones, or evenly spaced ones if files are sorted by class."""
    spaced = images.labels is not None and len(images) > count
    images = images[np.arange(count) * len(images) // count] if spaced else images[:count]
    has = columns(images, task.attribute)[task.attribute] > 0.5
    latents = task.run.encode(images.pixels)
    truth = toggled(task, images, has) if task.has_truth else None
    reconstructed = task.run.decode(latents).pixels
    return Faces(images.pixels, has, columns(images, task.attribute), latents, reconstructed, truth)


def toggled(task: Task, images: Images, has: np.ndarray) -> Tensor:
    """Return the same portraits drawn with the attribute toggled, uint8 [N, C, H, W]."""
    rows = [int(Path(name).stem) for name in images.names]
    size, channels = task.run.config.data.size, task.run.config.data.channels

    def draw(row: int, **overrides: int) -> np.ndarray:
        return portraits.draw(1, size, start=row, overrides=overrides)[0]

    def as_pixels(drawn: list[np.ndarray]) -> Tensor:
        return vk.open_images(np.stack(drawn), channels=channels).pixels

    assert torch.equal(as_pixels([draw(row) for row in rows[:2]]), images.pixels[:2]), "names must be the rows"
    with ThreadPoolExecutor(2) as pool:
        drawn = pool.map(lambda row, now: draw(row, **{task.attribute: int(not now)}), rows, has)
        return as_pixels(list(drawn))


def measure(task: Task, faces: Faces, strength: float) -> dict[str, Any]:
    """Measure one strength: what the judge sees after editing, and the PSNR against the truth."""
    signs = torch.from_numpy(np.where(faces.has, -1.0, 1.0)).float()
    edited = task.edit(faces.latents, signs, strength)
    said = task.says(edited)
    result: dict[str, Any] = {
        "strength": strength,
        "seen_after_adding": float(said[~faces.has].mean()),
        "seen_after_removing": float(said[faces.has].mean()),
    }
    if faces.truth is not None:
        result["edit_psnr_db"] = _psnr(edited, faces.truth)
        result["adding_psnr_db"] = _psnr(edited[~faces.has], faces.truth[~faces.has])
        result["removing_psnr_db"] = _psnr(edited[faces.has], faces.truth[faces.has])
    return result


def choose_strength(sweep: list[dict[str, Any]], enough: float) -> float:
    """Return the strength that works best in its worse direction.

    Of equal ones, or of all that reach ``enough``, it is the one with the highest PSNR, or without a truth the weakest.
    """

    def worth(row: dict[str, Any]) -> tuple[float, float, float]:
        worse = min(row["seen_after_adding"], 1 - row["seen_after_removing"])
        return min(worse, enough), row.get("edit_psnr_db", 0.0), -row["strength"]

    return float(max(sweep, key=worth)["strength"])


def measure_test(task: Task, faces: Faces, strength: float) -> dict[str, Any]:
    """Measure the test part at a fixed strength."""
    ones = torch.ones(len(faces.latents))
    result: dict[str, Any] = {
        "images": len(faces.has),
        "with": int(faces.has.sum()),
        "without": int((~faces.has).sum()),
        "classifier_right_on_originals": accuracies(task.judge, faces.pixels, faces.targets),
        "classifier_right_on_reconstructions": accuracies(task.judge, faces.reconstructed, faces.targets),
        "seen_in_originals_without": float(task.says(faces.pixels[~torch.from_numpy(faces.has)]).mean()),
        "seen_in_originals_with": float(task.says(faces.pixels[torch.from_numpy(faces.has)]).mean()),
        **measure(task, faces, strength),
        "seen_after_adding_to_all": float(task.says(task.edit(faces.latents, ones, strength)).mean()),
        "seen_after_removing_from_all": float(task.says(task.edit(faces.latents, -ones, strength)).mean()),
        "reconstruction_psnr_db": _psnr(faces.reconstructed, faces.pixels),
        **fidelity(task, faces, strength),
    }
    if faces.truth is not None:
        result["edit_below_reconstruction_db"] = result["reconstruction_psnr_db"] - result["edit_psnr_db"]
        result["doing_nothing_psnr_db"] = _psnr(faces.reconstructed, faces.truth)
    return result


def fidelity(task: Task, faces: Faces, strength: float) -> dict[str, Any]:
    """Measure the distance of edits from plain reconstructions, and from real faces of the target group."""
    signs = torch.from_numpy(np.where(faces.has, -1.0, 1.0)).float()
    edited, has = task.edit(faces.latents, signs, strength), torch.from_numpy(faces.has)
    kinds = {name: task.judge.features(faces.pixels[rows]) for name, rows in (("with", has), ("without", ~has))}

    def distance(pixels: Tensor, kind: str) -> float:
        return float(frechet_distance(task.judge.features(pixels), kinds[kind]))

    return {
        "edited_from_reconstruction_psnr_db": _psnr(edited, faces.reconstructed),
        "frechet_added_from_real_with": distance(edited[~has], "with"),
        "frechet_removed_from_real_without": distance(edited[has], "without"),
        "frechet_reconstructed_without_from_real_with": distance(faces.reconstructed[~has], "with"),
        "frechet_reconstructed_with_from_real_with": distance(faces.reconstructed[has], "with"),
    }


def difference_from_verb(task: Task, faces: Faces, strength: float) -> int:
    """Return the largest difference, in bytes, between these edits and ``run.arithmetic``, on two images."""
    without, with_ = task.groups
    largest = 0
    with tempfile.TemporaryDirectory() as folder:
        for i in (int(np.argmin(faces.has)), int(np.argmax(faces.has))):
            path = Path(folder) / f"{i}.png"
            Image.fromarray(faces.pixels[i].movedim(0, -1).squeeze(-1).numpy()).save(path)
            to, off = (without, with_) if faces.has[i] else (with_, without)
            verb = task.run.arithmetic(f'"{path}" + {strength}*{_quoted(to)} - {strength}*{_quoted(off)}').pixels
            ours = task.edit(faces.latents[i : i + 1], torch.tensor([-1.0 if faces.has[i] else 1.0]), strength)
            largest = max(largest, int((verb.int() - ours.int()).abs().max()))
    return largest


def picture(task: Task, faces: Faces, strength: float, path: Path, each: int = 4) -> None:
    """Draw faces to add to and faces to remove from: originals, reconstructions, edits and, if known, the truth."""
    rows = np.concatenate([np.flatnonzero(~faces.has)[:each], np.flatnonzero(faces.has)[:each]])
    signs = torch.from_numpy(np.where(faces.has[rows], -1.0, 1.0)).float()
    edited = task.edit(faces.latents[rows], signs, strength)
    shown = [faces.pixels[rows], faces.reconstructed[rows], edited]
    if faces.truth is not None:
        shown.append(faces.truth[rows])
    labels = ("original", "reconstruction", "edited", "truth")[: len(shown)]
    Sheet(shrink(torch.cat(shown), LARGEST_CELL), len(rows), row_labels=labels).save(path)


def prepare(given: argparse.Namespace) -> tuple[Task, Task, Images, dict[str, Any]]:
    """Return the task with the choosing classifier and with the judge, the run's data, and facts to report."""
    run = vk.load(given.run)
    images = open_data(run, given.data)
    train = images.part("train")
    tasks, told = [], {}
    without, with_ = groups_of(images, given.attribute)
    direction = run.latent(with_) - run.latent(without)
    for seed, name in enumerate(("chooser", "judge")):
        half = train[np.arange(seed, len(train), 2)]
        wanted = columns(half, given.attribute)
        small = shrink(half.pixels, LARGEST_SIDE)
        net, seconds = cached_classifier(given.cache, half.fingerprint, small, wanted, given.epochs, seed)
        tasks.append(Task(run, given.attribute, (without, with_), net, direction))
        told[name] = {**facts(net, seconds), "train_images": len(half), "epochs": given.epochs}
    return tasks[0], tasks[1], images, told


def open_data(run: vk.Run, source: str | None) -> Images:
    """Return the run's own images; ``source`` is their location if they have moved."""
    if source is None:
        return run.images()
    data = run.config.data
    images = vk.open_images(source, data.size, data.channels, seed=data.split_seed)
    if images.fingerprint != data.fingerprint:
        raise SystemExit(f"--data {source}: not the images of the run, so its test part may have been trained on")
    return images


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return how often an edit is seen, and what it changes, at two strengths."""
    what = f"`{result['run']['recipe']}`, `vaekit arithmetic` on real faces, “{result['attribute']}”"
    if "test_at_default_strength" not in result:
        yield Headline(what, "")
        return
    for name in ("test_at_default_strength", "test_at_chosen_strength"):
        test = result[name]
        strong = f"{what}, strength {test['strength']:g}: "
        yield Headline(
            f"{strong}share in which an independent classifier sees it after adding, after removing",
            f"{test['seen_after_adding']:.0%}, {test['seen_after_removing']:.0%}",
            f"originals without, with it: {test['seen_in_originals_without']:.0%}, "
            f"{test['seen_in_originals_with']:.0%}",
        )
        yield Headline(
            f"{strong}PSNR of the edit against the reconstruction",
            f"{test['edited_from_reconstruction_psnr_db']:.1f} dB",
        )
        yield Headline(
            f"{strong}Fréchet distance after adding to real faces with it, over the classifier's features (not FID)",
            f"{test['frechet_added_from_real_with']:.0f}",
            f"reconstructions without an edit: {test['frechet_reconstructed_without_from_real_with']:.0f}",
        )


def main() -> None:
    given = _arguments()
    chooser, task, images, classifiers = prepare(given)
    val = look_at(chooser, images.part("val"), given.count)
    sweep = [measure(chooser, val, strength) for strength in SWEEP]
    strength = choose_strength(sweep, given.enough)
    test = look_at(task, images.part("test"), given.count)
    off = difference_from_verb(task, test, strength)
    result = {
        "run": describe_run(task.run),
        "attribute": given.attribute,
        "groups": {"without": task.groups[0], "with": task.groups[1]},
        "classifiers": classifiers,
        "test_at_default_strength": measure_test(task, test, DEFAULT_STRENGTH),
        "test_at_chosen_strength": measure_test(task, test, strength),
        "largest_difference_from_verb_bytes": off,
        "sweep_on_val_by_the_chooser": {"images": len(val.has), "strengths": sweep},
    }
    picture(task, test, strength, given.out.with_suffix(".png"))
    print(write_json(given.out, rounded(result), headlines).read_text(encoding="utf-8"))
    if off > 1:
        raise SystemExit(f"these edits and those of vaekit arithmetic differ by up to {off} levels")


def _arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", help="location of the run's images, if they have moved")
    parser.add_argument("--attribute", default="glasses", help="a 0/1 column, or a class label with one opposite")
    parser.add_argument("--enough", type=float, default=1.0, help="success rate above which PSNR decides the strength")
    parser.add_argument("--count", type=int, default=500, help="number of faces of each held-out part")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where classifiers are kept")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write, with a sheet (.png) beside it")
    return parser.parse_args()


def _psnr(pixels: Tensor, truth: Tensor) -> float:
    return psnr_db(to_float(pixels), to_float(truth)) if len(pixels) else float("nan")


def _quoted(group: str) -> str:
    kind, _, name = group.partition(":")
    return group if kind == "attr" else f'{kind}:"{name}"'


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
