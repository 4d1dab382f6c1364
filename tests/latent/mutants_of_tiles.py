"""Mistakes in the formulas of ``vaekit.latent.tiles``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import tiles

TABLE = Table(
    tiles,
    tests=["latent/test_tiles.py"],
    mutants=[
        Mutant("[Window(0, size, 0, size - reach)]", "[Window(0, size, 0, size)]", "the first tile is kept up to its edge"),
        Mutant("min(first - reach, cells - size)", "min(first, cells - size)", "a tile begins where it is kept"),
        Mutant("cells if end == cells else end - reach", "end", "a tile is kept up to its edge"),
        Mutant(".clamp(max=values.shape[dim] - 1)", ".remainder(values.shape[dim])", "an image goes on at its other end"),
        Mutant("plan.windows(plan.reach.encoder)", "plan.windows(0)", "tiles of the encoder that do not overlap"),
        Mutant("plan.windows(plan.reach.decoder)", "plan.windows(0)", "tiles of the decoder that do not overlap"),
        Mutant("f * (rows.first - rows.start) :", "0 :", "the upper rows of a tile are kept, which are another place"),
    ],
)
