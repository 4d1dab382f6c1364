"""Damaged runs: every field of every file is changed in every way, and commands then read the run.

A command must succeed or refuse (exit code 0 or 2). ``tests/runs/test_damaged_runs.py`` tries a sample, and
``bench/run_faults.py`` tries all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

NAN = float("nan")
_WRONG: tuple[Any, ...] = (
    *(None, "x", "", True, 0, 1, -1, 2.5, -0.5, 10**6, 10**30, 1e300, NAN, float("inf")),
    *([], {}, [1], ["x"], {"a": 1}, "\ud800\x00", [[[[]]]]),
)
_MOST_ELEMENTS = 2  # of a list, changed
_METADATA = "vaekit"  # of files without a checksum, so that what is wrong with a value is met
_SOUND = (".total_images = 1000000",)  #: asks for a longer training, and gets it

#: Words after the run. ``report`` is no command: it is what a training writes last, and what a published page reads.
COMMANDS: dict[str, tuple[str, ...]] = {
    "generate": ("--count", "4"),
    "reconstruct": ("--count", "2"),
    "evaluate": ("--json",),
    "samples": ("--samples", "4", "--json"),
    "interpolate": ("attr:glasses=0", "attr:glasses=1", "--steps", "2", "--path", "spherical"),
    "arithmetic": ("attr:glasses=1 - attr:glasses=0",),
    "edit": ("IMAGE", "--add", "glasses"),
    "traverse": ("--steps", "2", "--count", "2"),
    "encode": ("--out", "codes.npz", "--json"),
    "neighbors": ("IMAGE", "--count", "2"),
    "map": (),
    "score": ("--split", "train", "--count", "2", "--false-alarms", "0.3"),
    "denoise": ("--noise-std", "0.2", "--count", "2"),
    "inpaint": ("--mask", "center:2x2", "--count", "1"),
    "fit-prior": ("--components", "1"),
    "doctor": (),
    "export": ("--out", "onnx"),
    "report": (),
    "train": (),
}
_OF_LATENTS = ("arithmetic", "edit", "traverse", "inpaint", "fit-prior", "score", "train")
READERS: dict[str, tuple[str, ...]] = {
    "config.json": tuple(name for name in COMMANDS if name != "export"),
    "weights.safetensors": tuple(name for name in COMMANDS if name not in ("export", "report")),
    "state.safetensors": ("train",),
    "latents.safetensors": _OF_LATENTS,
    "metrics.jsonl": ("generate", "doctor", "train", "report"),
    "doctor.json": ("report",),
    "directions.safetensors": ("edit",),
    "prior.safetensors": ("generate", "samples", "interpolate", "traverse"),
}


@dataclass(frozen=True)
class Fault:
    """A file of a run, and its replacement."""

    file: str
    what: str  #: the field and what was done to it
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Outcome:
    """The result of a command on a damaged run."""

    fault: Fault
    command: str
    code: int | None  #: None: it raised, or took too long
    seconds: float
    said: str  #: the last line on stderr, or of the traceback


def faults(run: Path, files: Sequence[str] = tuple(READERS), seed: int = 0) -> Iterator[Fault]:
    """Return all faults of some files of a run, in a fixed order; their content is created on demand."""
    for name in files:
        if (run / name).exists():
            for what, make in _faults_of(name, (run / name).read_bytes(), random.Random(f"{seed} {name}")):
                if what not in _SOUND:
                    yield Fault(name, what, make)


def _faults_of(name: str, data: bytes, rng: random.Random) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield from _bytes_changed(data, rng)
    if name.endswith(".json"):
        for what, value in _changed(json.loads(data)):
            yield what, partial(_json, value)
    elif name.endswith(".jsonl"):
        lines = data.splitlines()
        kinds = [json.loads(line)["kind"] for line in lines]
        for row in sorted({kinds.index(kind) for kind in kinds} | {len(lines) - 1}):
            for what, value in _changed(json.loads(lines[row])):
                changed = [*lines[:row], _json(value), *lines[row + 1 :], b""]
                yield f"line {row + 1} {what}", partial(b"\n".join, changed)
    else:
        yield from _tensors_changed(data)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _bytes_changed(data: bytes, rng: random.Random) -> Iterator[tuple[str, Callable[[], bytes]]]:
    whole = {"empty": b"", "null": b"null", "not text": b"\xff", "deep": b"[" * 100_000, "number": b"1" * 9999}
    whole |= {f"cut off at {end}": data[:end] for end in (1, 8, len(data) // 2, len(data) - 1)}
    whole |= {"random bytes": rng.randbytes(len(data)), "bytes at the end": data + rng.randbytes(9)}
    for what, changed in whole.items():
        yield what, partial(bytes, changed)
    for _ in range(24):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        yield f"bit {bit} of byte {at}", partial(_with_byte, data, at, data[at] ^ 1 << bit)
    for _ in range(8):
        at = rng.randrange(min(len(data), 400))
        yield f"byte {at} not text", partial(_with_byte, data, at, 0xFF)


def _with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def _changed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``value`` with one of its parts replaced, removed, or added."""
    for wrong in _WRONG:
        if type(wrong) is not type(value) or wrong != value:
            yield f"{path or 'all'} = {wrong!r:.20}", wrong
    if isinstance(value, dict):
        yield f"{path} + unknown", value | {"unknown": 1}
        for key in value:
            yield f"{path}.{key} deleted", {k: v for k, v in value.items() if k != key}
            for what, part in _changed(value[key], f"{path}.{key}"):
                yield what, value | {key: part}
    if isinstance(value, list):
        yield f"{path} twice", value + value
        for i in range(min(len(value), _MOST_ELEMENTS)):
            yield f"{path}[{i}] deleted", value[:i] + value[i + 1 :]
            for what, part in _changed(value[i], f"{path}[{i}]"):
                yield what, [*value[:i], part, *value[i + 1 :]]


def _tensors_changed(data: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    import torch
    from safetensors.torch import load, save

    size = struct.unpack("<Q", data[:8])[0]
    from vaekit.system import checksums as sums

    facts = sums.facts_in(json.loads(data[8 : 8 + size])["__metadata__"])
    tensors = load(data)

    def written(changed: dict[str, Any], said: Any = facts) -> bytes:
        whole = {name: tensor.contiguous() for name, tensor in changed.items()}
        return save(whole, None if said is None else {_METADATA: json.dumps(said)})

    yield "no facts", partial(written, tensors, None)
    yield "no tensors", partial(written, {})
    yield "unknown tensor", partial(written, tensors | {"unknown": torch.zeros(3)})
    for what, value in _changed(facts):
        yield f"facts{what}", partial(written, tensors, value)
    for name, tensor in tensors.items():
        yield f"{name} deleted", partial(written, {k: t for k, t in tensors.items() if k != name})
        for what, changed in _tensor_changed(tensor):
            yield f"{name} {what}", partial(written, tensors | {name: changed})


def _tensor_changed(tensor: Any) -> Iterator[tuple[str, Any]]:
    import torch

    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool, torch.uint8):
        if dtype != tensor.dtype:
            yield f"as {dtype}", tensor.to(dtype)
    yield "one more axis", tensor.unsqueeze(0)
    yield "flat", tensor.flatten()
    if tensor.ndim:
        yield "a row less", tensor[:-1]
        yield "no rows", tensor[:0]
        yield "twice", torch.cat([tensor, tensor])
    wrong = (NAN, float("inf"), 3e38, -3e38, 0.0, -1.0) if tensor.is_floating_point() else (-1, 10**6, 2**62)
    for value in wrong if tensor.numel() and tensor.dtype in (torch.float32, torch.float64, torch.int64) else ():
        one = tensor.clone()
        one.view(-1)[tensor.numel() // 2] = value
        yield f"has {value}", one
        yield f"all {value}", torch.full_like(tensor, value)


class TooSlow(BaseException):
    """A command that did not end in time."""


def square_picture(run: Path) -> Path:
    """Write a square part of a sheet of the run into it, as ``image.png``."""
    with Image.open(next((run / "pictures").glob("*-reconstructions.png"))) as sheet:
        sheet.crop((0, 0, sheet.height, sheet.height)).save(run / "image.png")
    return run / "image.png"


def trained(folder: Path, recipe: str = "vae", data: str = "portraits:60") -> Path:
    """Create a tiny finished run with all files that a run can have."""
    from vaekit.cli import main

    words = ["train", data, "--recipe", recipe, "--size", "8", "--images", "120", "--out", str(folder)]
    words += ["--set", "width=4", *(() if recipe in ("vq-vae", "fsq-vae") else ("--latent-dim", "4"))]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(words) == 0
    return folder


def command_of(name: str, run: Path, place: Path, image: Path) -> list[str]:
    """Return the arguments of one of :data:`COMMANDS`, with outputs in ``place``."""
    more = [str(image) if word == "IMAGE" else word for word in COMMANDS[name]]
    if name == "train":
        config = json.loads((image.parent / "config.json").read_text())  # that of the sound run
        row, data = config["recipe"], config["data"]
        words = ["train", data["source"], "--recipe", row["name"], "--size", "8", "--out", str(run)]
        words += ["--images", str(config["total_images"]), "--set", "width=4"]
        return words + ([] if row["latent"] == "codes" else ["--latent-dim", "4"])
    if name == "samples":
        return ["evaluate", str(run), *more]
    if name in ("encode", "export"):
        return [name, str(run), "--out", str(place / more[1])]
    out = () if name in ("evaluate", "fit-prior", "doctor", "report") else ("--out", str(place / "out.png"))
    return [name, str(run), *more, *out]


def attempt(fault: Fault, sound: Path, place: Path, commands: Sequence[str], limit: int = 20) -> Iterator[Outcome]:
    """Run the commands on a copy of the run ``sound`` with a fault; ``place`` is emptied."""
    for name in commands:
        shutil.rmtree(place, ignore_errors=True)
        folder = Path(shutil.copytree(sound, place / "run", ignore=shutil.ignore_patterns("explorer", "onnx")))
        (folder / fault.file).write_bytes(fault.make())
        if name == "train":
            (folder / "report.html").unlink()  # or it would say that all is done
        start = time.monotonic()
        code, said = run(command_of(name, folder, place, sound / "image.png"), limit)
        yield Outcome(fault, name, code, time.monotonic() - start, said)


def run(words: list[str], limit: int = 60) -> tuple[int | None, str]:
    """Return the exit code of a command in this process, and its last message; None if it raised or took too long."""
    from vaekit.cli import main
    from vaekit.errors import UserError
    from vaekit.runs import report

    def stop(*_: object) -> None:
        raise TooSlow

    out, before = io.StringIO(), signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(out):
            try:
                code = main(words) if words[0] != "report" else report.write(Path(words[1])) or 0
            except UserError as error:
                code = print(f"vaekit: {error}", file=sys.stderr) or 2
        lines = out.getvalue().splitlines()
        return code, next((line for line in reversed(lines) if line.startswith("vaekit")), "")
    except TooSlow:
        return None, f"took longer than {limit} seconds"
    except BaseException as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}vaekit{os.sep}" in frame.filename
        ]
        return None, f"{type(error).__name__}: {error} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
