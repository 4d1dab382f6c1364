"""Mistakes in the formulas of ``vaekit.model.posteriors``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import posteriors

TABLE = Table(
    posteriors,
    tests=["model/test_likelihoods.py", "model/test_latent_grid.py"],
    mutants=[
        # heads
        Mutant("self.log_std(features) * self.std_gain", "self.log_std(features)", "the gain of a posterior's log std"),
        Mutant("self.log_std(features) * self.std_gain", "-self.log_std(features) * self.std_gain", "the sign of a posterior's log std"),
        Mutant("self.log_std(features) * self.std_gain", "self.log_std(features) * self.std_gain / 2", "a head of log variances"),
        # grids
        Mutant("DiagonalNormal(mean, log_std * self.std_gain)", "DiagonalNormal(mean, log_std)", "the gain of a grid's log std"),
        Mutant("DiagonalNormal(mean, log_std * self.std_gain)", "DiagonalNormal(log_std, mean * self.std_gain)", "means for log stds"),
        # moved normals
        Mutant("self.context(features).relu()", "self.context(features)", "the context of a flow is not bent"),
    ],
)
