"""Portraits: reproducible row by row, and an override changes only what it should."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vaekit.data.portraits.portraits import ATTRIBUTES, draw, table
from vaekit.errors import UserError

# where an attribute may change a 64 x 64 portrait: rows, columns
REGIONS = {
    "glasses": (slice(22, 43), slice(10, 54)),
    "smiling": (slice(32, 57), slice(14, 50)),
    "beard": (slice(24, 64), slice(9, 55)),
}


def _pair(name: str, count: int = 100, size: int = 64, **others: int) -> tuple[np.ndarray, np.ndarray]:
    off, on = (draw(count, size, seed=5, overrides={name: value, **others}) for value in (0, 1))
    return off.astype(np.int64), on.astype(np.int64)


def test_the_pictures_stay_the_same_between_versions() -> None:
    means = draw(3, 16, seed=3).mean((1, 2))
    golden = np.array([[152.9, 127.4, 106.2], [147.7, 138.3, 146.8], [152.6, 137.3, 108.4]])
    assert np.abs(means - golden).max() < 1


def test_a_row_depends_on_its_seed_and_its_number_alone() -> None:
    many = draw(70, 40, seed=2)
    assert (draw(1, 40, seed=2, start=69)[0] == many[69]).all()
    assert (draw(70, 40, seed=2) == many).all()
    assert (draw(70, 40, seed=3) != many).any((1, 2, 3)).all()
    late, all_rows = table(5, seed=2, start=65), table(70, seed=2)
    assert all((late[name] == all_rows[name][65:]).all() for name in ATTRIBUTES)


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (64, 64), (20, 47), (90, 50)])
def test_every_size(size: tuple[int, int]) -> None:
    pixels = draw(3, size)
    assert pixels.shape == (3, *size, 3)
    assert pixels.dtype == np.uint8


def test_sizes_show_the_same_picture() -> None:
    large = draw(4, 192).astype(np.float64).reshape(4, 32, 6, 32, 6, 3).mean((2, 4))
    difference = draw(4, 32) - large
    assert np.sqrt((difference**2).mean()) < 3


def test_a_longer_side_only_adds_a_margin() -> None:
    square, wide, tall = draw(4, 64), draw(4, (64, 100)), draw(4, (100, 64))
    assert np.abs(wide[:, :, 18:-18].astype(int) - square).max() <= 1
    # the ends of long hair show a little more below the square
    assert (np.abs(tall[:, 18:-18].astype(int) - square).max(-1) > 1).mean() < 0.001


@pytest.mark.parametrize("name", ["glasses", "smiling", "beard"])
def test_an_override_changes_its_own_region_alone(name: str) -> None:
    off, on = _pair(name, **({"male": 1} if name == "beard" else {}))
    changed = (off != on).any(-1)
    assert changed.sum((1, 2)).min() > 90
    changed[(slice(None), *REGIONS[name])] = False
    assert not changed.any()


def test_an_override_keeps_every_other_attribute() -> None:
    plain = table(500, seed=5)
    for name in ("glasses", "smiling", "skin_tone", "lighting", "pose"):
        other = table(500, seed=5, overrides={name: 1})
        assert all((other[key] == plain[key]).all() for key in ATTRIBUTES if key != name)
    woman = table(500, seed=5, overrides={"male": 0})
    assert all((woman[key] == plain[key]).all() for key in ATTRIBUTES if key not in ("male", "beard", "hair_length"))


def test_drawing_with_the_own_attributes_changes_nothing() -> None:
    own = {name: column for name, column in table(20, seed=4).items()}
    assert (draw(20, 32, seed=4, overrides=own) == draw(20, 32, seed=4)).all()


def test_a_change_of_sex_keeps_the_background_and_the_place() -> None:
    man, woman = _pair("male")
    assert (man[:, :8, :6] == woman[:, :8, :6]).all()
    assert (man != woman).any(-1).sum((1, 2)).min() > 500


def test_only_men_have_beards() -> None:
    columns = table(20_000)
    assert columns["beard"][columns["male"] == 0].sum() == 0
    assert abs(columns["beard"][columns["male"] == 1].mean() - 0.4) < 0.015
    assert table(50, overrides={"male": 0, "beard": 1})["beard"].sum() == 0
    off, on = _pair("beard", 20, male=0)
    assert (off == on).all()


def test_glasses_are_independent_of_everything_else() -> None:
    columns = table(20_000, seed=11)
    glasses = columns["glasses"]
    assert abs(glasses.mean() - 0.5) < 0.015
    for name in ATTRIBUTES[1:]:
        column = columns[name]
        values = [column == word for word in np.unique(column)] if column.dtype.kind == "U" else [column]
        # four standard errors of a correlation of independent columns
        assert all(abs(np.corrcoef(glasses, value)[0, 1]) < 4 / np.sqrt(20_000) for value in values), name


def test_columns_are_in_range_and_varied() -> None:
    columns = table(5000)
    assert tuple(columns) == ATTRIBUTES
    for name, low in {"hair_length": 0, "skin_tone": 0, "pose": -1, "lighting": -1}.items():
        assert columns[name].min() >= low and columns[name].max() <= 1
        assert np.ptp(columns[name]) > 0.9 * (1 - low)
    assert len(np.unique(columns["hair_colour"])) == 9
    assert len(np.unique(columns["background"])) == 8
    long, short = (columns["hair_length"][columns["male"] == male] for male in (0, 1))
    assert np.quantile(long, 0.2) > np.quantile(short, 0.95)


def test_frames_stand_out_on_every_skin() -> None:
    off, on = _pair("glasses", 150)
    light = (on - off) @ np.array([0.299, 0.587, 0.114])
    darkest = np.sort(light.reshape(150, -1), axis=1)[:, :60].mean(1)
    assert darkest.max() < -50  # levels of 255


@pytest.mark.filterwarnings("ignore:lbfgs failed")
@pytest.mark.parametrize(("name", "least"), [("glasses", 0.97), ("male", 0.97), ("smiling", 0.95)])
def test_attributes_can_be_read_off_small_pictures(name: str, least: float, faces: np.ndarray) -> None:
    truth = table(1500, seed=1)[name]
    reader = LogisticRegression(C=0.1, max_iter=60).fit(faces[:1000], truth[:1000])
    assert reader.score(faces[1000:], truth[1000:]) > least


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return (draw(1500, 32, seed=1).reshape(1500, -1) / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"glases": 1}, "did you mean 'glasses'"),
        ({"glasses": 2}, "0 or 1"),
        ({"pose": -1.5}, "-1 to 1"),
        ({"skin_tone": float("nan")}, "0 to 1"),
        ({"hair_colour": "blnd"}, "did you mean 'blond'"),
        ({"male": [1, 0]}, "3 values"),
        ({"male": "yes"}, "must be a number"),
    ],
)
def test_impossible_overrides_are_refused(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        draw(3, 16, overrides=overrides)


@pytest.mark.parametrize("arguments", [(-1, 16), (1, 0), (1, (16, -3))])
def test_impossible_sizes_are_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="portraits:"):
        draw(*arguments)
