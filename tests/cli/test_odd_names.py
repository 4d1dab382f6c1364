"""Names that must be escaped in files and terminals: not UTF-8, escape sequences, markup, formulas."""

from __future__ import annotations

import csv
import html
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.data import Images, open_images, write_folder
from vaekit.data.csv_table import write_table
from vaekit.errors import storable
from vaekit.runs.report.card import model_card
from vaekit.runs.report.facts import Facts
from vaekit.runs.report.page import page

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
CLASSES = (b"caf\xe9", b"tea\x1b[31m")


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two classes with such names, in such folders, with such a column."""
    root = tmp_path_factory.mktemp("odd")
    data, run = (root / os.fsdecode(name) for name in (b"data\xff\x1b[1m", b"run\x1b[1m"))
    rows = []
    for number, name in enumerate(CLASSES):
        folder = data / os.fsdecode(name)
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = np.random.default_rng(10 * number + index).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
            if number:
                cells = {
                    "file_name": f"{os.fsdecode(name)}/{index}.png",
                    "col\ud83d": "\x1b]0;x\x07" if index % 2 else "b",
                }
                rows.append(json.dumps(cells))
    (data / "metadata.jsonl").write_text("\n".join(rows))
    vk.train(data, "vae", run, epochs=1, settings={"width": "8"}, quiet=True)
    return run


def test_a_run_of_odd_names_gets_its_report_and_every_file_is_utf8(odd_run: Path) -> None:
    for name in ("README.md", "report.html", "config.json", "metrics.jsonl"):
        assert not HOSTILE.search((odd_run / name).read_text("utf-8")), name
    card = (odd_run / "README.md").read_text("utf-8")
    assert r"`caf\udce9`, `tea\x1b[31m`" in card and r"`col\ud83d`" in card
    config = json.loads((odd_run / "config.json").read_text())["data"]
    assert config["classes"] == [r"caf\udce9", r"tea\x1b[31m"] and config["attributes"] == [r"col\ud83d"]


def test_every_verb_reads_and_writes_odd_names(
    odd_run: Path, tmp_path: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    group = f"label:{os.fsdecode(CLASSES[0])}"
    image = next(odd_run.parent.glob("data*/caf*/0.png"))
    for words in (
        ["evaluate", odd_run, "--per-image", tmp_path / "each.csv"],
        ["score", odd_run, "--normal", group, "--false-alarms", 0.5, "--table", tmp_path / "scores.csv"],
        *(["encode", odd_run, "--out", tmp_path / f"codes{ending}"] for ending in (".csv", ".npz")),
        ["map", odd_run, "--out", tmp_path / "map.png"],
        ["neighbors", odd_run, image, "--out", tmp_path / "near.png"],
        ["arithmetic", odd_run, f'"{group}"', "--out", tmp_path / "sum.png"],
        ["edit", odd_run, image, "--add", os.fsdecode(CLASSES[1]),
         "--out", tmp_path / "edited.png"],
        ["export", odd_run, "--out", tmp_path / "exported"],
        ["doctor", odd_run],
        ["data", next(odd_run.parent.glob("data*"))],
        ["data", next(odd_run.parent.glob("data*")), "--write", tmp_path / "written"],
    ):  # fmt: skip
        answer = vaekit(*words)
        assert answer.code == 0, (words, answer.err)
        assert not HOSTILE.search(answer.out + answer.err), words
    for path in tmp_path.rglob("*"):
        if path.suffix in (".csv", ".json", ".py"):
            assert not HOSTILE.search(path.read_text("utf-8")), path
    written = open_images(tmp_path / "written")
    assert len(written) == 20 and written.classes == (r"caf_udce9", r"tea_x1b[31m")


def test_an_out_that_is_not_utf8_is_refused_before_training(tmp_path: Path, vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--out", tmp_path / os.fsdecode(b"run\xff"))
    assert answer.code == 2 and "not UTF-8; choose another name" in answer.err and not list(tmp_path.iterdir())


def test_names_stay_as_they_are_where_files_can_hold_them() -> None:
    for name in ("naïve", "a b", "日本\u3000語", "نمی\u200cخواهم", "two\nlines"):
        assert storable(name) == name


def test_whatever_a_run_holds_is_escaped_in_its_report(digits_vae: Path) -> None:
    hostile = "<script>alert(1)</script>|&amp;`x`"
    known = Facts.of(digits_vae)
    data = replace(known.config.data, binarize=hostile, fingerprint=hostile)
    lines = [line | {"part": hostile} for line in known.lines]
    facts = replace(known, config=replace(known.config, data=data), lines=lines)
    text, card = page(facts), model_card(facts)
    assert "<script>alert" not in text and text.count(html.escape(hostile)) >= 4
    outside_code = re.sub(r"(`+) ?.*?[^`]\1(?!`)", "", card.split("```python")[0])
    assert "alert(1)" in outside_code and not re.search(r"(?<!\\)<script|(?<!\\)&amp;", outside_code)


def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    texts = ["=1+1", "+x", "-y", "@sum", "-5", "plain", "'=z"]
    write_table(tmp_path / "t.csv", {"=name": texts, "value": [-1.5, 2, -3, float("nan"), 1, True, -0.0]})
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["'=name", "value"]
    assert [row[0] for row in rows] == ["'=1+1", "'+x", "'-y", "'@sum", "-5", "plain", "''=z"]
    assert [row[1] for row in rows] == ["-1.5", "2", "-3", "nan", "1", "True", "-0.0"]


def test_a_folder_that_is_written_has_no_formulas_and_reads_back_the_same(tmp_path: Path) -> None:
    pixels = torch.arange(3 * 64, dtype=torch.uint8).view(3, 1, 8, 8)
    texts = np.array(["=1+1", "-y", "'@z"])
    images = Images(
        pixels, ("=a", "-1", "b"), torch.tensor([0, 0, 1]), ("-1", "@x"), {"+c": texts, "n": np.array([-1.0, 2.5, 0.0])}
    )
    folder = write_folder(images, tmp_path / "out")
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "-")) and cell != "-1"]
    again = open_images(folder)
    order = [again.names.index(name) for name in ("-1/=a.png", "-1/-1.png", "@x/b.png")]
    assert again.attributes["+c"][order].tolist() == texts.tolist() and again.classes == images.classes
    assert again.attributes["n"][order].tolist() == [-1.0, 2.5, 0.0]
