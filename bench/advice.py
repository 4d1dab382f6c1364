"""Does the doctor's advice ever make held-out numbers worse? Ten small runs follow it for up to three rounds, by
running the command that the doctor prints.

    python bench/advice.py

Numbers are measured on the test part, which early stopping does not use: the bound in nats per image, or the squared
error of an autoencoder. A round is worse if it loses more than two standard errors. Rounds end when the doctor suggests
no further training. The result is the section ``advice`` of ``doctor.json``. The exit code is 1 if a round was worse.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doctor import DENSE, Case, few, forty, trained
from headline import Headline
from machine import RESULTS, write_json

import vaekit as vk
from vaekit.cli import main as vaekit
from vaekit.run import Run

__all__ = ["cases", "headlines"]

_ROUNDS = 3
_STANDARD_ERRORS = 2.0
_TRAINS = ("train", "resume", "fit-prior")


def _case(name: str, recipe: str = "vae", data: Any = None, source: str = "digits", **options: Any) -> Case:
    options["settings"] = DENSE | options.get("settings", {})
    return Case(name, "", recipe, data, options=options, source=source)


def cases() -> Iterator[Case]:
    """Ten runs with a known problem."""
    yield _case("begun", epochs=2)
    yield _case("too-short-ae", "ae", epochs=6)
    yield _case("too-short-portraits", source="portraits:1500", size=16, images=8_000)
    yield _case("beta-0", epochs=15, settings={"beta": 0, "prior": "standard-normal"})
    yield _case("beta-1000", epochs=10, settings={"beta": 1000})
    yield _case("scale-1", epochs=10, settings={"scale": "fixed", "fixed_scale": 1})
    yield _case("latent-1", epochs=20, latent_dim=1)
    yield _case("sixty-images", data=few, images=20_000)
    yield _case("forty-images-ae", "ae", data=forty, images=4_000)
    yield _case("condition-ignored", "conditional-vae", epochs=20, settings={"prior": "fitted-normal"})


def followed(case: Case, folder: Path) -> dict[str, Any]:
    """Follow the advice for three rounds; returns a row for each state of the run."""
    run, rows = vk.load(trained(case, case.source or "", folder)), []
    for number in range(_ROUNDS + 1):
        found, began = run.doctor(), time.monotonic()
        command = found["next_command"]
        shown = command.replace(f"{Path.cwd()}{os.sep}", "")  # results must not contain paths of this machine
        rows.append({"verdict": found["verdict"], "advice": found["advice"], "command": shown, **_numbers(run)})
        _say(case, rows)
        if number == _ROUNDS or found["remedy"] not in _TRAINS:
            break
        words = shlex.split(command)
        assert words.pop(0) == "vaekit" and vaekit(words) == 0, command
        run = vk.load(words[words.index("--out") + 1] if "--out" in words else run.path)
        rows[-1]["seconds"] = round(time.monotonic() - began, 1)
    return {"case": case.name, "recipe": case.recipe, "rounds": rows, "worse": _worse(rows)}


def _numbers(run: Run) -> dict[str, Any]:
    """Return the bound or the squared error on the test images, and its standard error."""
    name = "final_elbo_nats" if run.final_numbers()["final_elbo_nats"] is not None else "final_sse_per_image"
    numbers = run.final_numbers()
    return {"number": name.removeprefix("final_"), "value": numbers[name], "error": numbers[f"{name}_error"]}


def _worse(rows: list[dict[str, Any]]) -> list[int]:
    """Return the rounds that lost more than two standard errors."""
    found = []
    for number, (before, after) in enumerate(zip(rows, rows[1:], strict=False), 1):
        sign = 1 if after["number"] == "elbo_nats" else -1
        if sign * (after["value"] - before["value"]) < -_STANDARD_ERRORS * after["error"]:
            found.append(number)
    return found


def _say(case: Case, rows: list[dict[str, Any]]) -> None:
    row = rows[-1]
    print(f"{case.name:20} {row['verdict']:18} {row['number']} {row['value']:9.2f}  {row['command']}", flush=True)


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the number of rounds, and of those that made a number worse."""
    cases = result["advice"]
    rounds = sum("seconds" in row for case in cases for row in case["rounds"])
    worse = sum(bool(case["worse"]) for case in cases)
    yield Headline(
        "Advice of `vaekit doctor`, followed to the letter on small runs with known problems",
        f"{len(cases)} cases, {rounds} new runs; a held-out number got worse by more than two standard errors "
        f"in {worse} of the cases",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/bench/advice"), help="where the runs are kept")
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    found = [followed(case, work) for case in cases()]
    path = RESULTS / "doctor.json"
    stored = json.loads(path.read_text())
    write_json(path, {k: v for k, v in stored.items() if k != "machine"} | {"advice": found}, headlines)
    return int(any(case["worse"] for case in found))


if __name__ == "__main__":
    sys.exit(main())
