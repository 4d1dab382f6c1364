"""Mistakes in the formulas of ``vaekit.model.contracts``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import contracts

TABLE = Table(
    contracts,
    tests=["model/test_objectives.py", "model/test_linear_gaussian.py", "model/test_recipe_pages.py"],
    mutants=[
        Mutant("-self.distortion - self.rate", "-self.distortion + self.rate", "the sign of the rate in the bound"),
        Mutant("-self.distortion - self.rate", "-self.loss", "the bound is minus the loss"),
        Mutant("distortion = -over_samples(inference.log_px)", "distortion = over_samples(inference.log_px)", "the sign of the distortion"),
        Mutant("torch.cat(inference.kl, dim=-1).sum(-1)", "torch.cat(inference.kl, dim=-1).mean(-1)", "the rate is a mean over dimensions"),
        Mutant("return Terms(loss, distortion, rate)", "return Terms(loss, distortion, None if rate is None else loss - distortion)", "the rate is what is charged"),
        Mutant("else terms.mean(0)", "else terms.sum(0)", "a sum over samples"),
        Mutant("else terms.mean(0)", "else terms[0]", "the first sample for all"),
        Mutant("loss = loss + penalty", "loss = loss - penalty", "the sign of penalties"),
    ],
)
