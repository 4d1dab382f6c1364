"""Mistakes in the formulas of ``vaekit.latent.paths``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import paths

TABLE = Table(
    paths,
    tests=["latent/test_ops.py", "latent/test_traversal.py", "latent/test_levels.py"],
    mutants=[
        Mutant("((1 - weights) * angle).sin() * units[0]", "(weights * angle).sin() * units[0]", "a spherical path begins elsewhere"),
        Mutant("along = turned * (lengths[0] * (1 - weights)", "along = turned * (lengths[0] * weights", "the length of a spherical path"),
        Mutant("return a * (1 - weights) + b * weights", "return a * weights + b * (1 - weights)", "a straight path the other way"),
        Mutant("spherical(a, b, weights) if what.keeps_detail", "_linear(a, b, weights) if what.keeps_detail", "detail that is weak on the way"),
        Mutant("spherical(a, b, weights) if what.keeps_detail", "spherical(b, a, weights) if what.keeps_detail", "detail that goes the other way"),
        Mutant("spherical(a, b, weights) if what.keeps_detail else torch.zeros_like(_linear(a, b, weights))", "spherical(a, b, weights)", "detail that is kept, asked for or not"),
        Mutant("][what.levels :]", "][: len(model.level_sizes) - what.levels]", "the noise of the wrong levels"),
        Mutant("_linear(z_a, z_b, weights)[..., :size]", "_linear(noise_a, noise_b, weights)[..., :size]", "a straight line in the noise"),
        Mutant("kept, top = what.levels, _linear", "kept, top = 0, _linear", "latents that are taken for noise"),
        Mutant("kept, top = 0, spherical(", "kept, top = what.levels, spherical(", "noise that is taken for latents"),
        Mutant("kept, noise=z)", "kept)", "detail that is forgotten"),
    ],
)
