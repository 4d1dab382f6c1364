"""
The latent is a grid of codes, as in `vq-vae`, but without a codebook. Each cell holds three numbers. Each number is
limited to an interval and rounded to one of eight values, so there are 8³ = 512 codes (Mentzer et al. 2024, Sec.
3.1):

    loss = −log p(x|z) − log p(codes)

The gradient passes through the rounding unchanged (straight-through). No commitment term is needed. There are no
codebook vectors that may end up far from all cells, so codes do not stay unused.

The rate and the prior are those of [`vq-vae`](#vq-vae).
"""

import math

import torch
from torch.nn.functional import layer_norm, linear


def dense(h, w, name):
    return linear(h, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(h, w, name):
    return layer_norm(h, h.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def log_prior(words, w):
    # Σᵢ log p(codeᵢ | codes before i) [B], by a causal transformer with two layers and four heads (Vaswani et al.
    # 2017).
    table = w["prior.words.weight"]  # its last row is the start token
    before = torch.cat([torch.full_like(words[:, :1], len(table) - 1), words[:, :-1]], 1)
    h = table[before] + w["prior.places"]
    is_later = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool).triu(1)
    for layer in ("prior.layers.layers.0", "prior.layers.layers.1"):
        part = f"{layer}.self_attn.in_proj_"
        qkv = linear(norm(h, w, f"{layer}.norm1"), w[f"{part}weight"], w[f"{part}bias"])
        q, k, v = (each.unflatten(2, (4, -1)).transpose(1, 2) for each in qkv.chunk(3, 2))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(is_later, -math.inf)
        h = h + dense((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), w, f"{layer}.self_attn.out_proj")
        h = h + dense(dense(norm(h, w, f"{layer}.norm2"), w, f"{layer}.linear1").relu(), w, f"{layer}.linear2")
    log_p = dense(norm(h, w, "prior.layers.norm"), w, "prior.last").log_softmax(2)
    return log_p.gather(2, words.unsqueeze(2)).sum((1, 2))


def loss(x, noise, ramp, encoder, decoder, w):
    # The cells [B, P, 3] of the grid, limited to [−4, 3], so that rounding gives one of eight values. The shift keeps 0
    # at 0 (Mentzer et al. 2024, Sec. 3.1 and Appendix A.1).
    project = w["posterior.project.weight"].flatten(1)  # a 1×1 convolution: the same layer in every cell
    cells = linear(encoder(x).unflatten(1, (project.shape[1], -1)).mT, project, w["posterior.project.bias"])
    half = 1.001 * 7 / 2
    pressed = half * (cells + math.atanh(0.5 / half)).tanh() - 0.5
    digits = pressed.round()
    z = (pressed + (digits - pressed).detach()).flatten(1) / 4  # the rounded numbers; gradient of the limited ones
    words = (digits.long() + 4) @ torch.tensor([1, 8, 64])

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    return distortion - ramp * log_prior(words, w)
