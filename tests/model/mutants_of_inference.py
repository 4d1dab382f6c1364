"""Mistakes in the formulas of ``vaekit.model.inference``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import inference

TABLE = Table(
    inference,
    tests=["model/test_latent_model.py", "model/test_linear_gaussian.py", "model/test_objectives.py"],
    mutants=[
        Mutant("[level.log_qz for level", "[level.log_pz for level", "log p(z) for log q(z|x)"),
        Mutant("[level.log_pz for level", "[level.log_qz for level", "log q(z|x) for log p(z)"),
        Mutant("(self.log_qz - self.log_pz)", "(self.log_qz + self.log_pz)", "the sign of log p(z) in a sampled divergence"),
        Mutant("self.log_pz).mean(0)", "self.log_pz).sum(0)", "a sampled divergence summed over samples"),
        Mutant("total = total + term", "total = term", "the last level alone"),
    ],
)
