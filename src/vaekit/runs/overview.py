"""The view of a run in a notebook: facts and the latest reconstructions."""

from __future__ import annotations

import base64
import html

from vaekit.runs.context import RunContext
from vaekit.runs.report.facts import Facts
from vaekit.runs.report.gallery import stored_picture

__all__ = ["overview_html"]


def overview_html(run: RunContext) -> str:
    """Return a table of facts, and the latest picture of reconstructions, as HTML."""
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in _facts(run))
    picture = ""
    if newest := _newest_reconstructions(run):
        data = base64.b64encode(newest).decode()
        picture = f'<img alt="originals above reconstructions" src="data:image/png;base64,{data}">'
    return f"<table>{rows}</table>{picture}"


def _facts(run: RunContext) -> list[tuple[str, str]]:
    facts = [
        ("run", str(run.path)),
        ("recipe", run.recipe.name),
        ("images", "×".join(map(str, run.shape))),
        ("latents", str(run.model.latent_dim)),
    ]
    for name, value in run.final_numbers().items():
        if isinstance(value, float) and not name.endswith("_error"):
            facts.append((name.removeprefix("final_"), f"{value:.4g}"))
    return facts


def _newest_reconstructions(run: RunContext) -> bytes | None:
    kinds = next(reversed(Facts.of(run.path).pictures.values()), {})
    try:
        return stored_picture(kinds["reconstructions"])[0]
    except Exception:  # there is none, or it is not a file of vaekit
        return None
