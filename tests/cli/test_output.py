"""Printed results: a line per name, at most twelve lines per group, and valid JSON."""

from __future__ import annotations

import json

import pytest

from vaekit.cli.output import say
from vaekit.system import progress


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (1234567, ["x  1,234,567"]),
        (0.123456, ["x  0.1235"]),
        (12.3456, ["x  12.35"]),
        (True, ["x  yes"]),
        (None, ["x  none"]),
        ([], ["x  none"]),
        ({}, ["x  none"]),
        ([3, 64, 64], ["x  3, 64, 64"]),
        ({"cat": 1200, "dog": 2}, ["x  cat 1,200, dog 2"]),
        ({"size": 8, "reason": "as they are"}, ["x  size 8, reason: as they are"]),
        ({"a": {"type": "number"}, "b": {"type": "text"}}, ["x", "  a: type number", "  b: type text"]),
        ([{"name": "a.png", "reason": "empty file"}], ["x", "  a.png: empty file"]),
        (["one sentence", "another"], ["x", "  one sentence", "  another"]),
        ({"images": 2, "alike": [["a", "b"], ["c", "d"]]}, ["x  images 2", "  a, b", "  c, d"]),
        ({"images": 0, "alike": [], "complete": False}, ["x  images 0, complete no"]),
    ],
)
def test_lines(value: object, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    say({"x": value})
    assert capsys.readouterr().out.splitlines() == lines


def test_names_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    say({"a": 1, "longer": 2})
    assert capsys.readouterr().out == "a       1\nlonger  2\n"


@pytest.mark.parametrize("count", [12, 13, 1500])
def test_at_most_twelve_rows(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    say({"x": {"images": count, "alike": [["a", "b"]] * count}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:13] == ["  a, b"] * 12
    assert lines[13:] == ([f"  and {count - 12:,} more (see --json)"] if count > 12 else [])


def test_json_is_one_line_without_infinities(capsys: pytest.CaptureFixture[str]) -> None:
    say({"a": [float("inf"), (1, float("nan"))], "b": {"c": True}}, as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": [None, [1, None]], "b": {"c": True}} and out.count("\n") == 1


def test_of_many_numbers_the_ends_and_the_median_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say({"kl": [float(i) for i in range(13)], "few": [1.0, 2.0]})
    assert capsys.readouterr().out.splitlines() == [
        "kl   0 to 12.00, median 6.00, of 13 (see --json)",
        "few  1.00, 2.00",
    ]


def test_a_long_loop_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    count = progress.counter_on_stderr()
    for done in range(0, 1001, 10):  # 0.4 seconds each
        count("images measured", done, 1000)
        now[0] += 0.4
    now[0] += 100
    count("images drawn", 0, 20)  # another loop has another beginning
    count("images drawn", 1, 20)
    assert capsys.readouterr().err.splitlines() == [
        "images measured: 130 of 1,000, 35s left",
        "images measured: 510 of 1,000, 20s left",
        "images measured: 890 of 1,000, 4s left",
    ]
