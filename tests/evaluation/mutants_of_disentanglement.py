"""Mistakes in the formulas of ``vaekit.evaluation.disentanglement``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import disentanglement

TABLE = Table(
    disentanglement,
    tests=["evaluation/test_disentanglement.py"],
    mutants=[
        Mutant("return best - second", "return best", "a gap that is the best score"),
        Mutant("np.log(joint[seen] / apart[seen])", "np.log(apart[seen] / joint[seen])", "the sign of the information"),
        Mutant("_gap(known) / mutual_information_nats(factor.bins, factor.bins)", "_gap(known)", "a gap of information in nats"),
        Mutant("= 1 + (share", "= 1 - (share", "the sign of an entropy"),
        Mutant("float(importance.mean(1) @ concentration(importance))", "float(concentration(importance).mean())", "disentanglement that counts every code the same"),
        Mutant("concentration(importance.T)", "concentration(importance)", "completeness that is of latents"),
        Mutant("order[::2], order[1::2]", "order[::2], order[::2]", "predictors that are held to what they were fitted on"),
        Mutant("float((z @ v) ** 2 / max((z @ z) * (v @ v), 1e-300))", "float(abs(z @ v) / max((z @ z) * (v @ v), 1e-300) ** 0.5)", "a correlation that is not squared"),
        Mutant("max_leaf_nodes=leaves, class_weight=\"balanced\"", "max_leaf_nodes=leaves", "thresholds that are set for what is frequent"),
        Mutant(".var(1).argmin(1)", ".var(1).argmax(1)", "the vote of the code that varies most"),
        Mutant("latents[:, is_active] / std[is_active]", "latents[:, is_active]", "variances that are not relative"),
        Mutant("std >= _LEAST_STD * std.max()", "std >= 0", "inactive latents vote"),
    ],
)
