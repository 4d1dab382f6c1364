"""How long does a sample from the prior of a grid of codes take, and how does the time grow with the grid?

    python bench/code_sampling.py --rounds 5

The prior is the autoregressive one of `vq-vae`, with random weights and 512 codes. Two samplers take turns on the same
noise, in batches of the size that `vaekit generate` uses:

    cached     the library: the keys and values of earlier cells are kept, and each cell is computed once
    uncached   tests/support/uncached.py: for every cell, a pass over all cells so far; on 32×32, one image at a time

Times are processor times of one thread, so other processes affect them little. The load average before and after is
recorded. The result also counts the codes in which the two differ. The exponent e in time ∝ cellsᵉ is a least-squares
fit to the logarithms, over all grids and over the two largest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from headline import Headline
from machine import write_result
from torch import Tensor
from turns import take_turns

from vaekit.latent.ops import GENERATED_AT_ONCE
from vaekit.model.quantizers import VectorQuantizer
from vaekit.model.token_priors import AutoregressiveTokens, TokenDistribution

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import uncached  # noqa: E402

SIDES, CODES, CODE_DIM = (4, 8, 16, 32), 512, 8
ONE_BY_ONE = 32  # from this side on, the slow sampler draws one image instead of all: minutes instead of an hour
SHOWN = "16x16"
SAMPLERS: dict[str, Callable[[TokenDistribution, Tensor], Tensor]] = {
    "cached": TokenDistribution.from_noise,
    "uncached": uncached.from_noise,
}


def prior_of(cells: int) -> TokenDistribution:
    """A prior whose weights are not those of the start, which make all codes equally probable."""
    torch.manual_seed(0)
    prior = AutoregressiveTokens(cells, CODES).eval().requires_grad_(False)
    torch.nn.init.normal_(prior.last.weight, std=0.3)
    return TokenDistribution(prior, VectorQuantizer(CODES, CODE_DIM))


@torch.inference_mode()
def measure(side: int, images: int, rounds: int) -> dict[str, Any]:
    """Processor seconds per image of both samplers on a square grid, and the codes in which they differ."""
    pz, codes = prior_of(side**2), {}
    at_once = {"cached": images, "uncached": 1 if side >= ONE_BY_ONE else images}

    def sampler(name: str) -> Callable[[int], float]:
        def measured(turn: int) -> float:
            noise = torch.randn(images, side**2 * CODE_DIM, generator=torch.Generator().manual_seed(turn))
            before = time.process_time()
            z = SAMPLERS[name](pz, noise[: at_once[name]])
            seconds = (time.process_time() - before) / at_once[name]
            codes[name, turn] = pz.quantizer.tokens_of(z.unflatten(1, (-1, CODE_DIM)))
            print(f"{side}x{side}, round {turn + 1}: {name} {1e3 * seconds:.2f} ms per image", flush=True)
            return seconds

        return measured

    prior_of(16).from_noise(torch.zeros(images, 16 * CODE_DIM))  # not counted: loads what torch loads on first use
    seconds = take_turns({name: sampler(name) for name in SAMPLERS}, rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = [(codes["cached", turn][: at_once["uncached"]], codes["uncached", turn]) for turn in range(rounds)]
    return {
        "cells": side**2,
        "images_at_once": at_once,
        "seconds_per_image": seconds,
        "median_seconds_per_image": medians,
        "uncached_over_cached": medians["uncached"] / medians["cached"],
        "codes_compared": sum(a.numel() for a, _ in pairs),
        "codes_that_differ": sum(int((a != b).sum()) for a, b in pairs),
    }


def exponents(grids: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The exponent of each sampler, over all grids and over the last two."""
    rows = list(grids.values())

    def fitted(name: str, some: list[dict[str, Any]]) -> float:
        cells = [row["cells"] for row in some]
        seconds = [row["median_seconds_per_image"][name] for row in some]
        return float(np.polyfit(np.log(cells), np.log(seconds), 1)[0])

    return {name: {"all_grids": fitted(name, rows), "last_two": fitted(name, rows[-2:])} for name in SAMPLERS}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """The time of one grid, and how it grows."""
    what = f"Prior of `vq-vae`, {result['codes']} codes, {result['images_at_once']} images at once"
    slow = "with a pass over all earlier cells for every cell"
    median = result["grids"][SHOWN]["median_seconds_per_image"]
    rows, columns = SHOWN.split("x")
    yield Headline(
        f"{what}: processor time to sample a grid of {rows}×{columns} codes, per image",
        f"{1e3 * median['cached']:.1f} ms",
        f"{slow}: {1e3 * median['uncached']:.0f} ms",
    )
    first, last = (name.replace("x", "×") for name in (list(result["grids"])[0], list(result["grids"])[-1]))
    fitted = {name: each["all_grids"] for name, each in result["exponents"].items()}
    yield Headline(
        f"{what}: exponent of this time in the number of cells, from {first} to {last}",
        f"{fitted['cached']:.2f}",
        f"linear: 1; {slow}: {fitted['uncached']:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="sides of the square grids")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, load = GENERATED_AT_ONCE, [os.getloadavg()[0]]
    grids = {f"{side}x{side}": measure(side, images, given.rounds) for side in given.sides}
    result: dict[str, Any] = {"images_at_once": images, "codes": CODES, "rounds": given.rounds, "grids": grids}
    result |= {"exponents": exponents(grids), "load_average": [*load, os.getloadavg()[0]]}
    print(result["exponents"])
    print(f"written to {write_result('code_sampling', result, headlines).name}")


if __name__ == "__main__":
    main()
