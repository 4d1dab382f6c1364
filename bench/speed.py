"""Compares the time and memory of training steps with other implementations. ``make bench`` runs it.

    literal   bench/literal_loop.py: a DataLoader over PIL images, unfused Adam
    pythae    pythae 0.1.2 with its own trainer, in its own environment (bench/pythae_seed_ae.py)
    floor     forward pass, backward pass and fused update of the same network on one resident batch only
    vaekit    from the first step of a training to its end, with pictures, validation and checkpoints
    bf16      the same with networks in bfloat16, the default on processors with bf16 products

All but the last compute in float32.

    python bench/speed.py ../shared/data/mnist --rounds 5

They take turns, each in a fresh process with torch's defaults (vaekit pins its own threads). Importing the libraries
and reading the data are not timed. Peak memory is the peak of resident memory (VmHWM) up to the last step, including
reading the data, minus the resident memory after ``import torch``. ``peak_bytes_with_report`` covers all of
``vk.train``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from headline import Headline
from machine import RESULTS, write_result
from pythae_seed_ae import environment
from pythae_seed_ae import measure as measure_pythae
from turns import take_turns

__all__ = ["CASES", "headlines", "measure", "time_to_quality"]

QUALITY_SSE = 8.17  # test error per image that counts as the quality of the original system
LITERAL_EPOCHS = 12  # most epochs to reach it


@dataclass(frozen=True)
class Case:
    """A recipe with a batch size and an image size, and the number of steps to time."""

    recipe: str
    batch: int
    size: int | None = None
    steps: int = 0  #: steps of vaekit; 0 for two epochs
    other_steps: int = 0  #: steps of the others, which have no periodic work; 0 for one epoch
    sides: tuple[str, ...] = ("literal", "floor", "vaekit")

    @property
    def name(self) -> str:
        return f"{self.recipe}, batch {self.batch}" + (f", {self.size} px" if self.size else "")


CASES = (
    Case("seed-ae", 32, sides=("literal", "pythae", "floor", "vaekit")),
    Case("seed-ae", 512, sides=("literal", "pythae", "floor", "vaekit", "bf16")),
    Case("seed-vae", 16, 256, steps=120, other_steps=10),
    Case("vae", 16, 64, steps=300, other_steps=60, sides=("literal", "floor", "vaekit", "bf16")),
)
Timing = dict[str, float]


def pictures_for(case: Case, mnist: Path, folder: Path) -> Path:
    """Return the folder of images of a case: MNIST, or portraits that are written once."""
    if case.size is None:
        return mnist
    faces = folder / f"faces-{case.size}"
    if not faces.exists():
        import vaekit as vk
        from vaekit.data import write_folder

        write_folder(vk.open_images("portraits:1000", case.size), faces)
    return faces


def literal(case: Case, data: Path, seed: int) -> Timing:
    start = _memory_after_torch()
    import literal_loop as written
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(seed)
    images: Any = (
        written.Faces(sorted(data.rglob("*.png")), case.size) if case.size else written.read_mnist(data, "train")
    )
    model, loss = _net(case)
    row = _row(case)
    optimizer = torch.optim.Adam(
        model.parameters(), row.learning_rate, weight_decay=row.weight_decay, foreach=False, fused=False
    )
    loop = written.Loop(model, loss, optimizer, DataLoader(images, case.batch, shuffle=True))
    loop.loader = _some(loop.loader, case.other_steps)
    seconds, steps = loop.epoch()
    return {"seconds_per_step": seconds / steps, "peak_bytes": _peak() - start}


def pythae(case: Case, data: Path, seed: int) -> Timing:
    found = measure_pythae(data, epochs=1, batch_size=case.batch, seed=seed)
    steps = -(-60_000 // case.batch)
    peak = found["peak_after_training_bytes"] - found["resident_after_torch_bytes"]
    return {"seconds_per_step": found["seconds"] / steps, "peak_bytes": peak}


def floor(case: Case, data: Path, seed: int) -> Timing:
    start = _memory_after_torch()
    import torch

    torch.manual_seed(seed)
    shape = (case.batch, 3, case.size, case.size) if case.size else (case.batch, 1, 28, 28)
    x = torch.rand(shape)
    model, loss = _net(case)
    row = _row(case)
    optimizer = torch.optim.Adam(model.parameters(), row.learning_rate, weight_decay=row.weight_decay, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(model, x).backward()
        optimizer.step()

    steps = case.other_steps or -(-60_000 // case.batch)
    for _ in range(max(2, steps // 20)):  # the first steps are slower
        step()
    before = time.perf_counter()
    for _ in range(steps):
        step()
    return {"seconds_per_step": (time.perf_counter() - before) / steps, "peak_bytes": _peak() - start}


def vaekit(case: Case, data: Path, seed: int, precision: str = "fp32") -> Timing:
    start = _memory_after_torch()
    steps = case.steps or 2 * -(-60_000 // case.batch)
    images = 120_000 if case.size is None else steps * case.batch
    timing = _train(data, case.recipe, seed, size=case.size, batch_size=case.batch, images=images, precision=precision)
    return {
        "seconds_per_step": timing["seconds"] / steps,
        "peak_bytes": timing["peak_bytes"] - start,
        "peak_bytes_with_report": _peak() - start,
    }


def in_bf16(case: Case, data: Path, seed: int) -> Timing:
    return vaekit(case, data, seed, "bf16")


def literal_to_quality(data: Path, seed: int) -> Timing:
    """Return the seconds of the plain loop until an epoch ends with the quality of the original system."""
    model, optimizer, loop, test = _literal(data, seed, "seed-ae", {"foreach": False, "fused": False})
    seconds = 0.0
    for epoch in range(1, LITERAL_EPOCHS + 1):
        seconds += loop.epoch()[0]
        sse = _test_sse(model, test)
        if sse <= QUALITY_SSE:
            return {"seconds": seconds, "epochs": epoch, "test_sse_per_image": sse}
    raise SystemExit(f"seed {seed}: {sse:.2f} after {LITERAL_EPOCHS} epochs")


def literal_with_fast_settings(data: Path, seed: int) -> Timing:
    """Time an epoch of the plain loop with the batch, schedule, Adam and decoder initialization of ``fast-ae``."""
    import torch

    from vaekit.config.table import get
    from vaekit.training.schedules import learning_rate

    row = get("fast-ae")
    adam = {"betas": (0.9, row.adam_beta2), "foreach": False, "fused": False}
    model, optimizer, loop, test = _literal(data, seed, "fast-ae", adam)
    mean = torch.stack([x for x, _ in loop.loader.dataset]).mean(0).flatten().clamp(1e-3, 1 - 1e-3)
    with torch.no_grad():
        model[-3].bias.copy_(torch.logit(mean))
    steps = len(loop.loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(row, step / steps) / row.learning_rate
    )
    loop.optimizer = _Scheduled(optimizer, schedule)
    seconds = loop.epoch()[0]
    return {"seconds": seconds, "epochs": 1, "test_sse_per_image": _test_sse(model, test)}


class _Scheduled:
    """An optimizer whose learning rate changes after each step."""

    def __init__(self, optimizer: Any, schedule: Any) -> None:
        self.zero_grad, self._optimizer, self._schedule = optimizer.zero_grad, optimizer, schedule

    def step(self) -> None:
        self._optimizer.step()
        self._schedule.step()


def _literal(data: Path, seed: int, recipe: str, adam: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return network, optimizer and loop of the plain program with a recipe's settings, and the test data."""
    import literal_loop as written
    import torch
    from torch.utils.data import DataLoader

    from vaekit.config.table import get

    torch.manual_seed(seed)
    row, model = get(recipe), written.seed_ae()
    optimizer = torch.optim.Adam(model.parameters(), lr=row.learning_rate, **adam)
    train, test = (written.read_mnist(data, part) for part in ("train", "t10k"))
    loader = DataLoader(train, row.batch_size, shuffle=True)
    return model, optimizer, written.Loop(model, written.seed_ae_loss, optimizer, loader), test


def _test_sse(model: Any, test: Any) -> float:
    import literal_loop as written

    return float(written.squared_error(lambda x: model(x), model, test) / len(test))


def ours_to_quality(data: Path, seed: int) -> Timing:
    """Return the seconds of the one epoch of ``fast-ae``, which must reach that quality."""
    timing = _train(data, "fast-ae", seed, epochs=1)
    if timing["test_sse_per_image"] > QUALITY_SSE:
        raise SystemExit(f"seed {seed}: {timing['test_sse_per_image']:.2f} after the one epoch of fast-ae")
    return {"seconds": timing["seconds"], "epochs": 1, "test_sse_per_image": timing["test_sse_per_image"]}


def ours_with_seed_settings(data: Path, seed: int) -> Timing:
    """Return the seconds per epoch of vaekit's ``seed-ae``, with pictures and checkpoints (the mean of two)."""
    timing = _train(data, "seed-ae", seed, epochs=2)
    return {"seconds": timing["seconds"] / 2, "epochs": 1, "test_sse_per_image": timing["test_sse_per_image"]}


def _train(data: Path, recipe: str, seed: int, **options: Any) -> Timing:
    """Time a training; ``seconds`` are from its first step to the end of its last."""
    import vaekit as vk
    from vaekit.training import loop as training

    marks: dict[str, float] = {}
    run = training._run

    def marked(*arguments: Any) -> None:
        before = time.perf_counter()
        run(*arguments)
        marks["seconds"] = time.perf_counter() - before
        marks["peak_bytes"] = _peak()

    training._run = marked
    with tempfile.TemporaryDirectory() as folder:
        trained = vk.train(str(data), recipe=recipe, out=f"{folder}/run", seed=seed, quiet=True, **options)
        sse = trained.final_numbers()["final_sse_per_image"]
    return marks | {"test_sse_per_image": float(sse or "nan")}


def _row(case: Case) -> Any:
    from vaekit.config.table import get

    return get(case.recipe)


def _net(case: Case) -> tuple[Any, Callable[..., Any]]:
    """Return network and loss of a case, those of the plain loop if it has them."""
    import literal_loop as written

    if case.recipe == "vae":
        return _our_net(case)
    return (written.SeedVAE(), written.seed_vae_loss) if case.size else (written.seed_ae(), written.seed_ae_loss)


def _our_net(case: Case) -> tuple[Any, Callable[..., Any]]:
    """Return network and loss of one of vaekit's recipes, which have no other implementation."""
    import torch

    from vaekit.model.factory import build_model, build_objective, resolve
    from vaekit.model.inference import Batch
    from vaekit.model.objectives import Step

    assert case.size is not None
    row = resolve(_row(case), (3, case.size, case.size))
    model = build_model(row, (3, case.size, case.size)).train()
    step, weight = Step(model, build_objective(row)), torch.tensor(1.0)

    def loss(_: Any, x: Any) -> Any:
        return step(Batch(x), torch.randn(1, len(x), model.latent_dim), weight).loss.mean()

    return model, loss


def _some(loader: Any, steps: int) -> Any:
    from itertools import islice

    return islice(loader, steps) if steps else loader


def _memory_after_torch() -> int:
    import torch  # noqa: F401

    return _peak()


def _peak() -> int:
    from vaekit.system.memory import peak_resident_bytes

    return peak_resident_bytes() or 0


SIDES: dict[str, Callable[[Case, Path, int], Timing]] = {
    "literal": literal,
    "pythae": pythae,
    "floor": floor,
    "vaekit": vaekit,
    "bf16": in_bf16,
}


def alone(function: Callable[..., Timing], *arguments: object) -> Timing:
    """Call ``function`` in a fresh interpreter, so that neither side inherits threads or memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(case: Case, data: Path, rounds: int) -> dict[str, Any]:
    """Measure all sides of one case in turns; returns medians, spreads and vaekit's ratio to each of the others."""

    def side(name: str) -> Callable[[int], Timing]:
        run = SIDES[name] if name == "pythae" else lambda *given: alone(SIDES[name], *given)
        return lambda turn: run(case, data, turn)

    timings = take_turns({name: side(name) for name in case.sides}, rounds)
    seconds = {name: [row["seconds_per_step"] for row in rows] for name, rows in timings.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    others = [name for name in case.sides if name != "vaekit"]
    return {
        "rounds": rounds,
        "seconds_per_step": medians,
        "spread_of_seconds_per_step": {name: max(values) - min(values) for name, values in seconds.items()},
        "every_seconds_per_step": seconds,
        "images_per_second": {name: case.batch / value for name, value in medians.items()},
        "seconds_per_epoch": {name: 60_000 / case.batch * value for name, value in medians.items()}
        if case.size is None
        else None,
        "peak_bytes": {n: statistics.median(row["peak_bytes"] for row in rows) for n, rows in timings.items()},
        "peak_bytes_with_report": statistics.median(row["peak_bytes_with_report"] for row in timings["vaekit"]),
        "vaekit_over": {name: medians["vaekit"] / medians[name] for name in others},
        "vaekit_over_in_each_round": {
            name: [a / b for a, b in zip(seconds["vaekit"], seconds[name], strict=True)] for name in others
        },
    }


def time_to_quality(data: Path, seeds: int) -> dict[str, Any]:
    """Measure the seconds to the quality of the original system on MNIST, for the plain loop and ``fast-ae`` in turns.

    Two more sides split the ratio into software and settings: the plain loop with the settings of ``fast-ae``, and an
    epoch of vaekit with those of ``seed-ae``.
    """
    sides = {
        "literal": literal_to_quality,
        "vaekit": ours_to_quality,
        "literal_with_fast_settings": literal_with_fast_settings,
        "vaekit_with_seed_settings": ours_with_seed_settings,
    }
    turns = {name: (lambda turn, run=run: alone(run, data, turn)) for name, run in sides.items()}
    found = take_turns(turns, seeds)
    epoch = {name: statistics.median(row["seconds"] / row["epochs"] for row in rows) for name, rows in found.items()}
    medians = {name: statistics.median(row["seconds"] for row in found[name]) for name in ("literal", "vaekit")}
    return {
        "test_sse_per_image_to_reach": QUALITY_SSE,
        "recipe": "fast-ae",
        "median_seconds": medians,
        "median_seconds_per_epoch": epoch,
        "times_faster": medians["literal"] / medians["vaekit"],
        "times_faster_by_software": {
            "with_seed_settings": epoch["literal"] / epoch["vaekit_with_seed_settings"],
            "with_fast_settings": epoch["literal_with_fast_settings"] / epoch["vaekit"],
        },
        "every": found,
    }


def table(cases: dict[str, Any]) -> str:
    """Format the table for reading."""
    lines = [f"{'':26}{'side':10}{'ms/step':>9}{'images/s':>10}{'peak MB':>9}{'vaekit over it':>16}"]
    for name, found in cases.items():
        for side, seconds in found["seconds_per_step"].items():
            ratio = found["vaekit_over"].get(side)
            lines.append(
                f"{name:26}{side:10}{1e3 * seconds:9.2f}{found['images_per_second'][side]:10.0f}"
                f"{found['peak_bytes'][side] / 1e6:9.0f}" + (f"{ratio:16.2f}" if ratio else "")
            )
            name = ""
    return "\n".join(lines)


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare time per step and memory with others, and the time to a quality."""
    cases, loop = result["cases"], "a plain PyTorch loop"
    bare = "the forward pass, backward pass, and update alone"
    dense, faces, ours = (cases[n] for n in ("seed-ae, batch 32", "seed-vae, batch 16, 256 px", "vae, batch 16, 64 px"))
    for case, what, others in (
        (dense, "`seed-ae`, batch of 32", {"literal": loop, "pythae": "pythae 0.1.2", "floor": bare}),
        (faces, "`seed-vae` at 256 px, batch of 16", {"literal": loop, "floor": bare}),
        (ours, "`vae` at 64 px, batch of 16", {"floor": bare}),
    ):
        figures = (f"{case['vaekit_over'][side]:.2f} of {name}" for side, name in others.items())
        what = f"{what}: time per training step of the complete loop, with pictures, validation, and checkpoints"
        yield Headline(what, ", ".join(figures), "1: equally fast")
    over = dense["vaekit_over"]
    yield Headline(
        "Time per training step of `seed-ae`, a dense autoencoder, on MNIST",
        f"{over['literal']:.2f} of a plain PyTorch loop, {over['pythae']:.2f} of pythae",
        in_readme=True,
    )
    yield _quality_headline(result.get("time_to_quality", {}))
    peaks = dense["peak_bytes"]
    what = "`seed-ae` on MNIST: peak memory beyond that of importing PyTorch"
    yield Headline(what, f"{peaks['vaekit'] / 1e6:.0f} MB", f"pythae 0.1.2: {peaks['pythae'] / 1e6:.0f} MB")


def _quality_headline(found: dict[str, Any]) -> Headline:
    what = "`fast-ae` on MNIST: time of all training steps to reach a squared error"
    if "times_faster_by_software" not in found:
        return Headline(what, "")
    by = found["times_faster_by_software"]
    low, high = sorted((by["with_seed_settings"], by["with_fast_settings"]))
    return Headline(
        f"{what} of {found['test_sse_per_image_to_reach']} per test image",
        f"{found['median_seconds']['vaekit']:.1f} s; {found['times_faster']:.0f} times as fast as a plain loop with "
        "the original hyperparameters",
        f"with equal hyperparameters {low:.1f} to {high:.1f} times as fast; the rest is batch size, schedule, and "
        "decoder initialization",
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("mnist", type=Path, help="the folder of MNIST's four IDX files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="rounds of the time to quality")
    parser.add_argument("--only", default="", help="only cases whose name contains this; updates the stored result")
    parser.add_argument("--quality", action="store_true", help="only the time to quality; updates the stored result")
    given = parser.parse_args()
    if given.quality:
        result = json.loads((RESULTS / "speed.json").read_text()) | {
            "time_to_quality": time_to_quality(given.mnist, given.seeds)
        }
        print(f"written to {write_result('speed', result, headlines).name}")
        return
    if not any(given.only in case.name for case in CASES):
        parser.error(f"--only {given.only!r} matches no case: {', '.join(case.name for case in CASES)}")
    environment()  # created before anything is timed
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if given.only in case.name:
                data = pictures_for(case, given.mnist, Path(folder))
                cases[case.name] = measure(case, data, given.rounds)
                print(table({case.name: cases[case.name]}), flush=True)
    if given.only:
        result = json.loads((RESULTS / "speed.json").read_text())
        result["cases"] |= cases
    else:
        quality = time_to_quality(given.mnist, given.seeds)
        print(json.dumps({k: v for k, v in quality.items() if k != "every"}, indent=2))
        result = {"cases": cases, "time_to_quality": quality}
    print(f"written to {write_result('speed', result, headlines).name}")


if __name__ == "__main__":
    main()
