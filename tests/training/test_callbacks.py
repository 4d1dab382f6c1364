"""Callbacks get every record and every epoch's pictures, and a failing one does not lose the state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vaekit as vk
from vaekit.runs import folder as runs


def train(out: Path, epochs: int = 2, **callbacks: Any) -> vk.Run:
    return vk.train("digits", "seed-ae", out, epochs=epochs, quiet=True, settings={"hidden": 8}, **callbacks)


def test_callbacks_get_the_records_and_the_pictures_of_the_run(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    epochs: list[tuple[dict[str, Any], Sequence[Path]]] = []
    run = train(
        tmp_path / "run",
        on_log=lambda record: records.append(record),
        on_epoch=lambda record, pictures: epochs.append((record, pictures)),
    )
    start, *lines = runs.read_metrics(run.path)
    assert start["kind"] == "start" and records == lines
    assert {record["kind"] for record in records} == {"train", "validation", "final"}
    assert [record for record, _ in epochs] == [line for line in lines if line["kind"] == "validation"]
    names = [[picture.name for picture in pictures] for _, pictures in epochs]
    assert names == [["epoch-0001-reconstructions.png"], ["epoch-0002-reconstructions.png"]]
    assert all(picture.is_file() for _, pictures in epochs for picture in pictures)


@pytest.mark.parametrize("which", ["on_log", "on_epoch"])
def test_an_exception_in_a_callback_is_raised_with_the_state_saved(which: str, tmp_path: Path) -> None:
    calls = 0

    def fails(record: dict[str, Any], *_: object) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError(f"after {record['images']} images")

    with pytest.raises(ZeroDivisionError) as raised:
        train(tmp_path / "run", **{which: fails})
    state = runs.load_state(tmp_path / "run", print)
    assert state is not None and str(raised.value) == f"after {state[1]['images']} images"
    assert state[1]["images"] < 2 * 1611 and calls == 1
    train(tmp_path / "run")
    whole = train(tmp_path / "whole")
    for name in ("weights.safetensors", "state.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (whole.path / name).read_bytes()


def test_an_exception_at_the_final_record_leaves_a_finished_run(tmp_path: Path) -> None:
    def fails(record: dict[str, Any]) -> None:
        if record["kind"] == "final":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", on_log=fails)
    assert (tmp_path / "run" / "report.html").exists()


def test_what_is_no_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vk.errors.UserError, match="on_log 3: expected a function"):
        train(tmp_path / "run", on_log=3)
