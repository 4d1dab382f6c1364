"""Mistakes in the formulas of ``vaekit.model.conditioning``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import conditioning

TABLE = Table(
    conditioning,
    tests=["model/test_conditioning.py"],
    mutants=[
        Mutant("draws[:, :1] >= _HIDE_ALL", "draws[:, :1] < _HIDE_ALL", "nine in ten are told nothing"),
        Mutant("(draws[:, 1:] >= _HIDE_EACH)", "(draws[:, :-1] >= _HIDE_EACH)", "parts are hidden together with their neighbors"),
        Mutant("& (draws[:, 1:]", "| (draws[:, 1:]", "parts are hidden only where all are"),
        Mutant("_HIDE_ALL, _HIDE_EACH = 0.1, 0.1", "_HIDE_ALL, _HIDE_EACH = 0.1, 0.2", "how often a part is hidden"),
        Mutant("/ (condition.high - condition.low)", "/ condition.high", "numbers that do not reach one"),
        Mutant("(values[known] - condition.low)", "values[known]", "numbers that do not begin at zero"),
        Mutant("part[known, -1] = 1", "part[:, -1] = 1", "what is not known is said to be"),
    ],
)
