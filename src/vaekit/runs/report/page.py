"""The report of a run: one HTML file with inline style, script and pictures, for any browser, offline."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from vaekit._version import __version__
from vaekit.errors import counted, storable
from vaekit.runs.report.card import cli_example, limits, python_example
from vaekit.runs.report.curves import draw, panels
from vaekit.runs.report.facts import QUANTITIES, Facts, Quantity, number, part_name
from vaekit.runs.report.gallery import Frame, frames
from vaekit.runs.report.verdict import verdict

__all__ = ["page"]

_WIDE = 3.0  # aspect ratio above which a sheet scrolls sideways on a phone


def page(facts: Facts) -> str:
    """Return the content of ``report.html``. External strings are escaped."""
    title = f"{facts.recipe.name} on {facts.source}"
    parts = (_head(facts), verdict(facts), _pictures(facts), _curves(facts), _numbers(facts), _use(facts), _run(facts))
    style, script = (
        files("vaekit.runs.report").joinpath(name).read_text("utf-8") for name in ("page.css", "slider.js")
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(storable(title))}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + storable("\n".join(part for part in parts if part))
        + f"\n<footer>Written by vaekit {escape(__version__)}. This file is self-contained.</footer>\n"
        f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _head(facts: Facts) -> str:
    data, row = facts.config.data, facts.recipe
    kind = facts.colors
    dek = (
        f"{data.size[0]}×{data.size[1]} {kind} images in {row.latents}. "
        f"{counted(facts.parameters, 'parameter')}, {counted(facts.images_seen, 'image')} seen "
        f"({_epochs(facts.epochs)})."
    )
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in facts.config.notes)
    return (
        f"<header>\n<h1>{escape(row.name)} <small>on</small> {escape(facts.source)}</h1>\n"
        f'<p class="dek">{escape(dek)}</p>\n'
        + _tiles(facts)
        + (f'\n<ul class="notes">{notes}</ul>' if notes else "")
        + "\n</header>"
    )


def _tiles(facts: Facts) -> str:
    numbers = facts.numbers
    if not numbers:
        return "<p>No metrics yet: the first epoch has not finished.</p>"
    wanted = (
        ("psnr_db", "elbo_nats", "bits_per_dim", "rate_nats") if facts.has_density else ("psnr_db", "sse_per_image")
    )
    shown = [q for q in QUANTITIES if q.key in wanted and numbers.get(q.key) is not None]
    tiles = "".join(f"<div><dt>{q.name}</dt><dd>{_value(q, numbers)}</dd></div>" for q in shown)
    return f'<dl class="tiles">{tiles}<div><dt>Measured on</dt><dd>{_measured_on(facts)}</dd></div></dl>'


def _value(quantity: Quantity, numbers: dict[str, Any]) -> str:
    unit = quantity.unit.removesuffix(" per image")
    return f"{number(numbers.get(quantity.key), quantity.decimals)}<small>{unit}</small>"


def _measured_on(facts: Facts) -> str:
    count = facts.numbers.get("images")
    part = escape(part_name(facts.numbers.get("part")))
    return f"{count:,}<small>{part} images</small>" if count else f"<small>{part} images</small>"


def _epochs(count: float) -> str:
    return "1 epoch" if count == 1 else f"{count:.3g} epochs"


def _pictures(facts: Facts) -> str:
    stacks = {
        kind: frames({epoch: kinds[kind] for epoch, kinds in facts.pictures.items() if kind in kinds})
        for kind in ("reconstructions", "samples")
    }
    if not any(stacks.values()):
        return ""
    by_level = " Each row has one more level, and the last all; the others are at the mean of their prior."
    captions = {
        "reconstructions": f"{facts.pictured_on.capitalize()}, above their reconstructions from the posterior mean."
        + by_level * (facts.recipe.latent == "levels"),
        "samples": "New images, decoded from samples of the prior; the noise is the same in every epoch.",
    }
    shown = "\n".join(_stack(kind, stack, captions[kind]) for kind, stack in stacks.items() if stack)
    return f'<section>\n<h2>Pictures</h2>\n{_slider(stacks)}\n<div class="prints">\n{shown}\n</div>\n</section>'


def _slider(stacks: dict[str, list[Frame]]) -> str:
    epochs = sorted({frame.epoch for stack in stacks.values() for frame in stack})
    if len(epochs) < 2:
        return ""
    last = len(epochs) - 1
    return (
        f'<div class="epochs" data-epochs="{json.dumps(epochs)}" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="epoch"><output></output></div>'
    )


def _stack(kind: str, stack: list[Frame], caption: str) -> str:
    images = "\n".join(_image(kind, frame, frame is stack[-1]) for frame in stack)
    wide = " wide" if stack[-1].width > _WIDE * stack[-1].height else ""
    caption = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure>\n<div class="print{wide}">\n{images}\n</div>\n{caption}\n</figure>'


def _image(kind: str, frame: Frame, is_shown: bool) -> str:
    when = f"after epoch {frame.epoch}" if frame.epoch else "before training"
    return (
        f'<img data-epoch="{frame.epoch}" width="{frame.width}" height="{frame.height}" src="{frame.uri}" '
        f'alt="{kind} {when}"{"" if is_shown else " hidden"}>'
    )


def _curves(facts: Facts) -> str:
    shown = panels(facts)
    if not shown:
        return ""
    lines = facts.of_kind("validation")
    part = escape(part_name(lines[-1].get("part"))) if lines else ""
    legend = '<span class="train">training batches</span>' + (
        f"<span>{part} images, after each epoch</span>" if part else ""
    )
    figures = "\n".join(
        f"<figure><header><h3>{p.title}</h3><span>{p.note}</span></header>\n{draw(p)}\n</figure>" for p in shown
    )
    return (
        f'<section>\n<h2>Curves</h2>\n<p class="legend">{legend}</p>\n'
        f'<div class="curves{" three" if len(shown) == 3 else ""}">\n{figures}\n</div>\n</section>'
    )


def _numbers(facts: Facts) -> str:
    columns = [numbers for kind in ("final", "validation") if (numbers := facts.last(kind))]
    if not columns:
        return ""
    heads = "".join(f'<th class="n">{escape(part_name(c.get("part")))}</th>' for c in columns)
    shown = (q for q in facts.quantities if any(c.get(q.key) is not None for c in columns))
    rows = "\n".join(_number_row(q, columns) for q in shown)
    why = (
        ""
        if facts.has_density
        else '<p class="muted">An autoencoder has no density, and therefore no rate and no bound.</p>'
    )
    if facts.has_density and facts.recipe.beta != 1:
        why = (
            f'<p class="muted">Training weighted the rate with β = {facts.recipe.beta:g}; '
            "the ELBO shown here is the bound itself, with weight 1.</p>"
        )
    return (
        '<section>\n<h2>Numbers</h2>\n<div class="scroll"><table>\n'
        f'<thead><tr><th></th>{heads}<th class="meaning">meaning</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
        f"{why}</section>"
    )


def _number_row(quantity: Quantity, columns: list[dict[str, Any]]) -> str:
    values = "".join(f'<td class="n">{number(c.get(quantity.key), quantity.decimals)}</td>' for c in columns)
    better = f"; {quantity.better} is better" if quantity.better else ""
    return (
        f"<tr><th>{quantity.name} <small>{quantity.unit}</small></th>{values}"
        f'<td class="meaning">{escape(quantity.meaning + better)}</td></tr>'
    )


def _use(facts: Facts) -> str:
    sentences = "".join(f"<li>{_with_code(sentence)}</li>" for sentence in limits(facts))
    return (
        '<section>\n<h2>Use it</h2>\n<div class="two">\n'
        f"<div><h3>Python</h3><pre><code>{escape(python_example(facts))}</code></pre></div>\n"
        f"<div><h3>Command line</h3><pre><code>{escape(cli_example(facts))}</code></pre></div>\n</div>\n"
        f'<h2>Limits</h2>\n<ul class="limits">{sentences}</ul>\n</section>'
    )


def _with_code(sentence: str) -> str:
    parts = escape(sentence).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _run(facts: Facts) -> str:
    data, row = facts.config.data, facts.recipe
    speed = facts.images_per_second
    rows = [
        ("Recipe", f"{row.name}: {row.summary}" if row.summary else row.name),
        ("Reference", row.paper),
        ("Images", f"{data.images:,} in {facts.source}, of which {data.train_images:,} for training"),
        ("Classes", ", ".join(data.classes[:20]) + (" …" if len(data.classes) > 20 else "")),
        ("Attributes", ", ".join(data.attributes)),
        ("Fingerprint", data.fingerprint),
        ("Speed", f"{speed:,.0f} images per second" if speed else ""),
        ("Seed", str(facts.config.seed)),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows if text)
    return (
        f'<section>\n<h2>Run</h2>\n<dl class="facts">{listed}</dl>\n'
        "<details><summary>Full configuration</summary>"
        f"<pre><code>{escape(_configuration(facts))}</code></pre></details>\n</section>"
    )


def _configuration(facts: Facts) -> str:
    """Return ``config.json`` without folders of this machine."""
    config = asdict(facts.config)
    config["data"]["source"] = facts.source
    if config["initial"]:
        config["initial"] = PurePath(config["initial"]).name
    return json.dumps(config, indent=2, ensure_ascii=False)
