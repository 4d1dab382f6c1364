"""Mistakes in the formulas of ``vaekit.model.nets.grid``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model.nets import grid

TABLE = Table(
    grid,
    tests=["model/test_latent_grid.py"],
    mutants=[
        # how far a cell looks
        Mutant("2 * self.depth * sum(strides)", "self.depth * sum(strides)", "a block of one convolution"),
        Mutant("2 * self.depth * sum(strides)", "2 * sum(strides)", "one block on each level"),
        Mutant("self.patch << level", "self.patch", "blocks that all work on the finest level"),
        Mutant("sum(strides) + self.downsampling", "sum(strides)", "the convolution at the latent is forgotten"),
        Mutant("math.ceil((inner + outer) / self.downsampling)", "(inner + outer) // self.downsampling", "a part of a cell is not seen"),
        Mutant("self.patch * (self.kernel // 2)", "self.patch", "a convolution of 1 × 1 that looks further"),
        # sizes
        Mutant("math.ceil(sides[0] / downsampling)", "sides[0] // downsampling", "the lower edge has no cell"),
        Mutant("return 2 * math.prod", "return math.prod", "features without standard deviations"),
        Mutant("(self.downsampling // self.patch).bit_length() - 1", "(self.downsampling // self.patch).bit_length() - 2", "a level is missing"),
        # pixels
        Mutant('(0, right, 0, bottom), mode="replicate"', "(0, right, 0, bottom)", "black borders"),
        Mutant("(-side % self.downsampling for side in x.shape[2:])", "(side % self.downsampling for side in x.shape[2:])", "as many pixels are added as are too many"),
    ],
)
