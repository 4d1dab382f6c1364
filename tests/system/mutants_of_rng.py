"""Mistakes in the formulas of ``vaekit.system.rng``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.system import rng

TABLE = Table(
    rng,
    tests=["system/test_rng.py"],
    mutants=[
        Mutant("tobytes(), digest_size=8)", "tobytes()[:1], digest_size=8)", "images that begin alike have the same noise"),
    ],
)
