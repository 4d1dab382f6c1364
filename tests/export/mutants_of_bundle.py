"""Mistakes in the formulas of ``vaekit.export.bundle``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.export import bundle

TABLE = Table(
    bundle,
    tests=["export/test_codes_export.py", "export/test_export.py"],
    mutants=[
        Mutant("(found != codes).mean()", "(found != codes).max()", "one other code is as bad as all"),
        Mutant("(found != codes).mean()", "(found == codes).mean()", "the share of equal codes"),
        Mutant('session.decode(expected["sampled_codes"]) - expected["pictures"]', 'session.decode(codes) - expected["round_trips"]', "pictures of samples are not compared"),
        Mutant("(array >= 0) & (array < grid.count)", "array < grid.count", "negative codes of a stranger"),
        Mutant("(array >= 0) & (array < grid.count)", "array >= 0", "codes of a stranger beyond the last"),
        Mutant("% (grid.rows * grid.columns) == 0", ">= 0", "a size of latents that is not one of cells"),
        Mutant("{\"codes\": CODE_SHARES[precision], \"pictures\": allowed[\"pictures\"]} if has_codes", "{\"codes\": allowed[\"latents\"], \"pictures\": allowed[\"pictures\"]} if has_codes", "the tolerance of latents for a share of codes"),
    ],
)
