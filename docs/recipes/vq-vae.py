"""
The latent is a grid of codes. The encoder gives each cell a vector e. Of 512 codebook vectors, the one with the
smallest angle to e, called c, replaces e. The decoder sees only c. This choice has no gradient, so e receives the
gradient of c (straight-through). A commitment term keeps e close to c (van den Oord et al. 2017, Eq. 3):

    loss = −log p(x|z) − log p(codes) + 0.25 ‖e − c‖²

The codebook vectors are running means of the vectors e that they replaced (van den Oord et al. 2017, Appendix A.1). The
optimizer does not change them.

The encoder is deterministic, so the rate is −log p(codes). The prior p is a causal transformer that predicts each
code from the codes before it. It is trained together with the networks, but the gradient of the rate reaches only the
prior. New images are sampled code by code, row by row. Keys and values are cached, so each code is computed once.
"""

import math

import torch
from torch.nn.functional import layer_norm, linear, normalize


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
    # The cells [B, P, 8] of the grid, normalized to length 1 (Yu et al. 2022, Sec. 3.2), and the nearest codebook
    # vector of each (van den Oord et al. 2017, Eq. 1).
    project = w["posterior.project.weight"].flatten(1)  # a 1×1 convolution: the same layer in every cell
    cells = linear(encoder(x).unflatten(1, (project.shape[1], -1)).mT, project, w["posterior.project.bias"])
    cells = normalize(cells, dim=2)
    vectors = normalize(w["posterior.quantiser.vectors"], dim=1)
    words = (cells @ vectors.mT).argmax(2)
    chosen = vectors[words]
    z = (cells + (chosen - cells).detach()).flatten(1)  # the chosen vectors; gradient of the cells

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    commitment = 0.25 * ((cells - chosen) ** 2).sum((1, 2))  # van den Oord et al. 2017, Eq. 3, the last term
    return distortion - ramp * log_prior(words, w) + commitment
