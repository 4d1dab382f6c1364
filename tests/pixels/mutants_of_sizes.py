"""Mistakes in the formulas of ``vaekit.pixels.sizes``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.pixels import sizes

TABLE = Table(
    sizes,
    tests=["pixels/test_sizes.py"],
    mutants=[
        Mutant("min(ratio, wanted) / max(ratio, wanted)", "ratio / wanted", "a crop of tall pictures keeps all of them"),
        Mutant("size[1] / size[0]", "size[0] / size[1]", "a size has its width first"),
        Mutant("if kept >= _LEAST_KEPT", "if kept <= _LEAST_KEPT", "a crop is said where it is small"),
    ],
)
