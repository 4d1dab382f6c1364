"""A training that is killed at any moment and repeated ends with the same bytes as an uninterrupted one."""

from __future__ import annotations

import builtins
import errno
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vaekit import api
from vaekit.errors import endings
from vaekit.runs import folder as runs
from vaekit.system import files
from vaekit.system.files import load_tensors
from vaekit.system.locks import LOCK, only_writer
from vaekit.training import loop as training
from vaekit.training import steps
from vaekit.training.resuming import lacking

#: The module; its name in the package is that of a function.
PAGE = importlib.import_module("vaekit.runs.report.page")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kills need fork")

#: recipe → what it trains on and with; all of it takes a fraction of a second
TRAININGS: dict[str, dict[str, Any]] = {
    "vae": {"data": "digits", "epochs": 3, "batch_size": 128, "settings": {"width": "8"}},
    "seed-ae": {"data": "digits", "epochs": 3},
    "seed-vae": {"data": "portraits:40", "epochs": 3, "size": 16},
}


def _train(recipe: str, out: Path, **more: Any) -> None:
    arguments = TRAININGS[recipe] | more
    api.train(arguments.pop("data"), recipe, out, quiet=True, **arguments)


def _child(work: Callable[[], None]) -> int:
    """Start ``work`` in a forked child, so that torch is imported once; its exit code is 0 on success."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:  # noqa: B902  (nothing of the test runner may go on in here)
        print(f"child: {error!r}", file=sys.stderr)
    os._exit(1)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _bytes(run: Path) -> dict[str, bytes]:
    """Return the files that must not differ: all except those that contain the speed."""
    exact = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".png", ".json")}
    return {str(p.relative_to(run)): data for p, data in exact.items() if p.name != "state-previous.safetensors"}


def _assert_same(run: Path, whole: Path) -> None:
    mine, theirs = _bytes(run), _bytes(whole)
    assert mine["weights.safetensors"] == theirs["weights.safetensors"]
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert {p.name for p in run.iterdir()} - {"state-previous.safetensors"} == {p.name for p in whole.iterdir()} - {
        "state-previous.safetensors"
    }
    _assert_metrics_in_order(run, whole)


def _assert_metrics_in_order(run: Path, whole: Path) -> None:
    """Check that every line occurs once, in order; after a kill, the numbers of a line may cover only a part."""
    assert [_place(line) for line in _lines(run)] == [_place(line) for line in _lines(whole)]


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def _place(line: dict[str, Any]) -> tuple[Any, ...]:
    exact = {key: value for key, value in line.items() if line["kind"] != "train"}
    return line["images"], line["kind"], line.get("learning_rate"), line.get("rate_weight"), exact


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each training without interruption."""
    folders = {recipe: tmp_path_factory.mktemp("whole") / recipe for recipe in TRAININGS}
    for recipe, folder in folders.items():
        _train(recipe, folder)
    return folders


# Exits at every write, fsync and rename


class Injector:
    """Counts disk operations of a run, and ends the process at a chosen one, half done."""

    def __init__(self, exit_at: int | None = None) -> None:
        self.moments: list[str] = []
        self._exit_at = exit_at

    def _is_now(self, what: str) -> bool:
        self.moments.append(what)
        return len(self.moments) - 1 == self._exit_at

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        for module in (files, runs):
            patch(module, "open", self._open)
        patch(files, "save_file", self._save_file)
        patch(runs.os, "fsync", self._wrap("fsync", os.fsync))
        patch(runs.os, "replace", self._wrap("rename", os.replace))
        # A clock that leaps makes every step a step that saves.
        leaps = iter(range(0, 10**9, 1000))
        patch(steps, "time", SimpleNamespace(monotonic=lambda: float(next(leaps))))
        # What these draw takes long and does not matter here.
        patch(PAGE, "_curves", lambda facts: "")

    def _wrap(self, what: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self._is_now(f"{what} {arguments[0]}"):
                os._exit(77)
            real(*arguments)

        return call

    def _open(self, path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = builtins.open(path, mode, *arguments, **named)  # noqa: SIM115
        if mode not in ("wb", "a", "w"):
            return file
        return _Half(file, lambda: self._is_now(f"write {path}"))

    def _save_file(self, tensors: Any, path: Path, metadata: Any) -> None:
        _real_save_file(tensors, path, metadata)
        if self._is_now(f"write {path}"):  # the writer's own temporary file is what a kill leaves
            os.truncate(path, path.stat().st_size // 2)
            path.rename(path.with_name(".tmpAb12Cd"))
            os._exit(77)


class _Half:
    """A file that has received half of a write when the process ends."""

    def __init__(self, file: Any, is_now: Callable[[], bool]) -> None:
        self._file, self._is_now = file, is_now

    def __enter__(self) -> _Half:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> None:
        if self._is_now():
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            os._exit(77)
        self._file.write(data)


_real_save_file = files.save_file


@pytest.fixture(scope="module")
def eight_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "noise.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8))
    return path


def _train_eight(source: Path, out: Path) -> None:
    values = {"hidden": "16", "ema_power": "4", "schedule": "cosine"}  # an average and a schedule, as in vae
    api.train(str(source), "seed-ae", out, epochs=1, batch_size=4, quiet=True, settings=values)


def _setattr(where: Any, name: str, value: Any) -> None:
    setattr(where, name, value)


def test_an_exit_at_every_write_fsync_and_rename(
    eight_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patch(where: Any, name: str, value: Any) -> None:
        monkeypatch.setattr(where, name, value, raising=False)

    dry = Injector()
    with monkeypatch.context():
        dry.install(patch)
        _train_eight(eight_images, tmp_path / "whole")
        monkeypatch.undo()
    kinds = {kind: sum(m.startswith(kind) for m in dry.moments) for kind in ("write", "fsync", "rename")}
    assert min(kinds.values()) >= 12, kinds

    def killed(moment: int, out: Path) -> None:
        Injector(moment).install(_setattr)
        _train_eight(eight_images, out)

    for moment, what in enumerate(dry.moments):
        out = tmp_path / f"killed-{moment}"
        assert _wait(_child(lambda moment=moment, out=out: killed(moment, out))) == 77, what
        assert _wait(_child(lambda out=out: killed(-1, out))) == 0, what
        _assert_same(out, tmp_path / "whole")


def test_two_exits_around_an_extension(eight_images: Path, tmp_path: Path) -> None:
    """The new length is stored, but the final weights are not: the old report must not make the run look finished."""

    def longer(out: Path, exit_before: str | None) -> None:
        if exit_before:
            _exit_before(exit_before)
        api.train(str(eight_images), "seed-ae", out, epochs=4, batch_size=4, quiet=True, settings={"hidden": "16"})

    whole, out = tmp_path / "whole", tmp_path / "killed"
    longer(whole, None)
    api.train(str(eight_images), "seed-ae", out, epochs=2, batch_size=4, quiet=True, settings={"hidden": "16"})
    for exit_before in ("pictures", "weights.safetensors"):
        assert _wait(_child(lambda name=exit_before: longer(out, name))) == 77
    longer(out, None)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert [line["kind"] for line in _lines(out)].count("final") == 1


def test_an_extension_takes_the_old_encodings_away_first(eight_images: Path, tmp_path: Path) -> None:
    def train(epochs: int) -> None:
        api.train(str(eight_images), "seed-ae", tmp_path / "run", epochs=epochs, quiet=True)

    train(2)
    assert _wait(_child(lambda: (_exit_before("pictures"), train(4)))) == 77
    assert not (tmp_path / "run" / "latents.safetensors").exists()


def test_a_value_that_an_old_run_does_not_name_is_its_default(eight_images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    api.train(str(eight_images), "seed-ae", run, epochs=2, quiet=True)
    stored = json.loads((run / "config.json").read_text())
    del stored["recipe"]["free_bits_nats"]
    (run / "config.json").write_text(json.dumps(stored))
    api.train(str(eight_images), "seed-ae", run, epochs=3, quiet=True)
    assert runs.read_config(run).total_images == 24


def _exit_before(name: str) -> None:
    def replace(source: Any, target: Any, real: Callable[..., None] = os.replace) -> None:
        if name in str(target) and "0003" not in str(target):
            os._exit(77) if _is_trained(target) else None
        real(source, target)

    runs.os.replace = replace  # type: ignore[assignment]


def _is_trained(target: Any) -> bool:
    """Whether the state beside ``target`` is beyond the first length (always for pictures)."""
    if "pictures" in str(target):
        return True
    return load_tensors(Path(target).with_name("state.safetensors"))[1]["images"] == 32


def test_a_kill_before_the_first_state_keeps_the_initial_weights(eight_images: Path, tmp_path: Path) -> None:
    def train(out: Path, dies: bool = False) -> None:
        if dies:
            training._run = lambda *_: os._exit(77)  # type: ignore[assignment]
        api.train(
            str(eight_images), "seed-ae", out, epochs=1, quiet=True, init=tmp_path / "first", settings={"hidden": "16"}
        )

    api.train(str(eight_images), "seed-ae", tmp_path / "first", epochs=1, quiet=True, settings={"hidden": "16"})
    train(tmp_path / "whole")
    assert _wait(_child(lambda: train(tmp_path / "killed", dies=True))) == 77
    train(tmp_path / "killed")
    _assert_same(tmp_path / "killed", tmp_path / "whole")


# Kills at random moments


@pytest.mark.parametrize("recipe", TRAININGS)
def test_kills_at_random_moments(whole: dict[str, Path], tmp_path: Path, recipe: str) -> None:
    """Children are killed after increasing times until one finishes; there are at least three kills."""
    moments, kills, delay = random.Random(recipe), 0, 0.02
    out = tmp_path / "killed"
    saves = {"SAVE_EVERY_SECONDS": 0.05}

    def work() -> None:
        for name, value in saves.items():
            setattr(steps, name, value)
        _train(recipe, out)

    while True:
        pid = _child(work)
        time.sleep(moments.uniform(0.2, 1.0) * delay)
        os.kill(pid, signal.SIGKILL)
        if _wait(pid) == 0:
            break
        kills, delay = kills + 1, delay * 1.5
        assert kills < 40
    assert kills >= 3
    _assert_same(out, whole[recipe])


# Signals


def _command(out: Path, epochs: int) -> list[str]:
    words = f"train digits --recipe seed-ae --epochs {epochs} --threads 1 --device cpu --out".split()
    return [sys.executable, "-m", "vaekit", *words, str(out)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def twelve_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "twelve-epochs"
    _train("seed-ae", folder, epochs=12)
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, twelve_epochs: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "stopped"
    with subprocess.Popen(_command(out, 12), stderr=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert " %" in first
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == code
    assert said.splitlines()[-1] == (
        f"vaekit: stopped by {number.name}; the state is saved in {out}, start the same training again to resume"
    )
    seen = runs.load_state(out, print)
    assert seen is not None and 0 < seen[1]["images"] < 12 * 1611
    measured = subprocess.run(
        [sys.executable, "-m", "vaekit", "evaluate", out], capture_output=True, text=True, check=True
    )
    assert (
        measured.stderr
        == f"vaekit: {out} is not finished, its weights have seen {seen[1]['images']:,} of {12 * 1611:,} images\n"
    )
    _train("seed-ae", out, epochs=12)
    _assert_same(out, twelve_epochs)


@pytest.mark.parametrize(("number", "code", "who"), [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, " by SIGTERM")])
@pytest.mark.parametrize("moment", ["vaekit.api.open_in", "vaekit.training.resuming.save_pictures"])
def test_a_signal_before_there_is_anything_to_save(
    tmp_path: Path,
    vaekit: Callable,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    number: signal.Signals,
    code: int,
    who: str,
) -> None:
    """A signal while images are read, or the first pictures are drawn: the command ends and leaves nothing behind."""

    def slow(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr(moment, slow)
    handler = signal.getsignal(signal.SIGTERM)
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--out", tmp_path / "new" / "run")
    assert answer == (code, "", f"vaekit: stopped{who}; no half-written files remain\n")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_closed_terminal_finds_an_early_state_and_a_newer_one_is_saved(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(_command(out, 100_000), stderr=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stderr is not None
        assert " %" in process.stderr.readline()
        begun = time.monotonic()
        while not runs.has_state(out):
            assert time.monotonic() - begun < 30  # of a machine that is busy with other tests
            time.sleep(0.1)
        early = runs.load_state(out, print)
        process.send_signal(signal.SIGHUP)
        said = process.stderr.read()
    assert process.returncode == 129
    assert said.splitlines()[-1].startswith("vaekit: stopped by SIGHUP; the state is saved in")
    newest = runs.load_state(out, print)
    assert early is not None and newest is not None and 0 < early[1]["images"] < newest[1]["images"]


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert endings() == [signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert endings() == [signal.SIGTERM, signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("stderr", ["2> >(head -c 10 >/dev/null)", "2>/dev/full", "2>&-"])
def test_progress_that_cannot_be_written_ends_no_training(tmp_path: Path, stderr: str) -> None:
    """A closed pipe, a full disk, and no stream at all."""
    command = ["bash", "-c", f'"$@" --json {stderr}', "bash", *_command(tmp_path / "run", 2)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment(), timeout=120)
    assert done.returncode == 0
    assert (tmp_path / "run" / "report.html").exists()
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")


def test_nothing_prints_to_stderr_but_notes() -> None:
    source = Path(runs.__file__).parents[1]
    printing = {p.name for p in source.rglob("*.py") if re.search(r"sys\.stderr|Console\(stderr", p.read_text())}
    # The command line gives it to notes; a team writes out what is left before it ends a process.
    assert printing == {"notes.py", "__init__.py", "distributed.py"}


@pytest.mark.parametrize(("stdout", "code"), [(">/dev/full", 2), (">&-", 0), ("| head -c 0", 0)])
def test_a_result_that_cannot_be_printed(stdout: str, code: int) -> None:
    command = f'set -o pipefail; "{sys.executable}" -m vaekit recipes --json {stdout}'
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, env=_environment(), timeout=120)
    assert done.returncode == code, done.stderr
    assert ("No space left" in done.stderr) == (code == 2) and "Traceback" not in done.stderr


# Longer, and again


def test_extended_equals_at_once(whole: dict[str, Path], tmp_path: Path) -> None:
    _train("seed-ae", tmp_path / "run", epochs=1)
    _train("seed-ae", tmp_path / "run", epochs=3)
    _assert_same(tmp_path / "run", whole["seed-ae"])


def test_an_extension_of_a_schedule_goes_on(tmp_path: Path) -> None:
    _train("vae", tmp_path / "run", epochs=1)
    before = [line for line in _lines(tmp_path / "run") if line["kind"] != "final"]
    _train("vae", tmp_path / "run", epochs=2)
    lines = _lines(tmp_path / "run")
    assert lines[: len(before)] == before
    assert lines[-1]["kind"] == "final" and lines[-1]["images"] == 2 * 1425
    assert [line["images"] for line in lines] == sorted(line["images"] for line in lines)


@pytest.mark.parametrize("recipe", TRAININGS)
def test_a_finished_run_is_left_as_it_is(whole: dict[str, Path], recipe: str) -> None:
    times = {p: p.stat().st_mtime_ns for p in whole[recipe].rglob("*")}
    _train(recipe, whole[recipe])
    assert {p: p.stat().st_mtime_ns for p in whole[recipe].rglob("*")} == times


def test_a_finished_run_says_so(whole: dict[str, Path], vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 3, "--out", whole["seed-ae"])
    assert (answer.code, answer.out) == (0, "")
    assert (
        answer.err == f"{whole['seed-ae']} is finished (4,833 images, 3 epochs); give more --epochs to train longer\n"
    )


@pytest.mark.parametrize("recipe", TRAININGS)
def test_metrics_are_in_order_and_say_their_unit(whole: dict[str, Path], recipe: str) -> None:
    lines = _lines(whole[recipe])
    images = [line["images"] for line in lines]
    assert images == sorted(images) and images[0] == 0
    places = [(line["images"], line["kind"]) for line in lines]
    assert len(set(places)) == len(places)
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [1, 2, 3]
    assert [line["kind"] for line in lines].count("final") == 1 and lines[-1]["kind"] == "final"
    trained = next(line for line in lines if line["kind"] == "train")
    assert {"distortion_nats", "rate_nats", "elbo_nats", "learning_rate", "images_per_second"} <= trained.keys()


def test_files_of_a_run_may_be_read_as_the_umask_says(whole: dict[str, Path]) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert {p.stat().st_mode & 0o777 for p in whole["vae"].rglob("*") if p.is_file()} == {0o666 & ~mask}


def test_a_torn_last_line_of_metrics_is_dropped(whole: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"images": 0, "kind": "start"}\n{"images": 32, "ki')
    assert runs.read_metrics(tmp_path) == [{"images": 0, "kind": "start"}]
    runs.trim_metrics(tmp_path, 10)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"images": 0, "kind": "start"}\n'


def test_equal_trainings_are_equal_bytes(whole: dict[str, Path], tmp_path: Path) -> None:
    _train("vae", tmp_path / "again")
    _assert_same(tmp_path / "again", whole["vae"])


# ---------------------------------------------------------------------------------------------------------------------
# Damage and company


def test_a_damaged_newest_state_gives_way_to_the_one_before(
    whole: dict[str, Path], tmp_path: Path, vaekit: Callable
) -> None:
    run = tmp_path / "run"
    _train("seed-ae", run, epochs=1)
    _train("seed-ae", run, epochs=2)
    newest = run / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 3, "--out", run)
    assert answer.code == 0
    assert f"{newest} is damaged; the previous state is used" in answer.err
    assert "resuming from image 1,611" in answer.err
    assert (run / "weights.safetensors").read_bytes() == (whole["seed-ae"] / "weights.safetensors").read_bytes()


def test_two_damaged_states_are_said_and_kept(tmp_path: Path, vaekit: Callable) -> None:
    _train("seed-ae", tmp_path / "run", epochs=1)
    _train("seed-ae", tmp_path / "run", epochs=2)
    for state in (tmp_path / "run").glob("state*.safetensors"):
        state.write_bytes(b"")
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 3, "--out", tmp_path / "run")
    assert answer.code == 2 and "no state in" in answer.err
    assert len(list((tmp_path / "run").glob("state*.safetensors"))) == 2


def test_a_second_process_is_refused_and_harms_nothing(tmp_path: Path, vaekit: Callable) -> None:
    run = tmp_path / "run"
    _train("seed-ae", run, epochs=1)
    before = _bytes(run)
    held, holding = os.pipe()

    def hold() -> None:
        with only_writer(run, print):
            os.write(holding, b"x")
            time.sleep(60)

    child = _child(hold)
    os.read(held, 1)
    try:
        answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 2, "--out", run)
        assert answer.code == 2 and f"is being written by process {child}; wait" in answer.err
        assert _bytes(run) == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    _train("seed-ae", run, epochs=2)  # a killed owner leaves the file, not the lock
    assert not (run / LOCK).exists()


def test_a_disk_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    said: list[str] = []
    monkeypatch.setattr("vaekit.system.locks._lock", refuse)
    with only_writer(tmp_path, said.append):
        pass
    assert "does not support locks" in said[0] and list(tmp_path.iterdir()) == []


def test_a_run_that_lost_its_result_is_told_how_to_get_it(vaekit: Callable, digits_vae: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_vae, run := tmp_path / "run")
    assert lacking(run, is_over=True) == ()
    lines = [line for line in runs.read_metrics(run) if line["kind"] != "final"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert lacking(run, is_over=True) == ("metrics.jsonl",)  # so the same command measures it again
    answer = vaekit("generate", run, "--out", tmp_path / "new.png")
    assert "its weights are final but were not measured; run the train command" in answer.err


def test_lost_metrics_have_one_remedy(vaekit: Callable, tmp_path: Path) -> None:
    _train("seed-ae", run := tmp_path / "run", epochs=1)
    (run / "metrics.jsonl").unlink()
    answer = vaekit("doctor", run)
    assert answer.code == 2 and answer.err == (
        f"vaekit: {run} is not finished, its weights are final, but its metrics.jsonl is missing or incomplete\n"
        f"vaekit: {run / 'metrics.jsonl'} is missing, and the doctor needs it to judge the course of the training; "
        "restore the file from a copy, or train again with another --out\n"
    )
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--out", run)
    assert answer.code == 0 and "vaekit doctor" not in answer.err
    assert f"{run}: all 1,611 images are trained; metrics.jsonl is missing or damaged, and is written" in answer.err
    assert answer.err.endswith(f" {run / 'metrics.jsonl'} lacks the start of the training.\n")


@pytest.mark.parametrize("name", ["weights.safetensors", "latents.safetensors", "report.html"])
@pytest.mark.parametrize("is_damaged", [True, False])
def test_what_is_repaired_is_said(vaekit: Callable, tmp_path: Path, name: str, is_damaged: bool) -> None:
    if is_damaged and name == "report.html":
        return  # its content is not checked
    _train("seed-ae", run := tmp_path / "run", epochs=1)
    whole = (run / "weights.safetensors").read_bytes()
    if is_damaged:
        (run / name).write_bytes((run / name).read_bytes()[:-9])
    else:
        (run / name).unlink()
    said = f"{run}: all 1,611 images are trained; {name} is missing or damaged, and is written again"
    planned = vaekit("train", "digits", "--recipe", "seed-ae", "--out", run, "--dry-run", "--json")
    assert json.loads(planned.out)["sentence"] == said
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--out", run)
    assert answer.code == 0 and answer.err.splitlines()[0] == said
    assert (run / "weights.safetensors").read_bytes() == whole and lacking(run, is_over=True) == ()


def test_a_dry_run_says_that_the_newest_state_is_damaged(vaekit: Callable, tmp_path: Path) -> None:
    _train("seed-ae", run := tmp_path / "run", epochs=1)
    _train("seed-ae", run, epochs=2)
    newest = run / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--out", run, "--dry-run", "--json")
    assert f"{newest} is damaged; the previous state is used" in answer.err
    assert json.loads(answer.out)["images_seen"] == 1611 and newest.read_bytes() == content
