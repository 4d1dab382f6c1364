"""Mistakes in the formulas of ``vaekit.model.ladder``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import ladder

TABLE = Table(
    ladder,
    tests=["model/test_ladder.py", "model/test_recipe_pages.py"],
    mutants=[
        Mutant("pz.mean + mean, pz.log_std + log_std", "pz.mean - mean, pz.log_std + log_std", "a residual to the other side"),
        Mutant("pz.mean + mean, pz.log_std + log_std", "mean, pz.log_std + log_std", "a mean that is no residual"),
        Mutant("pz.mean + mean, pz.log_std + log_std", "pz.mean + mean, pz.log_std - log_std", "a wider posterior for a narrower one"),
        Mutant("pz.mean + mean, pz.log_std + log_std", "pz.mean + mean, log_std", "a scale that is no residual"),
        Mutant("self.log_std(coarsest) * self.std_gain", "self.log_std(coarsest)", "a spread at the top that learns fast"),
        Mutant(".clamp(-_MOST_LOG, _MOST_LOG)", "", "a spread at the top without bounds"),
        Mutant("(log_std / _MOST_LOG).tanh()", "(log_std / _MOST_LOG)", "scales without bounds"),
        Mutant("_MOST_LOG * (log_std / _MOST_LOG).tanh()", "log_std.tanh()", "scales within a narrower range"),
        Mutant(".last.weight[mean_rows] *= mean_gain", ".last.weight[mean_rows] *= 1", "a posterior that ignores its gain"),
        Mutant("self.last.weight[std_rows] = 0.0", "pass", "a standard deviation that starts at random"),
        Mutant("self.last.bias[mean_rows] = 0.0", "pass", "a mean that is not zero at the start"),
        Mutant("_FIRST_LOG_RATIO if mean_gain else 0.0", "_FIRST_LOG_RATIO", "a prior that starts narrow"),
        Mutant("wide(self._split(features)[-1])", "wide(self._split(features)[-1]) * 2", "the top is read from other features"),
        Mutant("hidden.unflatten(0, (-1, of_image.shape[0])) + of_image", "hidden.unflatten(0, (-1, of_image.shape[0])) + of_image.flip(0)", "the features of another image"),
        Mutant("(p if q is None else q).from_noise", "p.from_noise", "samples of the prior in training"),
        Mutant("(p if q is None else q).mean", "p.mean", "the latents of an image are those of the prior"),
        Mutant("zip(found.priors, found.z", "zip(found.posteriors, found.z", "the noise of a mean under the posterior itself"),
        Mutant("_joined([found.priors[n] for n in some])", "_joined([found.posteriors[n] for n in some])", "no rate at all"),
        Mutant("found.posteriors or found.priors", "found.priors", "the density of the posterior is that of the prior"),
        Mutant("for own, part in self._met(z)]).sum(0)", "for own, part in self._met(z)]).mean(0)", "a mean of densities over groups"),
        Mutant("level < kept_levels", "level <= kept_levels", "one more level is kept"),
        Mutant("p.mean if pieces is None else", "given[number] if pieces is None else", "all levels are kept without noise"),
        Mutant("self.tempered(noise, temperature)", "noise", "no temperature"),
        Mutant("self.drawn_from().to_noise(z) if keep_detail", "z if keep_detail", "detail keeps its value, not its place in the prior"),
        Mutant("detail = self.drawn_from().to_noise(z)", "detail = self.drawn_from().to_noise(changed)", "the place of detail under the new top"),
        Mutant("ends.index(top.shape[-1]) + 1", "ends.index(top.shape[-1])", "the new top is forgotten"),
        Mutant("target = batch.x if batch.target is None else batch.target", "target = batch.x", "noisy images are compared, not the clean ones"),
    ],
)
