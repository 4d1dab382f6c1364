"""The model card of a run: Markdown that reads well in a terminal, too."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from vaekit.config.capabilities import serves
from vaekit.config.table import DENSITIES
from vaekit.errors import storable
from vaekit.runs.report.facts import QUANTITIES, Facts, Quantity, number

__all__ = ["cli_example", "limits", "model_card", "python_example"]


def model_card(facts: Facts) -> str:
    """``README.md``: what the model is, from what, how good, how to load it, and what it is not."""
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
        f"```python\n{python_example(facts)}\n```",
        f"```sh\n{cli_example(facts)}\n```",
        "Curves, pictures of every epoch and the configuration are in `report.html`.",
        "## Intended use and limits",
        "\n".join(f"- {sentence}" for sentence in limits(facts)),
    ]
    return storable("\n\n".join(parts)) + "\n"


def python_example(facts: Facts) -> str:
    """Lines of Python that load the run from beside its folder and use it."""
    name = facts.folder.resolve().name or "run"
    quoted = json.dumps(name, ensure_ascii=not name.isprintable())
    lines = ["import vaekit as vk", "", f"run = vk.load({quoted})"]
    if serves("generate", facts.recipe):
        lines.append('run.generate(18, seed=0).save("new.png")')
    if serves("encode", facts.recipe):
        lines.append(f'z = run.encode("photos/")  # posterior means, [N, {facts.recipe.latent_dim}]')
    lines.append('run.compare("photos/").save("pairs.png")')
    return "\n".join(lines)


def cli_example(facts: Facts) -> str:
    """The same from the command line."""
    run = shlex.quote(facts.name)
    lines = [f"vaekit generate {run} --out new.png"] if serves("generate", facts.recipe) else []
    return "\n".join(
        [
            *lines,
            f"vaekit reconstruct {run} photos/ --out pairs.png",
            f"vaekit evaluate {run} photos/",
        ]
    )


def limits(facts: Facts) -> list[str]:
    """What the model is for and what it is not, in sentences."""
    height, width = facts.config.data.size
    sentences = [
        f"It is for images like those it was trained on, at {height}×{width} pixels; on others expect less, "
        "and measure it with `vaekit evaluate`.",
        "Directions in the latent space follow what goes together in the training images; an edit of one "
        "attribute can change others.",
        "Reconstructions and samples are not evidence of anything: details that look real are guesses.",
    ]
    if facts.config.data.train_images < 1000:
        sentences.append(
            f"It saw only {facts.config.data.train_images:,} different images and may repeat parts of them; "
            "think of that before you share it."
        )
    if facts.has_density:
        sentences.append(_limit_of_the_bound(facts.recipe.likelihood))
    else:
        sentences.append("An autoencoder has no density: it has no bound, and random latents do not decode to images.")
    return sentences


def _limit_of_the_bound(likelihood: str) -> str:
    if likelihood in DENSITIES:
        return (
            "The ELBO is of a density over pixel values in [0, 1]: compare it only between runs on the same images at "
            "the same size."
        )
    if likelihood == "bernoulli":
        return "Its likelihood is for binary pixels only."
    return (
        "Its likelihood is a probability of 8-bit values: compare bits per dimension with those of other such models "
        "of the same images, and not with densities."
    )


def _front_matter(facts: Facts) -> str:
    kind = "variational-autoencoder" if facts.has_density else "autoencoder"
    return f"---\nlibrary_name: vaekit\ntags:\n- {kind}\n- image\n---"


def _about(facts: Facts) -> str:
    row, data = facts.recipe, facts.config.data
    kind = "A variational autoencoder" if facts.has_density else "An autoencoder"
    epochs = "1 epoch" if facts.epochs == 1 else f"{facts.epochs:.3g} epochs"
    text = (
        f"{kind} for {data.size[0]}×{data.size[1]} {_plain(facts.colours)} images with {row.latents} "
        f"and {facts.parameters:,} parameters, trained with vaekit for {epochs} "
        f"({facts.images_seen:,} images seen)."
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
        f"- images: {data.images:,}, of which {data.train_images:,} were trained on",
    ]
    if data.classes:
        shown = ", ".join(_code(name) for name in data.classes[:20])
        rows.append(f"- classes: {shown}" + (f" and {len(data.classes) - 20:,} more" if len(data.classes) > 20 else ""))
    if data.attributes:
        rows.append("- attributes: " + ", ".join(_code(name) for name in data.attributes))
    rows.append(f"- fingerprint of the content: {_code(data.fingerprint)}")
    return "\n".join(rows + [f"- note: {_plain(note)}" for note in facts.config.notes])


def _numbers(facts: Facts) -> str:
    numbers = facts.numbers
    if not numbers:
        return "None yet: the run has not ended an epoch."
    rows = [_row(q, numbers) for q in QUANTITIES if numbers.get(q.key) is not None]
    return "\n".join([f"On {_plain(facts.measured_on)}.", "", "| | value | meaning |", "|---|---:|---|", *rows])


def _verdict(facts: Facts) -> list[str]:
    if facts.diagnosis is None:
        return []
    return [f"The training was judged {_plain(facts.diagnosis.words)} (`vaekit doctor` says what that rests on.)"]


def _row(quantity: Quantity, numbers: dict[str, Any]) -> str:
    cells = (
        quantity.name,
        f"{number(numbers[quantity.key], quantity.decimals)} {quantity.unit}",
        quantity.meaning,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text from outside as Markdown that means itself."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Text from outside as a code span, whatever backticks it holds."""
    text = " ".join(text.split()) or " "
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"`{text}`"
