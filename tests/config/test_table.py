"""The table of recipes: unique names, text parsed by the type of its field, and a UserError for any invalid value."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaekit.config.table import RECIPES, Recipe, get, override, register, unregister
from vaekit.errors import UserError

NAMES = [f.name for f in fields(Recipe)]
SETTABLE = [name for name in NAMES if name not in ("name", "summary", "paper", "cost")]


@pytest.fixture
def table() -> Iterator[None]:
    before = dict(RECIPES)
    yield
    RECIPES.clear()
    RECIPES.update(before)


def test_the_table_has_the_promised_rows_under_their_own_names() -> None:
    promised = {"seed-ae", "seed-vae", "ae", "denoising-ae", "vae", "beta-vae"}
    assert promised <= RECIPES.keys()
    assert all(row.name == name and row.summary and row.paper for name, row in RECIPES.items())
    assert len({row.summary for row in RECIPES.values()}) == len(RECIPES)


def test_no_two_rows_are_written_under_one_name() -> None:
    from vaekit.config import table as recipes

    assert len({row.name for row in recipes._ROWS}) == len(recipes._ROWS)


def test_the_seeds_are_their_specification() -> None:
    ae, vae = get("seed-ae"), get("seed-vae")
    assert (ae.net, ae.hidden, ae.latent_dim, ae.posterior, ae.objective) == (
        "mlp",
        (200,),
        20,
        "point",
        "distortion",
    )
    assert (ae.batch_size, ae.learning_rate, ae.epochs, ae.weight_decay) == (32, 2.5e-4, 10, 0)
    assert (vae.net, vae.latent_dim, vae.posterior, vae.prior) == (
        "seed-conv",
        100,
        "normal",
        "standard-normal",
    )
    assert (vae.batch_size, vae.learning_rate, vae.epochs, vae.weight_decay) == (16, 1e-4, 10, 1e-5)
    for row in (ae, vae):
        assert row.scale == "fixed" and row.fixed_scale == pytest.approx(math.sqrt(0.5))
        assert (row.schedule, row.reduction, row.clip_norm, row.ema_power) == ("constant", "sum", 0, 0)
        assert row.beta == 1 and row.kl_warmup == 0 and row.noise_std == 0 and row.train_on_val


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_row_survives_its_plain_form(name: str) -> None:
    assert Recipe.from_dict(get(name).to_dict()) == get(name)


def test_a_plain_form_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="'latent_dims'.*did you mean 'latent_dim'"):
        Recipe.from_dict({**get("vae").to_dict(), "latent_dims": 3})


@pytest.mark.parametrize(
    ("wrong", "meant"), [("sed-vae", "seed-vae"), ("denoisingae", "denoising-ae"), ("betavae", "beta-vae")]
)
def test_an_unknown_recipe_suggests_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"{wrong}.*did you mean '{meant}'"):
        get(wrong)


@given(st.integers(1, 10**6))
def test_whole_numbers_are_read(number: int) -> None:
    assert override(get("vae"), {"batch_size": str(number)}).batch_size == number
    assert override(get("vae"), {"latent_dim": str(number)}).latent_dim == number


@given(st.floats(0, 1e6))
def test_numbers_are_read(number: float) -> None:
    assert override(get("vae"), {"beta": repr(number)}).beta == number


@given(st.lists(st.integers(1, 10**4), min_size=1, max_size=5), st.booleans())
def test_lists_of_widths_are_read(widths: list[int], spaced: bool) -> None:
    text = (", " if spaced else ",").join(map(str, widths))
    assert override(get("seed-ae"), {"hidden": text}).hidden == tuple(widths)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("1", True), ("0", False), ("YES", True)])
def test_truth_is_read(text: str, value: bool) -> None:
    assert override(get("vae"), {"train_on_val": text}).train_on_val is value


@pytest.mark.parametrize("text", ["none", "None", "auto"])
def test_a_value_can_be_left_open_again(text: str) -> None:
    assert override(get("seed-ae"), {"latent_dim": text, "epochs": text}) == replace(
        get("seed-ae"), latent_dim=None, epochs=None
    )


@given(
    name=st.one_of(st.sampled_from(SETTABLE), st.text(max_size=12)),
    text=st.one_of(st.text(max_size=12), st.floats().map(str), st.integers().map(str)),
)
@example(name="hidden", text="")
@example(name="hidden", text=",")
@example(name="batch_size", text="2.5")
@example(name="beta", text="nan")
@example(name="learning_rate", text="inf")
@example(name="latent_dim", text="0")
@example(name="posterior", text="none")
def test_any_text_is_either_read_or_refused_by_name(name: str, text: str) -> None:
    try:
        row = override(get("vae"), {name: text})
    except UserError as error:
        assert name in str(error)
    else:
        value = getattr(row, name)
        assert not (isinstance(value, float) and not math.isfinite(value))
        assert name != "hidden" or len(value) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latentdim": "3"}, "settings latentdim=3: .*did you mean 'latent_dim'"),
        ({"name": "mine"}, "settings name=mine"),
        ({"batch_size": "many"}, "batch_size=many: expected a whole number"),
        ({"beta": "much"}, "beta=much: expected a number"),
        ({"train_on_val": "perhaps"}, "expected true or false"),
        ({"hidden": "a,b"}, "whole numbers, as in 200,100"),
        ({"posterior": "norml"}, "posterior=norml: did you mean 'normal'"),
        ({"learning_rate": "-1"}, "learning_rate=-1.0: must be greater than 0"),
        ({"beta": "-1"}, "beta=-1.0: must not be negative"),
        ({"kl_warmup": "1.5"}, "kl_warmup=1.5: must be between 0 and 1"),
        ({"beta": "nan"}, "beta=nan: must be a finite number"),
        ({"hidden": "10,0"}, "hidden="),
        ({"hidden": ""}, "hidden="),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(get("vae"), values)


def test_overriding_changes_a_copy() -> None:
    row = override(get("vae"), {"beta": "4", "latent_dim": 3})
    assert (row.beta, row.latent_dim) == (4, 3)
    assert get("vae").beta == 1 and replace(row, beta=1.0, latent_dim=None) == get("vae")


@pytest.mark.usefixtures("table")
def test_a_recipe_can_be_added_and_taken_away() -> None:
    mine = register(Recipe("mine", beta=2.0))
    assert get("mine") is mine
    with pytest.raises(UserError, match="'mine' exists"):
        register(Recipe("mine"))
    assert register(Recipe("mine", beta=3.0), replace_existing=True).beta == 3
    unregister("mine")
    with pytest.raises(UserError, match="mine"):
        get("mine")
    with pytest.raises(UserError):
        unregister("mine")


@pytest.mark.usefixtures("table")
def test_a_broken_recipe_is_not_added() -> None:
    with pytest.raises(UserError, match="did you mean 'mlp'"):
        register(Recipe("mine", net="mlpp"))
    assert "mine" not in RECIPES


def test_the_table_is_read_without_torch() -> None:
    imports = "import sys, vaekit.config.table, vaekit.config.run_config"
    code = f"{imports}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_costs_of_the_table_are_those_measured() -> None:
    path = Path(__file__).resolve().parents[2] / "bench" / "results" / "recipe_cost.json"
    measured = json.loads(path.read_text())["times_of_vae"]
    assert measured.keys() == RECIPES.keys()
    for name, row in RECIPES.items():
        assert float(row.cost) == pytest.approx(measured[name], rel=0.25), name
