"""Mistakes in the formulas of ``vaekit.latent.levels``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import levels

TABLE = Table(
    levels,
    tests=["latent/test_levels.py"],
    mutants=[
        Mutant("sum(model.level_sizes[:levels])", "sum(model.level_sizes[: levels + 1])", "one more level moves"),
        Mutant("return moved\n", "return z\n", "a model without levels does not move"),
        Mutant("keep_detail=what.keeps_detail", "keep_detail=True", "detail is kept, asked for or not"),
        Mutant("keep_detail=what.keeps_detail", "keep_detail=False", "detail is lost, asked for or not"),
        Mutant("model.with_top(own, new[:, :size]", "model.with_top(new, new[:, :size]", "the detail of what was moved, not that of the image"),
        Mutant("model.completed(own, count)", "model.completed(own, count - 1)", "a row shows one level less"),
    ],
)
