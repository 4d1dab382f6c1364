"""The number of threads beside other processes. ``/proc/stat`` is simulated; nothing is timed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vaekit as vk
from vaekit.config.run_config import Engine
from vaekit.errors import argument, worded
from vaekit.system import machine_load as busy
from vaekit.system.machine_load import Choice, Load, Others, choose, recent_load, spin_less
from vaekit.training.model_trainer import ModelTrainer

TICKS = 100  # per second, of the written machine


class Machine:
    """Cores whose counters a test increments: user, nice, system, idle, iowait, irq, softirq, steal."""

    def __init__(self, path: Path, cores: int) -> None:
        self.path, self.now, self.own = path, 100.0, 0.0
        self.ticks = [[1000, 500, 200, 9000, 50, 3, 4, 5] for _ in range(cores)]
        self.write()

    def write(self) -> None:
        total = [sum(column) for column in zip(*self.ticks, strict=True)]
        rows = [f"cpu{n} {' '.join(map(str, row))} 0 0" for n, row in enumerate(self.ticks)]
        self.path.write_text("\n".join([f"cpu  {' '.join(map(str, total))} 0 0", *rows, "intr 5 0", "ctxt 9"]) + "\n")

    def run(self, seconds: float, *used: float, column: int = 0, own: float = 0.0) -> None:
        """Advance time: core ``n`` is busy for the share ``used[n]``, and this process used ``own`` CPU seconds."""
        for row, share in zip(self.ticks, used, strict=True):
            row[column] += round(share * seconds * TICKS)
            row[3] += round((1 - share) * seconds * TICKS)
        self.now, self.own = self.now + seconds, self.own + own
        self.write()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Machine]:
    """Simulate a machine with a number of cores."""

    def made(cores: int) -> Machine:
        here = Machine(tmp_path / "stat", cores)
        monkeypatch.setattr(busy, "_STAT", here.path)
        monkeypatch.setattr(busy, "_recent", None)
        monkeypatch.setattr(busy, "usable_cores", lambda: set(range(cores)))
        monkeypatch.setattr("os.sysconf", lambda name: TICKS)
        monkeypatch.setattr("os.nice", lambda step: 0)
        monkeypatch.setattr("time.monotonic", lambda: here.now)
        monkeypatch.setattr("time.process_time", lambda: here.own)
        return here

    return made


@pytest.mark.parametrize(
    ("used", "column", "own", "taken"),
    [
        ((0.0, 0.0), 0, 0.0, 0.0),
        ((1.0, 0.0), 0, 0.0, 1.0),
        ((1.0, 1.0), 2, 0.0, 2.0),
        ((0.5, 0.4), 7, 0.0, 0.9),
        ((1.0, 1.0), 0, 2.0, 1.0),  # half of it is this process
        ((1.0, 0.0), 0, 9.0, 0.0),  # never below nothing
        ((1.0, 1.0), 3, 0.0, 0.0),  # idle
        ((1.0, 1.0), 4, 0.0, 0.0),  # waits for a disk
    ],
)
def test_others_have_what_this_process_has_not(
    machine: Callable[[int], Machine], used: tuple[float, ...], column: int, own: float, taken: float
) -> None:
    here = machine(2)
    others = Others()
    here.run(2.0, *used, column=column, own=own)
    load = others.load()
    assert load is not None and load.cores == 2
    assert load.taken == pytest.approx(taken)
    here.run(2.0, 0.0, 0.0)
    assert others.load() == Load(2, 0.0), "each answer is of the time since the last one"


@pytest.mark.parametrize(("niceness", "taken"), [(0, 0.0), (5, 2.0)])
def test_niced_processes_make_room_unless_this_one_is_niced_too(
    machine: Callable[[int], Machine], monkeypatch: pytest.MonkeyPatch, niceness: int, taken: float
) -> None:
    here = machine(2)
    monkeypatch.setattr("os.nice", lambda step: niceness)
    others = Others()
    here.run(1.0, 1.0, 1.0, column=1)
    assert others.load() == Load(2, taken)


def test_only_the_cores_that_may_be_used_count(
    machine: Callable[[int], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(4)
    monkeypatch.setattr(busy, "usable_cores", lambda: {0, 3})
    others = Others()
    here.run(1.0, 0.0, 1.0, 1.0, 1.0)
    assert others.load() == Load(2, 1.0)


@pytest.mark.parametrize(
    "text", [None, "", "cpu 1 2 3\n", "cpu0 1 2\ncpu1 1 2\n", "cpu0 a b c d e f g h\n", "cpuX 1\n"]
)
def test_a_system_that_does_not_say_is_not_measured(machine: Callable[[int], Machine], text: str | None) -> None:
    here = machine(2)
    if text is None:
        here.path.unlink()
    else:
        here.path.write_text(text)
    assert Others().load() is None
    assert choose(None, None, 2, None) == Choice(2), "as on a quiet machine"


def test_a_measurement_takes_a_quarter_of_a_second_and_is_used_again(
    machine: Callable[[int], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, slept = machine(2), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        here.run(seconds, 1.0, 0.0)

    monkeypatch.setattr("time.sleep", sleep)
    assert recent_load() == recent_load() == Load(2, 1.0)
    assert slept == [0.25]
    here.now += 60
    recent_load()
    assert slept == [0.25, 0.25]


@pytest.mark.parametrize(
    ("cores", "taken", "threads"),
    [(2, 0.0, 2), (2, 0.4, 2), (2, 0.6, 1), (2, 1.0, 1), (2, 2.0, 1), (8, 2.6, 5), (8, 8.0, 1), (1, 1.0, 1)],
)
def test_a_training_leaves_others_their_cores(cores: int, taken: float, threads: int) -> None:
    choice = choose(None, None, cores, Load(cores, taken))
    assert choice.threads == threads
    assert choice.is_pinned == (taken < 0.5)
    assert bool(choice.note) == (taken >= 0.5 and cores > 1)


BUSY = "The machine is busy (1 of 2 cores used by other processes): training with "


TWO_THREADS = f"{argument('threads', 2)}."


@pytest.mark.parametrize(
    ("named", "stored", "taken", "expected"),
    [
        (None, None, 1.0, Choice(1, False, BUSY + "1 thread, without pinning. Override with " + TWO_THREADS)),
        (2, None, 1.0, Choice(2, False, BUSY + "2 threads, without pinning.")),
        (2, None, 0.0, Choice(2)),
        (1, None, 0.0, Choice(1)),
        (None, 2, 0.0, Choice(2)),
        (2, 2, 0.0, Choice(2)),
    ],
)
def test_what_is_chosen_and_said(named: int | None, stored: int | None, taken: float, expected: Choice) -> None:
    assert choose(named, stored, 2, Load(2, taken)) == expected


def test_a_run_goes_on_with_its_threads_unless_others_are_named() -> None:
    """The number of threads affects the order of sums, so resuming exactly needs the same number."""
    kept = choose(None, 2, 2, Load(2, 1.0))
    assert (kept.threads, kept.is_pinned) == (2, False)
    assert kept.note.startswith(BUSY + "2 threads") and "threads=1 may be faster" in worded(kept.note)
    fewer = choose(None, 1, 2, Load(2, 0.0))
    assert fewer.threads == 1 and "threads=2 may be faster" in worded(fewer.note)
    other = choose(2, 1, 2, Load(2, 0.0))
    assert other.threads == 2
    assert other.note.startswith("The run was trained with 1 thread so far and resumes with 2. ")
    moved = choose(None, 8, 2, Load(2, 0.0))
    assert moved.threads == 2 and "8 threads so far" in moved.note, "a smaller machine"


def test_a_number_that_the_user_set_for_all_programs_is_taken() -> None:
    assert choose(None, None, 2, Load(2, 2.0), is_limit_set=True).threads == 2
    assert choose(None, None, 4, Load(8, 0.0)).threads == 4, "never more than torch would take"


@pytest.mark.parametrize(
    ("taken", "threads", "environment", "expected"),
    [
        (1.0, None, {}, "passive"),
        (0.0, None, {}, None),
        (1.0, 1, {}, None),
        (1.0, 2, {}, "passive"),
        (1.0, None, {"OMP_WAIT_POLICY": "active"}, "active"),
        (1.0, None, {"GOMP_SPINCOUNT": "9"}, None),
        (1.0, None, {"OMP_NUM_THREADS": "1"}, None),
        (1.0, None, {"WORLD_SIZE": "2"}, None),
    ],
)
def test_threads_wait_without_spinning_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch,
    taken: float,
    threads: int | None,
    environment: dict[str, str],
    expected: str | None,
) -> None:
    monkeypatch.setattr(busy, "recent_load", lambda: Load(2, taken))
    spin_less(threads, untouched := dict(environment))
    assert untouched == environment, "torch has read it already"
    monkeypatch.delitem(sys.modules, "torch")
    spin_less(threads, environment)
    assert environment.get("OMP_WAIT_POLICY") == expected


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """A machine on which torch would use two threads, and other processes use ``taken`` cores."""

    def set_to(taken: float) -> None:
        monkeypatch.setattr("vaekit.training.setup.recent_load", lambda: Load(2, taken))

    monkeypatch.setattr("vaekit.training.setup.is_set_by_user", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield set_to
    assert torch.get_num_threads() == 2, "a training leaves the threads of the process as they were"
    torch.set_num_threads(before)


def trained(out: Path, epochs: int, **options: Any) -> Engine:
    options = {"settings": {"width": "8"}, **options}
    return vk.train("portraits:40", out=out, size=16, epochs=epochs, device="cpu", **options).config.engine


def test_the_number_of_threads_is_stored_with_the_run_and_said(
    tmp_path: Path, load: Callable[[float], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    step = ModelTrainer.step
    monkeypatch.setattr(
        ModelTrainer, "step", lambda *args, **kw: used.append(torch.get_num_threads()) or step(*args, **kw)
    )
    load(1.0)
    assert trained(tmp_path / "run", 1).threads == 1
    assert BUSY + "1 thread" in capsys.readouterr().err
    load(0.0)
    assert trained(tmp_path / "run", 2).threads == 1, "as it began"
    assert "threads=2 may be faster" in capsys.readouterr().err
    assert set(used) == {1}
    assert trained(tmp_path / "run", 3, threads=2).threads == 2
    assert "trained with 1 thread so far and resumes with 2" in capsys.readouterr().err
    assert set(used) == {1, 2}


def test_an_older_run_without_a_number_goes_on(tmp_path: Path, load: Callable[[float], None]) -> None:
    load(1.0)
    trained(tmp_path / "run", 1)
    raw = json.loads((tmp_path / "run" / "config.json").read_text())
    del raw["engine"]["threads"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(raw))
    assert vk.load(tmp_path / "run").config.engine.threads is None
    load(0.0)
    assert trained(tmp_path / "run", 2).threads == 2
