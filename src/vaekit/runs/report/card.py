"""The model card of a run: Markdown that is also readable in a terminal."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from vaekit.config.capabilities import serves
from vaekit.errors import counted, storable
from vaekit.model import registry
from vaekit.runs.report.facts import Facts, Quantity, number

__all__ = ["cli_example", "limits", "model_card", "python_example"]


def model_card(facts: Facts) -> str:
    """Return the content of ``README.md``: what the model is, its data, its metrics, how to use it, and its limits."""
    parts = [
        _front_matter(facts),
        f"# {_plain(facts.recipe.name)} on {_code(facts.source)}",
        _about(facts),
        *_pictures(facts),
        "## Data",
        _data(facts),
        "## Numbers",
        _numbers(facts),
        *_verdict(facts),
        "## Use",
        f"In the folder that contains this run, with your own images in `{_images(facts)}`:",
        f"```python\n{python_example(facts)}\n```",
        f"```sh\n{cli_example(facts)}\n```",
        "`report.html` has the curves, the pictures of every epoch and the configuration.",
        "## Intended use and limits",
        "\n".join(f"- {sentence}" for sentence in limits(facts)),
    ]
    return storable("\n\n".join(parts)) + "\n"


def python_example(facts: Facts) -> str:
    """Return Python code that loads the run from the folder above it and uses it."""
    name = facts.folder.resolve().name or "run"
    quoted = json.dumps(name, ensure_ascii=not name.isprintable())
    lines = ["import vaekit as vk", "", f"run = vk.load({quoted})"]
    if serves("generate", facts.recipe):
        lines.append('run.generate(18, seed=0).save("new.png")')
    if serves("codes", facts.recipe):
        lines.append(f'codes = run.codes("{_images(facts)}")  # integers [N, rows, columns]')
    else:
        lines.append(f'z = run.encode("{_images(facts)}")  # posterior means, [N, {facts.recipe.latent_dim}]')
    lines.append(f'run.compare("{_images(facts)}").save("pairs.png")')
    return "\n".join(lines)


def cli_example(facts: Facts) -> str:
    """Return the same for the command line."""
    run = shlex.quote(facts.name)
    lines = [f"vaekit generate {run} --out new.png"] if serves("generate", facts.recipe) else []
    return "\n".join(
        [
            *lines,
            f"vaekit reconstruct {run} {_images(facts)} --out pairs.png",
            f"vaekit evaluate {run} {_images(facts)}",
        ]
    )


def limits(facts: Facts) -> list[str]:
    """Return the intended use and the limits, as sentences."""
    height, width = facts.config.data.size
    sentences = [
        f"It is intended for images like those it was trained on, at {height}×{width} pixels. Expect worse results on "
        "others, and measure them with `vaekit evaluate`.",
        "Directions in the latent space follow correlations in the training images: editing one attribute can change "
        "others.",
        "Reconstructions and samples are not evidence: details that look real are invented.",
    ]
    if facts.config.data.train_images < 1000:
        sentences.append(
            f"It was trained on only {counted(facts.config.data.train_images, 'image')} and may reproduce parts of "
            "them; consider this before sharing it."
        )
    if facts.has_density:
        sentences.append(_limit_of_the_bound(facts.recipe.likelihood))
    else:
        sentences.append("An autoencoder has no density: it has no bound, and random latents do not decode to images.")
    return sentences


def _images(facts: Facts) -> str:
    """Return a folder of images for the examples, which is not the run itself."""
    return "new-images/" if facts.name != "new-images" else "other-images/"


def _limit_of_the_bound(likelihood: str) -> str:
    head = registry.likelihood(likelihood)
    if not head.is_discrete:
        return (
            "The ELBO refers to a density over pixel values in [0, 1]: compare it only between runs on the same images "
            "at the same size."
        )
    if head.is_binary:
        return "Its likelihood is for binary pixels only."
    return (
        "Its likelihood is a probability of 8-bit values: compare bits per dimension only with other such models "
        "on the same images, not with densities."
    )


def _front_matter(facts: Facts) -> str:
    kind = "variational-autoencoder" if facts.has_density else "autoencoder"
    return f"---\nlibrary_name: vaekit\ntags:\n- {kind}\n- image\n---"


def _about(facts: Facts) -> str:
    row, data = facts.recipe, facts.config.data
    kind = "A variational autoencoder" if facts.has_density else "An autoencoder"
    epochs = "1 epoch" if facts.epochs == 1 else f"{facts.epochs:.3g} epochs"
    text = (
        f"{kind} for {data.size[0]}×{data.size[1]} {_plain(facts.colors)} images with {row.latents} "
        f"and {counted(facts.parameters, 'parameter')}, trained with vaekit for {epochs} "
        f"({counted(facts.images_seen, 'image')} seen)."
    )
    if not row.summary or not row.paper:
        return text
    return f"{text} Recipe {_code(row.name)}: {_plain(row.summary)} ({_plain(row.paper)})."


def _pictures(facts: Facts) -> list[str]:
    if not facts.pictures:
        return []
    latest = list(facts.pictures.values())[-1]
    captions = {
        "reconstructions": f"{facts.pictured_on} above their reconstructions",
        "samples": "samples from the prior",
    }
    return [f"![{captions[kind]}](pictures/{path.name})" for kind, path in latest.items()]


def _data(facts: Facts) -> str:
    data = facts.config.data
    rows = [
        f"- source: {_code(facts.source)}",
        f"- images: {data.images:,}, of which {data.train_images:,} for training",
    ]
    if data.classes:
        shown = ", ".join(_code(name) for name in data.classes[:20])
        rows.append(f"- classes: {shown}" + (f" and {len(data.classes) - 20:,} more" if len(data.classes) > 20 else ""))
    if data.attributes:
        rows.append("- attributes: " + ", ".join(_code(name) for name in data.attributes))
    rows.append(f"- content fingerprint: {_code(data.fingerprint)}")
    return "\n".join(rows + [f"- note: {_plain(note)}" for note in facts.config.notes])


def _numbers(facts: Facts) -> str:
    numbers = facts.numbers
    if not numbers:
        return "None yet: the first epoch has not finished."
    rows = [_row(q, numbers) for q in facts.quantities if numbers.get(q.key) is not None]
    return "\n".join([f"On {_plain(facts.measured_on)}.", "", "| | value | meaning |", "|---|---:|---|", *rows])


def _verdict(facts: Facts) -> list[str]:
    if facts.diagnosis is None:
        return []
    return [f"Verdict of the doctor: {_plain(facts.diagnosis.summary)} (Run `vaekit doctor` to see the evidence.)"]


def _row(quantity: Quantity, numbers: dict[str, Any]) -> str:
    cells = (
        quantity.name,
        f"{number(numbers[quantity.key], quantity.decimals)} {quantity.unit}",
        quantity.meaning,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Escape external text for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Format external text as a code span, whatever backticks it contains."""
    text = " ".join(text.split()) or " "
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"`{text}`"
