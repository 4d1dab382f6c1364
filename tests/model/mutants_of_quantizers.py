"""Mistakes in the formulas of ``vaekit.model.quantizers``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import quantizers

TABLE = Table(
    quantizers,
    tests=["model/test_quantizers.py"],
    mutants=[
        Mutant(".mT).argmax(-1)", ".mT).argmin(-1)", "the farthest vector"),
        Mutant("unit = F.normalize(features, dim=-1)\n", "unit = features\n", "features are not brought to length 1"),
        Mutant("rounded.detach() + (given - given.detach())", "rounded.detach()", "no gradient passes the choice"),
        Mutant("rounded.detach() + (given - given.detach())", "given", "the features for their vectors"),
        Mutant("rounded.detach() + (given - given.detach())", "given + (rounded - given).detach()", "vectors that are rounded once more"),
        Mutant("(unit - chosen.detach()).square()", "(unit.detach() - chosen).square()", "a commitment that moves nothing"),
        Mutant("(unit - chosen.detach()).square()", "(unit + chosen.detach()).square()", "a commitment to the opposite vector"),
        Mutant("self.commitment * squares.sum(-1)", "self.commitment * squares.mean(-1)", "a commitment that is a mean over cells"),
        Mutant("self.uses.lerp_(uses, 1 - _KEEP)", "self.uses.lerp_(uses, _KEEP)", "uses keep what they should forget"),
        Mutant("self.sums.lerp_(sums, 1 - _KEEP)", "self.sums.lerp_(sums, _KEEP)", "vectors keep what they should forget"),
        Mutant("_KEEP = 0.99 ", "_KEEP = 0.9 ", "how long a codebook remembers"),
        Mutant("F.normalize(features.detach(), dim=-1).flatten(0, -2)", "features.detach().flatten(0, -2)", "long features weigh more in a vector"),
        Mutant("        self._revive()\n", "", "vectors that nobody uses stay"),
        Mutant("< _DEAD_SHARE *", "> _DEAD_SHARE *", "vectors that are used are taken for dead"),
        Mutant("descending=True", "descending=False", "dead vectors go to where few are"),
        Mutant("self.uses[often] /= 2\n", "self.uses[often] /= 1\n", "who shares its features keeps its count"),
        Mutant("self.sums[often] + aside", "self.sums[often]", "vectors come back on top of others"),
        Mutant("(self.levels - 1) * (1 + 1e-3) / 2", "self.levels * (1 + 1e-3) / 2", "the half width of levels"),
        Mutant("(self.levels % 2 == 0)", "(self.levels % 2 == 1)", "odd levels are shifted, not even ones"),
        Mutant("(features + self.shift)", "(features - self.shift)", "the sign of the shift of even levels"),
        Mutant(".where(self.levels != 2, nothing)", "", "two levels of which one is never used"),
        Mutant("self._half() - self._offset()", "self._half()", "even levels that reach beyond"),
        Mutant("_straight_through(self._rounded(bounded), bounded)", "bounded", "nothing is rounded"),
        Mutant("self.quantiser.vectors_of(tokens).flatten(-3)", "self.quantiser.vectors_of(tokens.mT).flatten(-3)", "the vectors of columns for those of rows"),
        Mutant("torch.maximum(bounded.round(), -(self.levels // 2))", "bounded.round()", "a level below the lowest of many"),
        Mutant("(self.levels - 1) // 2)\n", "self.levels)\n", "a level above the highest of many"),
        Mutant("setdefault(f\"{prefix}shift\", self._shift_of_the_paper())", "setdefault(f\"{prefix}shift\", self.shift)", "old runs of two levels have other codes"),
        Mutant("math.prod(levels[:i])", "math.prod(levels[i + 1 :])", "the places of digits, from the other end"),
        Mutant(".flatten(2).mT.contiguous()", ".flatten(2).reshape(len(features), -1, self.quantiser.size)", "cells that mix their neighbors"),
        Mutant("return self._of(qz.features)", "return qz", "tokens of the codebook before it moved"),
        Mutant("{\"commitment\": self.commitment}", "{\"commitment\": -self.commitment}", "the sign of the commitment"),
    ],
)
