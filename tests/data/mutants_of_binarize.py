"""Mistakes in the formulas of ``vaekit.data.binarize``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.data import binarize

TABLE = Table(
    binarize,
    tests=["data/test_binarize.py"],
    mutants=[
        Mutant("image >= 128", "image > 128", "a threshold above one half"),
        Mutant("_uniform(image) < image", "_uniform(image) > image", "black for white"),
        Mutant("(255 * 2.0**-53)", "(256 * 2.0**-53)", "white that is not always white"),
        Mutant("int.from_bytes(hashlib", "0 * int.from_bytes(hashlib", "the same draws for every image"),
    ],
)
