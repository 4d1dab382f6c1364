"""Mistakes in the formulas of ``vaekit.latent.directions``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import directions

TABLE = Table(
    directions,
    tests=["latent/test_directions.py"],
    mutants=[
        Mutant("return left @ z / (left @ t)", "return left @ z / (t @ t)", "an adjusted direction has another length"),
        Mutant("t - design @ torch", "t + design @ torch", "the sign of what other columns explain"),
        Mutant("inside - alone @ (alone.mT @ inside)", "inside + alone @ (alone.mT @ inside)", "what a column alone reaches is held equal twice"),
        Mutant("/ self._scales[:, None]", "* self._scales[:, None]", "the direction that only one column reaches"),
        Mutant("difference = with_.mean(0) - without.mean(0)", "difference = without.mean(0) - with_.mean(0)", "directions point away"),
        Mutant("ridge = _SHRINKAGE", "ridge = 1e-9 * _SHRINKAGE", "a discriminant that is not regularized"),
        Mutant("rows.mT @ rows + ridge", "rows.mT @ rows - ridge", "the sign of the regularization"),
        Mutant("rows @ rows.mT + ridge", "rows @ rows.mT - ridge", "the sign of the regularization, for few latents"),
        Mutant("(vector - rows.mT @ inner) / ridge", "(vector + rows.mT @ inner) / ridge", "the sign in Woodbury's identity"),
        Mutant("normal * (normal @ difference) / (normal @ normal)", "normal / (normal @ normal)", "the length of a classifier's direction"),
        Mutant("vector - basis @ (basis.mT @ vector)", "vector + basis @ (basis.mT @ vector)", "the sign of a projection"),
        Mutant("(tested[truth == 1] > threshold)", "(tested[truth == 1] < threshold)", "the accuracy of a direction counts what is told wrong"),
        Mutant("(fitted[has == 1].mean() + fitted[has == 0].mean()) / 2", "fitted[has == 1].mean()", "the threshold of a direction lies at one mean"),
        Mutant("np.where(values == \"\", np.nan, values == string)", "np.where(values == \"\", 0.0, values == string)", "what is not known counts as without"),
    ],
)
