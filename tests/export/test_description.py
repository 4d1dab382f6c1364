"""``model.json`` from a stranger: any value is accepted, or refused in one sentence that names the file."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vaekit as vk
from vaekit.errors import UserError
from vaekit.export.bundle import SUMS, sums_of, verify
from vaekit.export.description import read_description

#: What an export held when directions told how they were fitted, and priors were no networks.
EARLY: dict[str, Any] = {
    "format_version": 1,
    "made_by": "vaekit 0.1.0",
    "precision": "fp32",
    "image": {
        "channels": 3, "height": 24, "width": 16, "fit": "crop", "background": "#ffffff",
        "resampling": "bicubic, antialiased", "scale": "divided by 255",
    },
    "latent_dim": 2,
    "prior": {"formula": "latent = mean + noise @ factor", "mean": [0.5, 1], "factor": [[1.0, 0.0], [0.0, 1.0]]},
    "directions": {
        "glasses": {
            "vector": [0.5, -0.5], "method": "adjusted", "is_orthogonal": False, "images_with": 10,
            "images_without": 20, "accuracy": 0.9, "held_out": 5, "held_out_from": "test part", "source": "data",
        },
        "smiling": {"vector": [0.0, 1.0], "method": "means", "accuracy": None},
    },
    "recipe": "vae",
    "labels": ["cat", "dog"],
    "attributes": ["glasses"],
    "compared_with_pytorch": {
        "images": 100,
        "largest_difference": {"codes": 1e-6, "pictures": 1e-7},
        "allowed": {"codes": 1e-4, "pictures": 1e-4},
    },
}  # fmt: skip


#: The same of a model with discrete codes.
WITH_CODES: dict[str, Any] = EARLY | {"codes": {"rows": 8, "columns": 4, "count": 512}}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every value, including containers."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def put(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at a path."""
    if not path:
        return value
    whole = copy.deepcopy(whole)
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return whole


def written(folder: Path, content: bytes | Any) -> Path:
    (folder / "model.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


PLACES = list(places(WITH_CODES))
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 0, 2**16 + 1, 1e308, 2**63])
PLAIN = st.none() | st.booleans() | NUMBERS | st.text() | st.just("\ud800\x00")
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


def is_sound(folder: Path) -> bool:
    """Return whether the description can be read; otherwise check that the error names it."""
    try:
        read_description(folder)
    except UserError as error:
        assert str(folder) in str(error) and len(str(error)) < 1000
        return False
    return True


def test_early_exports_are_read(tmp_path: Path) -> None:
    found = read_description(written(tmp_path, EARLY))
    assert found.prior is not None and found.prior.network is None and found.prior.mean == (0.5, 1.0)
    assert found.directions["glasses"].images_without == 20 and found.directions["smiling"].accuracy is None
    assert found.compared_with_pytorch.allowed.pictures == 1e-4


@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_read_or_refused(
    place: tuple[Any, ...], value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    is_sound(written(tmp_path_factory.getbasetemp(), put(WITH_CODES, place, value)))


@pytest.mark.parametrize("wrong", [{}, [], "text", True, -1, 0.5, float("nan"), float("inf"), "\ud800"], ids=repr)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_no_place_takes_everything(place: tuple[Any, ...], wrong: Any, tmp_path: Path) -> None:
    """A field accepts few of these values; no field accepts NaN or infinity."""
    takes = is_sound(written(tmp_path, put(WITH_CODES, place, wrong)))
    if isinstance(wrong, float) and not math.isfinite(wrong):
        assert not takes


#: Keys of records, of which which there are is fixed, unlike the names of directions.
KEYS = [path for path in PLACES if isinstance(path[-1], str) and not (path[0] == "directions" and len(path) == 2)]
OPTIONAL = {"codes", "labels", "attributes", *("is_orthogonal", "images_with", "images_without")}
OPTIONAL |= {"held_out", "held_out_from", "source"}


@pytest.mark.parametrize("place", KEYS, ids=str)
def test_missing_and_unknown_keys_are_named(place: tuple[Any, ...], tmp_path: Path) -> None:
    inside = WITH_CODES
    for key in place[:-1]:
        inside = inside[key]
    without = {key: value for key, value in inside.items() if key != place[-1]}
    assert is_sound(written(tmp_path, put(WITH_CODES, place[:-1], without))) == (place[-1] in OPTIONAL)
    with pytest.raises(UserError, match="unknown key 'more'"):
        read_description(written(tmp_path, put(WITH_CODES, (*place[:-1], "more"), 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "has format 2, but this vaekit reads 1"),
        ({"precision": "int8"}, "has precision = 'int8', expected one of fp32, fp16"),
        ({"latent_dim": "x"}, "invalid value at latent_dim: expected int, got str"),
        ({"image": EARLY["image"] | {"width": 10**6}}, "has image.width = 1000000, expected a number from 1 to 65,536"),
        ({"prior": EARLY["prior"] | {"factor": [[1.0, float("nan")], [0, 1]]}}, r"prior\.factor\[0\]\[1\] = nan"),
        ({"prior": EARLY["prior"] | {"mean": [10**400, 0]}}, "model.json"),
        ({"directions": {"a": {"vector": [], "method": "x", "accuracy": 2}}}, "directions.a.method = 'x'"),
        ({"codes": {"rows": 8, "columns": 0, "count": 4}}, "codes.columns = 0"),
        ({"directions": {"a": 1}}, "has 1 where a JSON object was expected"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_description(written(tmp_path, EARLY | change))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("described")
    vk.train("digits", "ae", folder / "run", images=64, settings={"net": "mlp"}, quiet=True).export(folder / "out")
    return folder / "out"


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"null", b"[]", b"[" * 100_000, b"", b"1" * 9999, {}, EARLY | {"image": None}, EARLY | {"more": 1}],
    ids=lambda content: repr(content)[:12],
)
def test_verify_refuses_it_in_one_sentence(artifact: Path, content: Any, vaekit: Callable, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "copy"))
    written(folder, content)
    (folder / SUMS).write_text(sums_of(folder))
    answer = vaekit("verify", folder)
    assert answer.code == 2 and answer.err.count("\n") == 1 and answer.out == ""
    assert answer.err.startswith(f"vaekit: {folder / 'model.json'} ") and ";" in answer.err


def test_what_export_writes_is_what_is_read(artifact: Path) -> None:
    assert verify(artifact)["files"] == 6
    assert read_description(artifact).recipe == "ae" and read_description(artifact).prior is None
