"""A flipped bit in any file of a run or the cache is detected and reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vaekit.errors import UserError
from vaekit.runs import folder as runs
from vaekit.system import checksums as sums
from vaekit.system.files import load_facts, load_tensors, save_tensors


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_single_bit_of_a_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"a": torch.arange(4.0), "b": torch.zeros(2, 2)}, {"images": 5, "name": "é"})
    tensors, facts = load_tensors(path)
    assert facts == load_facts(path) == {"images": 5, "name": "é"}
    assert tensors["a"].tolist() == [0, 1, 2, 3]
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(UserError, match="cannot be read"):
            load_tensors(path)
        flip(path, bit)
    load_tensors(path)


def test_a_damaged_state_gives_way_to_the_one_before(digits_ae: Path, tmp_path: Path, vaekit: Callable) -> None:
    """The flipped bit is in the middle of the weights, where any value is a valid number."""
    run = tmp_path / "run"
    shutil.copytree(digits_ae, run)
    whole = {name: (run / name).read_bytes() for name in ("state.safetensors", "weights.safetensors")}
    tensors, facts = load_tensors(run / "state.safetensors")
    save_tensors(run / "state-previous.safetensors", tensors, facts)
    flip(run / "state.safetensors", 8 * (len(whole["state.safetensors"]) // 2))
    flip(run / "weights.safetensors", 8 * (len(whole["weights.safetensors"]) // 2))
    assert (
        "weights.safetensors cannot be read (the file is damaged: its checksum does not match"
        in vaekit("evaluate", run).err
    )
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 2, "--out", run)
    assert answer.code == 0 and "state.safetensors is damaged; the previous state is used" in answer.err
    assert (run / "weights.safetensors").read_bytes() == whole["weights.safetensors"]


def test_a_state_without_a_checksum_resumes_and_that_is_said(digits_ae: Path, tmp_path: Path) -> None:
    run, said = tmp_path / "run", []
    shutil.copytree(digits_ae, run)
    path = run / "state.safetensors"
    tensors, facts = load_tensors(path)
    save_file(load_file(path), path, {"vaekit": json.dumps(facts)})
    state = runs.load_state(run, said.append)
    assert state is not None and state[1] == facts and state[0].keys() == tensors.keys()
    assert said == [f"{path} is from an older vaekit and has no checksum, so damage would not be detected"]
    assert not sums.is_sealed(path)
