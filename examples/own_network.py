"""A network of your own: an encoder and a decoder, which are ordinary PyTorch modules.

vaekit train digits --import examples/own_network.py --set net=mine
"""

import math

from torch import nn

import vaekit as vk


@vk.register_network("mine")
class Mine(vk.Network):
    def encoder(self, shape):  # images [B, C, H, W] -> features [B, F]
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 128), nn.SiLU())

    def decoder(self, shape, latent_dim):  # latents [B, latent_dim] -> [B, C, H, W]
        last = nn.Linear(128, math.prod(shape))
        return nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), last, nn.Unflatten(1, shape))
