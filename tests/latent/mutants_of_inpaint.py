"""Mistakes in the formulas of ``vaekit.latent.inpaint``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.latent import inpaint

TABLE = Table(
    inpaint,
    tests=["latent/test_inpaint.py"],
    mutants=[
        Mutant("return -log_px.masked_fill(hidden, 0.0)", "return log_px.masked_fill(hidden, 0.0)", "visible pixels that are made improbable"),
        Mutant("log_px.masked_fill(hidden, 0.0)", "log_px.masked_fill(~hidden, 0.0)", "the hidden pixels are read"),
        Mutant("px.log_prob_map(x) * px.widening(_TRUSTED_SCALE).to(x.device)", "px.log_prob_map(x)", "a sharp likelihood is trusted"),
        Mutant("-around.log_prob(latent - z)", "-around.log_prob(latent)", "held by the mean of all latents"),
        Mutant("lambda z: -prior.log_prob(z)", "lambda z: prior.log_prob(z)", "improbable latents"),
        Mutant("0.5 * z[..., size:].square().sum(-1) -", "z[..., size:].square().sum(-1) -", "the finer levels are held twice"),
        Mutant("0.5 * z[..., size:].square().sum(-1) - around", "0.5 * z.square().sum(-1) - around", "the top level is held by the prior too"),
        Mutant("z[..., :size] - noise[..., :size]", "z[..., :size]", "the top level is not held by the latent it starts from"),
        Mutant("_spread(latents[:, :size])", "_spread(noise.flatten(0, 1)[:, :size])", "held by the spread of the starts"),
        Mutant("lambda z: 0.5 * z.square().sum(-1), prior.from_noise", "lambda z: z.square().sum(-1), prior.from_noise", "a hierarchy without latents is held twice"),
        Mutant("model.decode(start.latents(z)), x, hidden) + start", "model.decode(z), x, hidden) + start", "noise that is taken for latents"),
        Mutant("1e-3 * variance * torch.eye", "1e-1 * variance * torch.eye", "a spread that is too round"),
    ],
)
