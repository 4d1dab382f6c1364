"""The tables of mistakes that ``scripts/mutants.py`` makes fit the sources."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from mutant import Mutant, Table

from vaekit.model import latent_model

ROOT = Path(__file__).resolve().parents[2]
OF_MODELS = (
    "likelihoods",
    "posteriors",
    "priors",
    "quantizers",
    "token_priors",
    "flows",
    "conditioning",
    "objectives",
    "latent_model",
    "distributions/latent",
    "distributions/pixel",
    "distributions/pixel_discrete",
)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants = script()
tables: dict[str, Table] = mutants.collected()


@pytest.mark.parametrize("name", tables)
def test_each_mistake_fits_its_module_and_changes_the_code(name: str) -> None:
    table = tables[name]
    assert (ROOT / table.path).read_text(encoding="utf-8") == table.source
    for mutant in table.mutants:
        assert table.is_a_change(mutant), f"{mutant}: only a comment or spaces change"
        assert mutant.breaks


def test_no_mutant_is_there_twice_and_every_module_of_formulas_has_some() -> None:
    made = [(table.name, table.mutated(mutant)) for table in tables.values() for mutant in table.mutants]
    assert len(set(made)) == len(made) >= 400
    modules = [table.name for table in tables.values()]
    assert len(set(modules)) == len(modules)
    assert set(modules) >= {f"model/{name}" for name in OF_MODELS} | {"evaluation/metrics", "latent/fit_prior"}


def test_the_tests_that_are_to_catch_them_exist() -> None:
    for mutation in mutants.mutations(tables):
        assert len(mutation.likeliest) > 1
        assert all((ROOT / name).is_file() for name in (*mutation.likeliest, *mutation.others))


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_row_that_fits_no_more_is_refused(old: str) -> None:
    with pytest.raises(ValueError, match="not once"):
        Table(latent_model, [], []).mutated(Mutant(old, "other", "something"))


SOURCE = """
class A:
    @property
    def value(self):
        return 1  # one

    def other(self):
        return 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module in which one text occurs twice."""
    (tmp_path / "a_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("a_module")
    del sys.modules["a_module"]


def test_a_text_needs_to_be_unique_only_in_the_function_that_the_row_names(module: ModuleType) -> None:
    table = Table(module, [], [])
    with pytest.raises(ValueError, match="2 times"):
        table.mutated(Mutant("return 1", "return 2", "a value"))
    assert table.mutated(Mutant("return 1", "return 2", "", within=module.A.value)) == SOURCE.replace("1  #", "2  #")
    assert table.mutated(Mutant("return 1", "return 2", "", within=module.A.other)).endswith("return 2\n")


def test_a_changed_comment_is_no_mistake(module: ModuleType) -> None:
    table = Table(module, [], [])
    assert not table.is_a_change(Mutant("# one", "# two", "a comment"))
    assert table.is_a_change(Mutant("return 1  #", "return 2  #", "a value"))
