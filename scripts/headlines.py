"""The five figures that README shows, each read from one result of ``bench/results``.

``docs/benchmarks.md`` has every measurement, with its baselines and its script.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["HEADLINES", "Headline"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Headline:
    """A row of README: what was measured, and how the figure is read from ``bench/results/{result}.json``."""

    what: str
    result: str
    figure: Callable[[dict[str, Any]], str]

    def row(self) -> str:
        """The row as Markdown."""
        path = f"bench/results/{self.result}.json"
        found = json.loads((ROOT / path).read_text(encoding="utf-8"))
        return f"| {self.what} | {self.figure(found)} | [{self.result}.json]({path}) |"


def _speed(r: dict[str, Any]) -> str:
    over = r["cases"]["seed-ae, batch 32"]["vaekit_over"]
    return f"{over['literal']:.2f} of a plain PyTorch loop, {over['pythae']:.2f} of pythae"


def _memory(r: dict[str, Any]) -> str:
    return f"{r['peak_rss_anon_bytes'] / 1e9:.2f} GB for {r['pixel_bytes'] / 1e9:.1f} GB of pixels"


def _kills(r: dict[str, Any]) -> str:
    runs = sum(each["runs"] for each in r["recipes"].values())
    return f"{r['kills']} kills in {runs} runs; {r['runs_that_differ']} end with other weights"


def _likelihood(r: dict[str, Any]) -> str:
    found = r["results"]["k=5"]
    return f"{found['nll_nats']:.1f} ± {found['nll_nats_error']:.1f} nats; published: {found['published_nll_nats']:.1f}"


def _edit(r: dict[str, Any]) -> str:
    row = next(each for each in r["glasses"] if each["is_default"])
    return f"seen in {row['seen_after_adding']:.0%} after adding, {row['seen_after_removing']:.0%} after removing"


HEADLINES = (
    Headline("Time per training step of a dense autoencoder on MNIST", "speed", _speed),
    Headline("Memory to train `vae` on 200,000 images of 64 px", "large_set", _memory),
    Headline("Trainings killed at random moments and resumed", "kills", _kills),
    Headline("−log p(x) of binarized MNIST by `iwae`, network of Burda et al. (2016)", "burda", _likelihood),
    Headline("Glasses on 500 held-out drawn faces, judged by a classifier", "directions", _edit),
)
