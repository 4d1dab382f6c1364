"""Distributed training: equal gradients, resuming with another number of processes, and an end if one dies."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flow_field import field_trainer
from forked import Forked
from torch import Tensor
from trainers import in_double, small_trainer

import vaekit as vk
from vaekit.config.run_config import Engine
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.runs import folder as runs
from vaekit.system.distributed import ALONE, Team, join
from vaekit.system.files import load_tensors
from vaekit.training.trainer import Trainer

#: recipe → what it trains with; micro-batches make pieces of which the processes have different numbers. A field has no
#: recipe.
TRAININGS: dict[str, dict[str, Any]] = {
    "vae": {},
    "vae in pieces": {"engine": Engine(micro_batch=2)},
    "vae in pieces of one": {"engine": Engine(micro_batch=1), "batch_size": 3},
    "denoising-ae": {},
    "denoising-ae augmented": {"flip": True, "shift": 2, "jitter": 0.3},
    "vq-vae": {},
    "conditional-vae": {},
    "rae-l2": {},
    "flow-vae": {},
    "iaf-vae": {},
    "iaf-vae in pieces": {"engine": Engine(micro_batch=2)},
    "ladder-vae": {},
    "field": {},
}


def trained(training: str, team: Team = ALONE) -> dict[str, Tensor]:
    """Return the state after batches of 5, 1 and 5 images: shares are uneven, and some are empty for the second.

    The moments are weighted sums of the gradients and of their squares.
    """
    trainer = _trainer(training, team)
    for _ in range(3):
        trainer.step()
    return {name: t.contiguous() for name, t in trainer.state()[0].items()}


def _trainer(training: str, team: Team) -> Trainer[Any]:
    if training == "field":
        return field_trainer(team=team, dtype=torch.float64)
    pixels = torch.from_numpy(draw(6, 16)).movedim(-1, 1).contiguous()
    recipe = training.partition(" ")[0]
    return in_double(small_trainer(recipe, pixels, 10, team=team, **{"batch_size": 5, **TRAININGS[training]}))


STATES = """
import sys
from safetensors.torch import save_file
from test_distributed import trained
from vaekit.system.distributed import join

folder, *trainings = sys.argv[1:]
team = join()
for training in trainings:
    save_file(trained(training, team), f"{folder}/{training}-{team.rank}.safetensors")
"""
CLI = "import sys; from vaekit.cli import main; sys.exit(main(sys.argv[1:]))"


def start(program: str, *words: object, size: int) -> list[Forked]:
    """Start a process per rank, with the environment variables of torchrun."""
    return [Forked(program, *words, env=environment) for environment in _environments(size)]


def start_afresh(program: str, *words: object, size: int) -> list[subprocess.Popen[str]]:
    """Start new interpreters, which import torch as for users."""
    command = [sys.executable, "-c", program, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return [subprocess.Popen(command, env=each, text=True, **pipes) for each in _environments(size)]


def _environments(size: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    common["PYTHONPATH"] = os.pathsep.join([str(Path(vk.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def ends(processes: Sequence[Forked]) -> list[tuple[int | None, str, str]]:
    """Return exit code, stdout and stderr of each."""
    said = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def test_shares_are_contiguous_and_whole() -> None:
    batch = torch.arange(7)
    assert torch.cat([Team(rank, 3).share(batch) for rank in range(3)]).tolist() == batch.tolist()
    assert ALONE.share(batch) is not None and ALONE.leads and not Team(1, 2).leads


@pytest.mark.parametrize(("size", "trainings"), [(2, list(TRAININGS)), (3, ["vae", "flow-vae", "iaf-vae"])])
def test_gradients_and_moments_are_those_of_one_process(size: int, trainings: list[str], tmp_path: Path) -> None:
    done = ends(start(STATES, tmp_path, *trainings, size=size))
    assert [code for code, *_ in done] == [0] * size, done
    for training in trainings:
        alone = trained(training)
        for rank in range(size):
            together = load_tensors(tmp_path / f"{training}-{rank}.safetensors")[0]
            assert together.keys() == alone.keys()
            for key, value in alone.items():
                name = f"{training}, process {rank}, {key}"
                torch.testing.assert_close(
                    together[key], value, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}"
                )


def test_a_run_goes_on_in_other_company(tmp_path: Path) -> None:
    # An extension leaves schedule and warmup as they are.
    settings = "--set width=8 --set schedule=constant --set kl_warmup=0 --batch-size 128 --learning-rate 1e-4"
    train = f"train digits --recipe vae --device cpu --json {settings}".split()
    for epochs, size in ((1, 2), (2, 1), (3, 3)):
        done = ends(start(CLI, *train, "--epochs", epochs, "--out", tmp_path / "run", size=size))
        assert [code for code, *_ in done] == [0] * size, done
        printed = [out for _, out, _ in done]
        assert json.loads(printed[0])["run"] and printed[1:] == [""] * (size - 1)
    assert ends(start(CLI, *train, "--epochs", 3, "--out", tmp_path / "alone", size=1))[0][0] == 0
    state = runs.load_state(tmp_path / "run", print)
    assert state is not None and state[1]["images"] == 3 * 1425
    shown = [_final(tmp_path / name) for name in ("run", "alone")]
    assert shown[0]["final_psnr_db"] == pytest.approx(shown[1]["final_psnr_db"], abs=0.2)

    each = tmp_path / "each.csv"
    evaluated = ends(start(CLI, "evaluate", tmp_path / "run", "--iwae", 5, "--per-image", each, "--json", size=3))
    numbers = json.loads(evaluated[0][1])
    encoded = ends(start(CLI, "encode", tmp_path / "run", "--out", tmp_path / "codes.npz", size=3))
    assert [code for code, *_ in encoded] == [0, 0, 0]
    differ = ends(start(DIFFERENT, "evaluate", tmp_path / "run", "--split val", "--split test", size=2))
    assert [code for code, *_ in differ] == [2, 2]
    assert all("process 1 has --split test, process 0 has val" in said for *_, said in differ)
    latents = torch.from_numpy(np.load(tmp_path / "codes.npz")["latents"])
    torch.testing.assert_close(latents, vk.load(tmp_path / "run").encode(vk.load(tmp_path / "run").images()))
    assert numbers["elbo_nats"] == pytest.approx(shown[0]["final_elbo_nats"], rel=1e-6)
    for name, value in vk.load(tmp_path / "run").evaluate(iwae_samples=5, per_image=tmp_path / "alone.csv").items():
        is_text = value is None or isinstance(value, str)
        assert numbers[name] == (value if is_text else pytest.approx(value, rel=1e-6)), name
    shared, alone = (list(csv.DictReader(path.open())) for path in (each, tmp_path / "alone.csv"))
    assert [row["name"] for row in shared] == [row["name"] for row in alone] and len(alone) == 186
    for name in ("sse", "elbo_nats", "iwae_nats"):
        assert [float(row[name]) for row in shared] == pytest.approx([float(row[name]) for row in alone], rel=1e-6)


def test_patience_ends_all_processes_after_the_same_epoch(tmp_path: Path) -> None:
    """180 validation images are two chunks: the third process evaluates none of them."""
    settings = "--set hidden=16 --set schedule=constant --batch-size 128 --learning-rate 0.05 --patience 1 --epochs 40"
    train = f"train digits --recipe seed-ae --device cpu {settings} --out".split()
    done = ends(start(CLI, *train, tmp_path / "run", size=3))
    assert [code for code, *_ in done] == [0, 0, 0], done
    assert "stopped early" in done[0][2]


def _final(run: Path) -> dict[str, float]:
    final: dict[str, float] = runs.read_metrics(run)[-1]
    return final


def test_when_one_dies_the_others_stop_and_say_so(tmp_path: Path) -> None:
    words = ("train", "digits", "--recipe", "ae", "--epochs", 10_000, "--device", "cpu", "--out", tmp_path / "run")
    leader, other = start(CLI, *words, size=2)
    _wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and len(runs.read_metrics(tmp_path / "run")) > 3)
    other.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, said = leader.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert leader.returncode == 2 and "another process of this training has ended" in said
    assert "Traceback" not in said
    other.communicate(timeout=60)


def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path: Path) -> None:
    words = ("train", "digits", "--recipe", "ae", "--epochs", 10_000, "--device", "cpu", "--out", tmp_path / "run")
    leader, other = start(CLI, *words, size=2)
    _wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and len(runs.read_metrics(tmp_path / "run")) > 3)
    other.send_signal(signal.SIGTERM)
    assert [code for code, *_ in ends([leader, other])] == [143, 143]
    assert runs.load_state(tmp_path / "run", print) is not None


DIFFERENT = """
import os, sys
from vaekit.cli import main
*words, first, second = sys.argv[1:]
sys.exit(main([*words, *(first, second)[int(os.environ["RANK"])].split()]))
"""


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--seed 0", "--seed 1"), "seed 1, process 0 has 0"),
        (("--batch-size auto", "--batch-size 64"), "--batch-size 64, process 0 has auto"),
    ],
)
def test_processes_that_were_started_differently_are_refused_by_name(
    flags: tuple[str, str], what: str, tmp_path: Path
) -> None:
    words = ("train", "digits", "--recipe", "ae", "--epochs", 1, "--device", "cpu", "--out", tmp_path / "run")
    for code, _, said in ends(start(DIFFERENT, *words, *flags, size=2)):
        assert code == 2
        assert said == (
            f"vaekit: process 1 has {what}; start all processes with the same command and the same images\n"
        )
    assert not (tmp_path / "run").exists()


IMPATIENT = """
import sys, vaekit.cli
run = vaekit.cli._run

def impatient(tokens):
    import vaekit.system.heartbeat, vaekit.system.distributed  # and torch, which the program has made ready for by now
    vaekit.system.heartbeat.SILENCE_SECONDS = vaekit.system.distributed.SILENCE_SECONDS = 8
    return run(tokens)

vaekit.cli._run = impatient
sys.exit(vaekit.cli.main(sys.argv[1:]))
"""


def test_a_stopped_process_is_noticed_and_named(tmp_path: Path) -> None:
    words = ("train", "digits", "--recipe", "ae", "--epochs", 10_000, "--device", "cpu", "--out", tmp_path / "run")
    leader, other = start_afresh(IMPATIENT, *words, size=2)
    _wait_for(lambda: runs.has_state(tmp_path / "run"))
    other.send_signal(signal.SIGSTOP)
    _, said = leader.communicate(timeout=60)
    assert leader.returncode == 2 and "process 1 of this training has been silent for 8 s" in said
    other.send_signal(signal.SIGCONT)
    said = other.communicate(timeout=60)[1]
    is_named = (
        "another process of this training has ended" in said or "process 0 of this training has been silent" in said
    )
    assert is_named and "frame #" not in said


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "abc"), ("RANK", "two"), ("RANK", "2")])
def test_an_environment_that_is_no_team(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for each in {"WORLD_SIZE": "2", "RANK": "0", name: value}.items():
        monkeypatch.setenv(*each)
    with pytest.raises(UserError, match=rf"{name} is '?{value}"):
        join()


LONELY = """
import sys, vaekit.system.distributed as distributed
distributed._SECONDS_BEFORE_A_NOTE = 0.1
from vaekit.cli import main
sys.exit(main(["train", "digits", "--recipe", "ae", "--device", "cpu", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_whose_partner_never_comes_ends_by_a_signal(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    common = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    command = [sys.executable, "-c", LONELY, str(tmp_path / "run")]
    with subprocess.Popen(command, env=os.environ | common, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first == "vaekit: process 0 of 2 is waiting for the others, which torchrun starts\n"
        process.send_signal(number)
        assert process.wait(60) == code
        rest = process.stderr.read()
    assert rest.startswith("vaekit: stopped") and rest.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", ["abc", "", "0", "-1", "2.5", "²"])
def test_a_world_size_that_is_no_number_is_one_sentence(
    size: str, vaekit: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    answer = vaekit("train", "digits", "--epochs", 1, "--out", tmp_path / "run")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert answer.err.startswith(f"vaekit: WORLD_SIZE is {size!r}; expected a whole number of at least 1")
    assert not (tmp_path / "run").exists()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_couples_a_batch_is_refused_by_name(tmp_path: Path) -> None:
    words = ("train", "portraits:40", "--recipe", "seed-vae", "--size", 16, "--epochs", 1, "--out", tmp_path / "run")
    for code, _, said in ends(start(CLI, *words, size=2)):
        assert code == 2
        assert "recipe 'seed-vae' normalizes over the batch" in said or "another process" in said
    assert not (tmp_path / "run").exists()


def test_a_prior_is_fitted_by_two_processes_as_by_one(tmp_path: Path) -> None:
    settings = {"width": 8, "downsampling": 8}
    one = vk.train("portraits:40", "grid-vae", tmp_path / "one", size=16, images=64, settings=settings, quiet=True)
    two = Path(shutil.copytree(tmp_path / "one", tmp_path / "two"))
    one.fit_prior(images=96, width=8, depth=1, batch_size=32, quiet=True)
    given = ("fit-prior", two, "--images", 96, "--width", 8, "--depth", 1, "--batch-size", 32, "--json")
    (code, told, _), (other, silent, _) = ends(start(CLI, *given, size=2))
    assert (code, other, silent) == (0, 0, "") and json.loads(told)["trained_on"] == 96
    mine, theirs = (load_tensors(run / "prior" / "weights.safetensors")[0] for run in (tmp_path / "one", two))
    for name, tensor in mine.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4)
    for command in (("--kind", "none"), ("--budget", "4s", "--width", 8, "--depth", 1), ("--budget", "4s")):
        assert [code for code, *_ in ends(start(CLI, "fit-prior", two, *command, size=2))] == [0, 0], command
