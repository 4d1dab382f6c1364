"""Mistakes in the formulas of ``vaekit.model.posteriors``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import posteriors

TABLE = Table(
    posteriors,
    tests=["model/test_likelihoods.py"],
    mutants=[
        # heads
        Mutant("self.log_std(features) * self.std_gain", "self.log_std(features)", "the gain of a posterior's log std"),
        Mutant("self.log_std(features) * self.std_gain", "-self.log_std(features) * self.std_gain", "the sign of a posterior's log std"),
        Mutant("self.log_std(features) * self.std_gain", "self.log_std(features) * self.std_gain / 2", "a head of log variances"),
        # moved normals
        Mutant("self.context(features).relu()", "self.context(features)", "the context of a flow is not bent"),
    ],
)
