"""Mistakes in the formulas of ``vaekit.model.latent_model``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import latent_model

TABLE = Table(
    latent_model,
    tests=["model/test_latent_model.py", "model/test_linear_gaussian.py", "model/test_quantizers.py", "model/test_token_priors.py", "model/test_recipe_pages.py", "model/test_latent_grid.py", "model/test_ladder.py", "latent/test_ops.py", "latent/test_codes.py"],
    mutants=[
        # models
        Mutant("target = batch.x if batch.target is None else batch.target", "target = batch.x", "noisy images are compared, not the clean ones"),
        Mutant("if self.training and not self._is_observed", "if not self._is_observed", "a fitted prior follows what it is evaluated on"),
        Mutant("if self.training and not self._is_observed", "if self.training", "what follows a batch is shown its pieces too"),
        Mutant("noise if source is None else source.from_noise(noise)", "noise", "the noise is decoded, not a sample of the prior"),
        Mutant("px = self.decode(z, batch.condition)", "px = self.decode(qz.mean.expand(z.shape), batch.condition)", "the decoder sees the mean, not the sample"),
        Mutant("F.adaptive_avg_pool2d(", "F.adaptive_max_pool2d(", "images are compared by the largest numbers of a grid"),
        Mutant("torch.linalg.pinv(pool.mT)", "pool", "parts of a grid are raised by too little"),
        Mutant("(min(side, _SUMMARY_CELLS) for side in grid.shape[2:])", "(1, 1)", "images are compared without regard to places"),
        Mutant("grid = grid.movedim(-1, 1)", "pass", "the numbers of a vector are averaged, not those of neighboring cells"),
        # what is told
        Mutant("_told(z, condition).flatten(0, -2)", "_told(z, None).flatten(0, -2)", "the decoder is told nothing"),
        Mutant("self._told(self._through(self.encoder, x), condition)", "self._told(self._through(self.encoder, x), None)", "the encoder is told nothing"),
        Mutant("self.prior(self, batch.condition)", "self.prior(self)", "the prior is told nothing"),
        Mutant("None if prior is None else prior(self, condition)", "None if prior is None else prior(self)", "what is drawn from is told nothing"),
        Mutant("source.from_noise(noise), condition)", "source.from_noise(noise), None)", "the decoder of samples is told nothing"),
        Mutant("self.prior if self.fitted_prior is None else self.fitted_prior", "self.prior", "what was fitted is not drawn from"),
        Mutant("qz = self.posterior.renewed(qz)", "pass", "words of the codebook before it moved, in training"),
        Mutant("(self.decoder_l2 * squares).expand(count)", "(self.decoder_l2 * squares / count).expand(count)", "a penalty of weights that is divided by the batch"),
        Mutant("p.square().sum() for p", "p.square().mean() for p", "a penalty of weights that is a mean"),
        Mutant("return noise * temperature", "return noise / temperature", "a low temperature is a high one"),
        Mutant("[piece * factor for piece, factor in pieces]", "[piece / factor for piece, factor in pieces]", "low temperatures of levels are high ones"),
    ],
)
