"""Does the doctor recognize faulty runs, and pass healthy ones?

    python bench/doctor.py --smiles ../shared/data/smiles.tar.gz

The thresholds were chosen on the first group of runs, on digits. The two other groups, portraits and real faces, were
then evaluated with them. Each case states the expected verdict; a wrong one in these groups gives exit code 1. Runs are
kept in ``--work`` and reused. After a change of the rules, ``--again`` applies them to the evidence in ``doctor.json``,
which is rounded to four digits, and trains only missing cases. A third of the cases that were added later was held out
until the rules were final (``is_aside``).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from headline import Headline
from machine import RESULTS, write_json

import vaekit as vk
from vaekit.config.table import get
from vaekit.errors import Interrupted
from vaekit.evaluation.doctor import diagnosis as doctor
from vaekit.evaluation.doctor import examine as checkup
from vaekit.evaluation.doctor.evidence import LIMITS, Evidence
from vaekit.runs import folder as runs

__all__ = ["CASES", "DENSE", "Case", "few", "forty", "headlines", "trained"]

TUNED_ON = "digits"

#: Results on portraits and faces, before anything was changed.
FIRST = {"sick_and_right": 11, "sick": 14, "healthy_and_right": 1, "healthy": 4}
#: Changes made after the first evaluation on portraits and faces. Cases named fresh were added after all of them.
CHANGED = [
    "The gain of the second half was in dB of PSNR, at most 0.75. It called fast-ae of the digits (healthy) still "
    "improving and vae after 8 epochs (too short) healthy, and the healthy vae of portraits still improving. Now it is "
    "the share of the variance that is explained in addition, at most 0.04: between 0.021 and 0.049, which digits have "
    "after 20 and 8 epochs.",
    "far_over_weight (10, with beta above 1) was added: beta-40 of portraits and beta-20 of faces explained 83 and "
    "69 % and were called healthy, with a fifth and a seventh of the nats of the healthy runs.",
    "Fewer than 2 epochs came before collapsed, and beta-500 of faces (0.8 epochs) was called still improving; now it "
    "comes after.",
    "share_of_unaveraged_gain (0.5) was added: fast-ae of portraits and faces showed gains of 7 points where four "
    "times the length explained 4 and 6 points more, and longer-fast-ae gains of 4.6 and 4.4; all four were called "
    "still improving.",
    "On the digits, beta 10 and 30 and a fixed scale of 1 were expected to be over-regularized and explain nothing: "
    "they are collapsed, and were called so. 6 and 0.5 took their place; they explain 52 and 55 %, and least_explained "
    "went from 0.5 to 0.7, between them and the healthy beta-vae (89 %). No verdict on the others changed.",
    "Three rules came later still, for trainings that were not among the cases: a learning rate far below the recipe's "
    "(it was called collapsed), fewer than ten images, and overfitting by 6 dB and more before 300 steps. Two cases "
    "were added for them. No verdict on the others changed.",
]
#: Changes made after the held-out cases were seen; they were evaluated once with the rules before these changes.
CHANGED_AFTER_ASIDE: list[str] = [
    "conditional-portraits (healthy) was called condition ignored: obedience was that of the worst condition, and its "
    "samples follow nine of ten by 84 % and more, but pose by 36 %. It is the median of the conditions now: 0.92, and "
    "0.54 for condition-ignored-portraits. One ignored condition of many passes.",
    "dim was expected to be healthy after 60,000 images and was called still improving: it "
    "explained 56 %, 20 points more than at half of the run, so the expectation was wrong, and dim-longer was added.",
]
#: Results on the held-out cases, before these changes.
FIRST_ASIDE = {"sick_and_right": 5, "sick": 5, "healthy_and_right": 3, "healthy": 5}


@dataclass(frozen=True)
class Case:
    """A run, and the expected verdict."""

    name: str
    expected: str
    recipe: str = "vae"
    data: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None  #: function that changes all images, or None
    note: str = ""  #: remark
    stop_at: float | None = None  #: fraction of the run after which it is interrupted
    options: dict[str, Any] = field(default_factory=dict)
    source: str | None = None  #: image size, if it is not that of the group
    is_aside: bool = False  #: held out until the rules were final


def few(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Eighty images, about sixty of them for training."""
    return {"images": pixels[:: len(pixels) // 80][:80]}


def six(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Six images, none of them held out."""
    return {"images": pixels[:: len(pixels) // 6][:6]}


def copies(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Fifty images, each many times."""
    return {"images": np.resize(pixels[:: len(pixels) // 50][:50], (1000, *pixels.shape[1:]))}


def plain(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Gray, except for the last bit of each pixel value."""
    return {"images": 128 + np.random.default_rng(0).integers(0, 2, (1000, *pixels.shape[1:]), np.uint8)}


def noise(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Independent random pixel values."""
    return {"images": np.random.default_rng(0).integers(0, 256, (1000, *pixels.shape[1:]), np.uint8)}


def inverted(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Inverted validation images."""
    some = pixels[:: max(1, len(pixels) // 1500)]
    return {"x_train": some[200:], "x_val": 255 - some[:200]}


def inverted_test(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Inverted test images; validation images are like training images."""
    some = pixels[:: max(1, len(pixels) // 1500)]
    return {"x_train": some[200:], "x_test": 255 - some[:200]}


def _images(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {"images": np.clip(pixels, 0, 255).round().astype(np.uint8)}


def _parts(pixels: np.ndarray, validation: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    return {"x_train": pixels[400:], "x_val": validation, "x_test": test}


def leaked_validation(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Half of the validation images are training images."""
    return _parts(pixels, np.concatenate([pixels[:100], pixels[500:600]]), pixels[200:400])


def leaked_test(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """One in twenty of the test images is a training image."""
    return _parts(pixels, pixels[:200], np.concatenate([pixels[200:390], pixels[500:510]]))


def one_leaked(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """One of 200 validation images is a training image."""
    return _parts(pixels, np.concatenate([pixels[:199], pixels[500:501]]), pixels[200:400])


def twenty(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Twenty images, about sixteen of them for training."""
    return {"images": pixels[:: len(pixels) // 20][:20]}


def forty(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Forty images, about thirty of them for training."""
    return {"images": pixels[:: len(pixels) // 40][:40]}


def dots(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Black, except for one soft dot of 60 levels at a random position of 32×32 pixels."""
    y, x = np.mgrid[:32, :32]
    at = np.random.default_rng(0).uniform(3, 28, (1500, 2))
    away = (x - at[:, :1, None]) ** 2 + (y - at[:, 1:, None]) ** 2
    return _images(60 * np.exp(-away / 2)[:, None])


def dim(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """A thirty-second of the brightness: eight levels of gray."""
    return {"images": pixels // 32}


def one_picture(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """One picture a thousand times, with noise of one level."""
    draws = np.random.default_rng(0).normal(size=(1000, pixels.shape[1], 8, 8))
    sides = [side // 8 for side in pixels.shape[2:]]
    return _images(pixels[:1] + draws.repeat(sides[0], 2).repeat(sides[1], 3))


def textures(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Gratings of random direction and phase with noise four times as strong, 16×16 pixels."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    angle, phase = draws.uniform(0, np.pi, (1500, 1, 1)), draws.uniform(0, 2 * np.pi, (1500, 1, 1))
    gratings = np.sin(2 * np.pi / 8 * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    return _images(255 * (0.5 + 0.12 * gratings + 0.3 * draws.normal(size=gratings.shape))[:, None])


def _digits() -> Iterator[Case]:
    yield Case("healthy-30-epochs", "healthy", options={"epochs": 30})
    yield Case("healthy-patience", "healthy", options={"epochs": 100, "patience": 8})
    yield Case("healthy-beta-vae", "healthy", "beta-vae", options={"epochs": 30})
    yield Case("healthy-standard-normal", "healthy", options={"epochs": 30, "settings": {"prior": "standard-normal"}})
    yield Case("healthy-ae", "healthy", "ae", options={"epochs": 30})
    yield Case("healthy-fast-ae", "healthy", "fast-ae", options={"epochs": 40})
    yield Case("too-short", "still improving", options={"epochs": 8})
    yield Case("too-short-seed-ae", "still improving", "seed-ae", options={"epochs": 8})
    yield Case("stopped", "still improving", stop_at=0.4, options={"epochs": 30})
    yield Case("beta-1000", "collapsed", options={"epochs": 20, "settings": {"beta": 1000}})
    yield Case("beta-30", "collapsed", options={"epochs": 30, "settings": {"beta": 30}})
    yield Case("beta-10", "collapsed", options={"epochs": 20, "settings": {"beta": 10}})
    yield Case("beta-6", "over-regularized", options={"epochs": 20, "settings": {"beta": 6}})
    yield Case("scale-1", "collapsed", options={"epochs": 30, "settings": {"scale": "fixed", "fixed_scale": 1}})
    yield Case(
        "scale-half", "over-regularized", options={"epochs": 20, "settings": {"scale": "fixed", "fixed_scale": 0.5}}
    )
    yield Case("sixty-images", "overfitting", data=few, options={"images": 40_000})
    yield Case("sixty-images-ae", "overfitting", "ae", data=few, options={"images": 40_000})
    yield Case("ninety-epochs", "overfitting", options={"epochs": 90})
    yield Case("plain", "broken data", data=plain, options={"epochs": 4})
    yield Case("copies", "broken data", data=copies, options={"epochs": 4})
    yield Case("noise", "broken data", data=noise, options={"epochs": 4})
    yield Case("inverted", "broken data", data=inverted, options={"epochs": 4})


_SMALL = {"size": 32, "batch_size": 16}


def _options(images: int, **values: Any) -> dict[str, Any]:
    return {**_SMALL, "images": images, "settings": {"width": 32, **values}}


def _dense(images: int) -> dict[str, Any]:
    return {"size": 32, "images": images}


_FRESH = "added after the last change of the rules but for those that came later still"
_LATER = "added with the rules that came later still"


def _portraits() -> Iterator[Case]:
    yield Case("healthy-vae", "healthy", options=_options(24_000))
    yield Case("healthy-fast-ae", "healthy", "fast-ae", options=_dense(60_000))
    yield Case("longer-fast-ae", "healthy", "fast-ae", options=_dense(240_000))
    yield Case("healthy-ae", "healthy", "ae", note=_FRESH, options=_options(24_000))
    yield Case("beta-1000", "collapsed", options=_options(8_000, beta=1000))
    yield Case("beta-40", "over-regularized", options=_options(12_000, beta=40))
    yield Case("sixty-images", "overfitting", data=few, options=_options(16_000))
    yield Case("stopped", "still improving", stop_at=0.4, options=_options(24_000))
    yield Case("beta-15", "over-regularized", note=_FRESH, options=_options(8_000, beta=15))
    yield Case("too-short", "still improving", note=_FRESH, options=_options(6_000))
    yield Case("plain", "broken data", note=_FRESH, data=plain, options=_options(1_200))
    yield Case("copies", "broken data", data=copies, options=_options(2_000))
    yield Case("noise", "broken data", data=noise, options=_options(2_000))
    yield Case("inverted", "broken data", data=inverted, options=_options(2_000))
    yield Case("slow-rate", "still improving", note=_LATER, options=_options(8_000) | {"learning_rate": 1e-6})
    yield Case("six-images", "broken data", data=six, note=_LATER, options=_options(1_200))


def _smiles() -> Iterator[Case]:
    yield Case("healthy-vae", "healthy", options=_options(24_000))
    yield Case("healthy-fast-ae", "healthy", "fast-ae", options=_dense(60_000))
    yield Case("longer-fast-ae", "healthy", "fast-ae", options=_dense(240_000))
    yield Case("beta-500", "collapsed", options=_options(8_000, beta=500))
    yield Case("beta-20", "over-regularized", options=_options(24_000, beta=20))
    yield Case("scale-1", "over-regularized", note=_FRESH, options=_options(8_000, scale="fixed", fixed_scale=1))
    yield Case("healthy-ae", "healthy", "ae", note=_FRESH, options=_options(24_000))
    yield Case("stopped", "still improving", note=_FRESH, stop_at=0.4, options=_options(24_000))
    yield Case("noise", "broken data", note=_FRESH, data=noise, options=_options(1_200))
    yield Case("sixty-images-ae", "overfitting", "ae", data=few, options=_options(10_000))
    yield Case("too-short", "still improving", options=_options(6_000))
    yield Case("plain", "broken data", data=plain, options=_options(1_200))
    yield Case("inverted-test", "broken data", data=inverted_test, options=_options(1_200))
    yield Case("copies", "broken data", data=copies, options=_options(1_200))


DENSE = {"net": "mlp", "hidden": "128"}  #: trains in seconds


def _of_digits(name: str, expected: str, recipe: str = "vae", **values: Any) -> Case:
    options = {"settings": DENSE | values.pop("settings", {})} | values.pop("options", {})
    options |= {} if "images" in options else {"epochs": 30}
    return Case(name, expected, recipe, options=options, source="digits", **values)


def _of_portraits(name: str, expected: str, recipe: str = "vae", **values: Any) -> Case:
    options = {"size": 16, "images": 60_000, "settings": DENSE | values.pop("settings", {})}
    options |= values.pop("options", {})
    return Case(name, expected, recipe, options=options, source="portraits:1500", **values)


_DOTS = (
    "Expected to be healthy at first, and not to be called broken data: this training did collapse (0.4 nats), so the "
    "expectation was wrong."
)

_DIM = "Expected to be healthy at first: see changed_after_aside."
_DIM_LONGER = "Added when dim was seen."


def _later() -> Iterator[Case]:
    """Return cases that the doctor missed or wrongly reported; a third was held out until the rules were final."""
    free = {"beta": 0, "prior": "standard-normal"}
    yield _of_digits("beta-0", "prior mismatch", settings=free)
    yield _of_digits("beta-tenth", "prior mismatch", settings=free | {"beta": 0.1})
    yield _of_digits("no-mmd", "prior mismatch", "wae-mmd", settings={"mmd_weight": 0})
    yield _of_portraits("beta-0-portraits", "prior mismatch", settings=free, is_aside=True)
    yield _of_digits("standard-normal", "healthy", settings={"prior": "standard-normal"})
    yield _of_digits("wae", "healthy", "wae-mmd")
    yield _of_digits("flow", "healthy", "flow-vae")
    yield _of_digits("iwae", "healthy", "iwae", is_aside=True)
    yield _of_digits("leaked-validation", "broken data", data=leaked_validation)
    yield _of_portraits("leaked-test", "broken data", data=leaked_test, is_aside=True)
    yield _of_digits("one-leaked", "healthy", data=one_leaked)
    yield _of_digits("twenty-images", "broken data", data=twenty, options={"images": 2_000})
    yield _of_portraits("twenty-portraits", "broken data", data=twenty, options={"images": 2_000}, is_aside=True)
    yield _of_digits("forty-images", "overfitting", data=forty, options={"images": 16_000})
    yield _of_digits("dots", "collapsed", data=dots, note=_DOTS, options={"images": 60_000})
    yield _of_portraits("dim", "still improving", data=dim, note=_DIM, is_aside=True)
    yield _of_portraits("dim-longer", "healthy", data=dim, note=_DIM_LONGER, options={"images": 240_000})
    yield _of_portraits("one-picture", "broken data", data=one_picture, options={"images": 8_000})
    yield _of_digits("latent-1", "underfitting", options={"latent_dim": 1})
    yield _of_digits("latent-2-ae", "underfitting", "ae", options={"latent_dim": 2})
    yield _of_portraits("latent-1-portraits", "underfitting", options={"latent_dim": 1}, is_aside=True)
    yield _of_digits("latent-8", "healthy", options={"latent_dim": 8}, is_aside=True)
    yield _of_digits("textures", "healthy", data=textures, options={"images": 60_000})
    yield _of_digits("textures-ae", "healthy", "ae", data=textures, options={"images": 60_000}, is_aside=True)
    yield _of_digits("textures-beta-1000", "collapsed", data=textures, settings={"beta": 1000})
    yield _of_digits("conditional", "healthy", "conditional-vae")
    fitted = {"prior": "fitted-normal"}
    yield _of_digits("condition-ignored", "condition ignored", "conditional-vae", settings=fitted)
    yield _of_portraits("conditional-portraits", "healthy", "conditional-vae", is_aside=True)
    yield _of_portraits(
        "condition-ignored-portraits", "condition ignored", "conditional-vae", settings=fitted, is_aside=True
    )


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "digits": _digits,
    "portraits": _portraits,
    "smiles": _smiles,
    "later": _later,
}


def trained(case: Case, source: str, folder: Path) -> Path:
    """Return the run of a case, training it if necessary."""
    out, source = folder / case.name, case.source or source
    if (out / "done").exists():
        return out
    data = source
    if case.data is not None:
        pixels = vk.open_images(source, size=case.options.get("size")).pixels.numpy()
        data = str(folder / f"{case.name}.npz")
        np.savez(data, **{k: np.ascontiguousarray(v.transpose(0, 2, 3, 1)) for k, v in case.data(pixels).items()})
    if case.stop_at is None:
        vk.train(data, case.recipe, out, quiet=True, **case.options)
    else:
        with _interrupted(out, case.stop_at):
            vk.train(data, case.recipe, out, quiet=True, **case.options)
    (out / "done").touch()
    return out


@contextmanager
def _interrupted(out: Path, fraction: float) -> Iterator[None]:
    """Send this process Ctrl-C when the training into ``out`` reaches a point, and expect it to end."""

    def watch() -> None:
        while True:
            time.sleep(0.2)
            lines = runs.read_metrics(out)
            if lines and lines[-1]["images"] >= fraction * runs.read_config(out).total_images:
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Interrupted:
        return
    raise SystemExit(f"{out}: the training ended before it could be interrupted")


def examined(case: Case, source: str, folder: Path) -> tuple[Evidence, float]:
    """Return the evidence on a case, and the seconds it took."""
    run = vk.load(trained(case, source, folder))
    began = time.monotonic()
    evidence = checkup.examine(run.model, run.config, run.images(), runs.read_metrics(run.path))
    return evidence, round(time.monotonic() - began, 1)


def judged(case: Case, source: str, folder: Path, stored: dict[str, Any] | None) -> dict[str, Any]:
    """Diagnose a case from new or stored evidence, and compare with the expected verdict."""
    if stored is None:
        evidence, seconds = examined(case, source, folder)
    else:
        usual = {"usual_learning_rate": get(case.recipe).learning_rate}
        evidence, seconds = Evidence.from_dict(usual | stored["evidence"]), stored["examination_seconds"]
    found = doctor.diagnose(evidence)
    print(
        f"{folder.name:10} {case.name:24} {'' if found.verdict == case.expected else 'WRONG '}{found.summary}",
        flush=True,
    )
    return {
        "case": case.name,
        "recipe": case.recipe,
        "options": case.options,
        "data": case.data.__doc__ if case.data else "as they are",
        "interrupted_at": case.stop_at,
        **({"source": case.source, "is_aside": case.is_aside} if case.source else {}),
        **({"note": case.note} if case.note else {}),
        "expected": case.expected,
        "verdict": found.verdict,
        "is_right": found.verdict == case.expected,
        "reason": found.reason,
        "evidence": {k: _rounded(v) for k, v in evidence.to_dict().items()},
        "examination_seconds": seconds,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _counts(cases: list[dict[str, Any]], is_aside: bool) -> dict[str, int]:
    """Count correct verdicts among the later cases: those the rules were chosen on, or the held-out ones."""
    chosen = [case for case in cases if case["is_aside"] == is_aside]
    found = {}
    for name, some in (
        ("sick", [c for c in chosen if c["expected"] != "healthy"]),
        ("healthy", [c for c in chosen if c["expected"] == "healthy"]),
    ):
        found |= {f"{name}_and_right": sum(c["is_right"] for c in some), name: len(some)}
    return found


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare correct verdicts with those before the rules were changed."""
    kinds = "faulty runs diagnosed correctly, healthy runs passed"
    yield Headline(
        f"`vaekit doctor` on runs that the rules were then changed for: {kinds}",
        _shares(result),
        f"before the rules were changed: {_shares(result['first_judgement'])}",
    )
    yield Headline(
        f"`vaekit doctor` on ten held-out runs: {kinds}",
        _shares(result["first_judgement_of_aside"]),
        "no longer held out, after one rule and one expectation were changed: " + _shares(result["later"]["aside"]),
    )


def _shares(found: dict[str, Any]) -> str:
    return ", ".join(f"{found[f'{kind}_and_right']} of {found[kind]}" for kind in ("sick", "healthy"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smiles", default="../shared/data/smiles.tar.gz", help="faces, an archive or a folder")
    parser.add_argument("--only", choices=CASES, help="one group, without writing results")
    parser.add_argument("--work", type=Path, default=Path("build/bench/doctor"), help="where the runs are kept")
    parser.add_argument("--again", action="store_true", help="use stored evidence; train only missing cases")
    parser.add_argument("--without-aside", action="store_true", help="leave out the held-out cases")
    given = parser.parse_args()
    before = json.loads((RESULTS / "doctor.json").read_text())
    stored = before["groups"] if given.again else {}
    sources = {"digits": "digits", "portraits": "portraits:1500", "smiles": given.smiles, "later": "digits"}
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, cases in CASES.items():
        if given.only in (None, name):
            (given.work / name).mkdir(parents=True, exist_ok=True)
            known = {row["case"]: row for row in stored.get(name, [])}
            chosen = [case for case in cases() if not (given.without_aside and case.is_aside)]
            groups[name] = [judged(case, sources[name], given.work / name, known.get(case.name)) for case in chosen]
    judged_on = [case for name in ("portraits", "smiles") for case in groups.get(name, [])]
    wrong = [case for case in (*judged_on, *groups.get("later", [])) if not case["is_right"]]
    if given.only is None:
        result = {
            "thresholds": dataclasses.asdict(LIMITS),
            "thresholds_chosen_on": TUNED_ON,
            "changed_after_judging": CHANGED,
            "sick_and_right": sum(c["is_right"] for c in judged_on if c["expected"] != "healthy"),
            "sick": sum(c["expected"] != "healthy" for c in judged_on),
            "healthy_and_right": sum(c["is_right"] for c in judged_on if c["expected"] == "healthy"),
            "healthy": sum(c["expected"] == "healthy" for c in judged_on),
            "digits_right": sum(c["is_right"] for c in groups[TUNED_ON]),
            "digits": len(groups[TUNED_ON]),
            "first_judgement": FIRST,
            "fresh_and_right": sum(c["is_right"] for c in judged_on if c.get("note") == _FRESH),
            "fresh": sum(c.get("note") == _FRESH for c in judged_on),
            "later": {where: _counts(groups["later"], where == "aside") for where in ("chosen_on", "aside")},
            "first_judgement_of_aside": FIRST_ASIDE,
            "changed_after_aside": CHANGED_AFTER_ASIDE,
            "groups": groups,
            **{name: before[name] for name in ("advice", "headlines") if name in before},
        }
        write_json(RESULTS / "doctor.json", result, headlines)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
