"""
The latent is a grid: each cell describes a block of pixels with a few numbers. An image then has hundreds or thousands
of latent numbers instead of 128, so reconstructions are much sharper than those of `vae`. The loss is again the
negative evidence lower bound (Kingma & Welling 2014, Eq. 10):

    loss = −E[log p(x|z)] + KL(q(z|x) ‖ p(z))

- The encoder and the decoder are fully convolutional, as in the autoencoder of a latent diffusion model (Rombach et al.
  2022, Sec. 3.1). That work gives the KL term a weight of about a millionth. Here, the weight is 1 and the scale of the
  pixels is learned, so the loss is a true bound.
- `downsampling` is the side of a block of pixels (4, 8 or 16; by default it depends on the image size), and
  `latent_channels` is the number of values per cell.
- The prior is a standard normal, independent for each number. It does not know how neighboring cells belong together.
  Samples therefore look like texture. `vaekit fit-prior` trains a prior for the whole grid afterward.
- No weight depends on the image size. `vaekit reconstruct RUN photo.png --tiled` takes images that are larger than the
  training images. It uses overlapping tiles. Up to rounding, the result equals one pass over the whole image.
"""

import math


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²) for each number of each cell. The encoder returns the means of all cells, then the rest.
    mean, log_std = encoder(x).chunk(2, dim=1)
    log_std = 0.125 * log_std
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, I)) = ½ Σ (mean² + std² − log std² − 1) (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 2 * log_std - 1).sum(1)

    return distortion + ramp * rate  # Kingma & Welling 2014, Eq. 10
