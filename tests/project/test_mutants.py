"""The table of mistakes that ``scripts/mutants.py`` makes fits the sources: each would still be made, and be one."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants = script()


def test_what_each_mutant_replaces_occurs_once_and_what_comes_of_it_is_python() -> None:
    for mutant in mutants.MUTANTS:
        text = mutants.source_of(mutant.module).read_text(encoding="utf-8")
        changed = mutants.mutated(text, mutant)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), f"{mutant}: a comment or spaces"
        assert mutant.breaks


def test_no_mutant_is_there_twice_and_every_module_of_formulas_has_some() -> None:
    made = [mutant[:3] for mutant in mutants.MUTANTS]
    assert len(set(made)) == len(made) >= 400
    modules = {mutant.module for mutant in mutants.MUTANTS}
    of_models = {
        "likelihoods",
        "posteriors",
        "priors",
        "quantizers",
        "flows",
        "conditioning",
        "objectives",
        "latent_model",
    }
    assert modules >= {f"model/{name}" for name in of_models}
    assert modules >= {f"model/distributions/{name}" for name in ("latent", "pixel", "pixel_discrete")}
    assert modules >= {"evaluation/metrics", "latent/fit_prior"}


def test_the_tests_that_are_to_catch_them_exist() -> None:
    for mutant in mutants.MUTANTS:
        assert all((ROOT / name).is_file() for name in mutants._ordered(mutant))


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_row_that_fits_no_more_is_refused(old: str) -> None:
    text = mutants.source_of("model/latent_model").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="not once"):
        mutants.mutated(text, mutants.Mutant("model/latent_model", old, "other", "something"))
