"""A likelihood of your own: Student's t density of each pixel value, which forgives outliers more than a normal does.

log p(x) = log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(πν) − log σ − (ν+1)/2 log(1 + ((x − m)/σ)²/ν)

vaekit train digits --import examples/own_likelihood.py --likelihood student-t
"""

import math

import torch
from torch import nn

import vaekit as vk

DEGREES = 4.0  # ν: the fewer, the heavier the tails


class StudentT(vk.PixelDistribution):
    def __init__(self, mean, log_scale):
        self.mean, self.log_scale = mean, log_scale

    def log_prob_map(self, x):  # [..., C, H, W], nats
        constant = math.lgamma((DEGREES + 1) / 2) - math.lgamma(DEGREES / 2) - 0.5 * math.log(math.pi * DEGREES)
        squares = ((x - self.mean) * (-self.log_scale).exp()).square()
        return constant - self.log_scale - (DEGREES + 1) / 2 * torch.log1p(squares / DEGREES)


@vk.register_likelihood("student-t")
class StudentTLikelihood(vk.Likelihood):
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.5))

    def forward(self, output):  # of the decoder, [..., C, H, W]
        return StudentT(output + 0.5, self.log_scale.clamp(min=-5))
