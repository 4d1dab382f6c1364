"""Mistakes in the formulas of ``vaekit.latent.codes``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import codes

TABLE = Table(
    codes,
    tests=["latent/test_codes.py"],
    mutants=[
        Mutant("< grid.count", "<= grid.count", "a code after the last one"),
        Mutant("not 0 <= int", "not -1 <= int", "a code before the first one"),
        Mutant(".unflatten(1, (grid.rows, grid.columns))", ".unflatten(1, (grid.columns, grid.rows)).mT", "columns for rows"),
        Mutant("codes[rows] =", "codes[: rows.stop - rows.start] =", "each batch replaces the first one"),
    ],
)
