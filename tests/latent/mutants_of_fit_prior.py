"""Mistakes in the formulas of ``vaekit.latent.fit_prior``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import fit_prior

TABLE = Table(
    fit_prior,
    tests=["latent/test_fit_prior.py"],
    mutants=[
        Mutant("== _HELD_OUT - 1", "!= _HELD_OUT - 1", "fitted to a tenth of the latents"),
        Mutant("latents[~is_held].double(), latents[is_held].double()", "latents.double(), latents[is_held].double()", "latents that are held out are fitted to"),
        Mutant("log_prob(scaled[1]) - std.log().sum()", "log_prob(scaled[1]) + std.log().sum()", "the sign of the change of units"),
        Mutant("prior(None).log_prob(held.float())", "prior(None).log_prob(train.float())", "nats of what was fitted to"),
        Mutant("best = max(fits, key=", "best = min(fits, key=", "the number of components that suits held-out latents least"),
        Mutant("_nats(fits[count], held.float())", "_nats(fits[count], train.float())", "the number of components that suits what was fitted to"),
        Mutant("torch.from_numpy(fitted.weights_).log()", "torch.from_numpy(fitted.weights_)", "weights for log weights of a fitted mixture"),
        Mutant("torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))", "torch.from_numpy(fitted.covariances_)", "covariances for their factors"),
        Mutant("ComposedTransform(plain.transform, scaling)", "ComposedTransform(scaling, plain.transform)", "latents are scaled on the wrong side of a flow"),
        Mutant("AffineTransform(self.mean, self.std, ", "AffineTransform(self.mean, self.std.square(), ", "latents are stretched by their variance"),
        Mutant("(-prior().log_prob(", "(prior().log_prob(", "a flow that flees the latents"),
        Mutant("if nats > best:", "if True:", "the last step of a flow, not the best"),
        Mutant("centered.mT @ centered / len(scaled)", "centered.mT @ centered", "the normal that is compared with is too wide"),
    ],
)
