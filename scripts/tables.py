"""Writes the tables of the documents from their sources: the verbs from the command line, the recipes from the recipe
table, their pages from that and ``docs/recipes/``, the figures from ``bench/results``. A test checks that the documents
are what this writes.

    python scripts/tables.py            rewrite README.md, docs/recipes.md and docs/scaling.md
    python scripts/tables.py --check    exit 1 if it would change
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from vaekit.cli import app
from vaekit.recipes import DESCRIPTIONS, RECIPES, Recipe

__all__ = ["updated"]

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "recipes.md", ROOT / "docs" / "scaling.md")
PAGES = ROOT / "docs" / "recipes"
VERBS = [
    "train",
    "data",
    "recipes",
    "reconstruct",
    "generate",
    "fit-prior",
    "interpolate",
    "arithmetic",
    "edit",
    "traverse",
    "denoise",
    "inpaint",
    "neighbours",
    "map",
    "encode",
    "evaluate",
    "score",
    "doctor",
    "explore",
    "publish",
    "export",
    "verify",
]


def updated(text: str) -> str:
    """The text of a document with its tables made anew."""
    for name, make in TABLES.items():
        if f"<!-- {name} -->" not in text:
            continue
        lines = make()
        block = f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.S)
    return text


def verbs() -> list[str]:
    """One row per verb, its first help sentence."""
    commands = {name: app[name] for name in app if not name.startswith("-")}
    missing = set(commands) ^ set(VERBS)
    assert not missing, f"README's order of verbs and the command line differ in {missing}"
    rows = [f"| `vaekit {name}` | {commands[name].help.strip().splitlines()[0]} |" for name in VERBS]
    return ["| verb | what it does |", "|---|---|", *rows]


def recipes() -> list[str]:
    """One row per recipe."""
    rows = [f"| `{row.name}` | {row.summary} | {row.paper} |" for row in RECIPES.values()]
    return ["| recipe | good for | paper |", "|---|---|---|", *rows]


def recipe_pages() -> list[str]:
    """Links to all recipes, and a section for each."""
    missing = set(RECIPES) ^ {path.stem for path in PAGES.glob("*.py")}
    assert not missing, f"the recipe table and the pages of docs/recipes differ in {sorted(missing)}"
    links = [f"[{name}](#{name})" for name in RECIPES]
    return [" · ".join(links), *[line for row in RECIPES.values() for line in _page(row)]]


def _page(row: Recipe) -> list[str]:
    """What the recipe is for, why and how, its loss in plain lines, and the values of its row."""
    source = (PAGES / f"{row.name}.py").read_text(encoding="utf-8")
    first = ast.parse(source).body[0]
    assert isinstance(first, ast.Expr) and first.end_lineno, f"docs/recipes/{row.name}.py has no docstring"
    prose, code = ast.literal_eval(first.value), source.splitlines()[first.end_lineno :]
    cost = "" if row.cost == "1" else f" Time per image, in those of `vae`: {row.cost}."
    head = ["", f"## {row.name}", "", f"*{row.summary}*", "", f"{row.paper}.{cost}", "", prose.strip(), ""]
    return [*head, "```python", *"\n".join(code).strip().splitlines(), "```", "", *_values(row)]


def _values(row: Recipe) -> list[str]:
    """A table of the values in which a row differs from one that has a name alone."""
    plain = Recipe(row.name)
    names = [field.name for field in dataclasses.fields(row) if field.name not in DESCRIPTIONS]
    pairs = [(name, getattr(row, name), getattr(plain, name)) for name in names]
    rows = [f"| `{name}` | {_shown(mine)} | {_shown(default)} |" for name, mine, default in pairs if mine != default]
    return ["| value | here | default |", "|---|---|---|", *rows]


def _shown(value: Any) -> str:
    """As ``--set`` takes it; a number to four digits."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "auto", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def measured() -> list[str]:
    """One row per figure, read from the result files."""
    rows = [row for name, make in FIGURES if (row := _row(name, make))]
    return ["| what | figure | file |", "|---|---|---|", *rows]


def _row(name: str, make: Any) -> str | None:
    path = ROOT / "bench" / "results" / f"{name}.json"
    if not path.exists():
        return None
    what, figure = make(json.loads(path.read_text()))
    return f"| {what} | {figure} | [{name}.json](bench/results/{name}.json) |"


def _seed_ae(r: dict[str, Any]) -> tuple[str, str]:
    sse, ratio = r["vaekit"]["test_sse_per_image"], r["ratio"]
    return (
        f"`seed-ae` on MNIST, {r['epochs']} epochs: test SSE per image (all seeds); wall time against the literal loop",
        f"{statistics.median(sse):.2f} ({min(sse):.2f} to {max(sse):.2f}); {ratio:.2f} of it",
    )


def _explorer(r: dict[str, Any]) -> tuple[str, str]:
    sides = [r[size][side] for size in ("64 px", "128 px") for side in ("threads", "one_thread")]
    moves = [side["slider_milliseconds"]["median"] for side in sides]
    ready = max(statistics.median(side["ready_milliseconds"]) for side in sides)
    return (
        "explorer, default `vae` in Chromium: slider to new pixels at 64 px with threads and without, at 128 px; "
        "page ready from an empty cache, slowest of these",
        f"{moves[0]:.0f}, {moves[1]:.0f} ms; {moves[2]:.0f}, {moves[3]:.0f} ms; {ready / 1000:.1f} s",
    )


def _compare(r: dict[str, Any]) -> tuple[str, str]:
    ours, theirs = r["vae"]["test"]["psnr_db"], r["seed_vae"]["test"]["psnr_db"]
    distances = (r[name]["frechet_prior_samples"] for name in ("vae", "seed_vae"))
    flip = " --flip" if r["vae"].get("run", r["vae"]).get("flip") else ""
    return (
        f"real faces, 256 px, `vae{flip}` and `seed-vae` with `--budget 10m`: test PSNR; Fréchet distance of samples",
        f"{ours:.1f} dB, {theirs:.1f} dB; " + ", ".join(f"{d:.1f}" for d in distances),
    )


def _editing(r: dict[str, Any]) -> tuple[str, str]:
    test = r["test"]
    figure = f"{test['seen_after_adding']:.0%}, {test['seen_after_removing']:.0%}"
    if "edit_below_reconstruction_db" in test:
        figure += f"; {test['edit_below_reconstruction_db']:.1f} dB below plain reconstruction"
    recipe = r["run"]["recipe"]
    return f"`{recipe}`: a classifier sees “{r['attribute']}” after adding it, after removing it", figure


def _robustness(r: dict[str, Any]) -> tuple[str, str]:
    denoise, inpaint = r["denoise"]["gain_over_plain_db"], r["inpaint"]["gain_over_mean_fill_db"]
    return (
        "MNIST: `denoising-ae` over `seed-ae` at noise 0.3; inpainting with `vae` over the mean image",
        f"+{denoise:.1f} dB; +{inpaint:.1f} dB",
    )


def _speed(r: dict[str, Any]) -> tuple[str, str]:
    cases = r["cases"]
    dense, faces, ours = (cases[n] for n in ("seed-ae, batch 32", "seed-vae, batch 16, 256 px", "vae, batch 16, 64 px"))
    figures = [dense["vaekit_over"][side] for side in ("literal", "pythae", "floor")]
    figures += [faces["vaekit_over"]["literal"], faces["vaekit_over"]["floor"], ours["vaekit_over"]["floor"]]
    return (
        "time of a step, with pictures, validation and checkpoints: `seed-ae` beside the literal loop, pythae 0.1.2, "
        "the bare kernels; `seed-vae` beside the loop and the kernels; `vae` beside the kernels",
        "{:.2f}, {:.2f}, {:.2f}; {:.2f}, {:.2f}; {:.2f}".format(*figures),
    )


def _quality(r: dict[str, Any]) -> tuple[str, str]:
    found = r["time_to_quality"]
    return (
        f"MNIST, test SSE of {found['test_sse_per_image_to_reach']}: time of `fast-ae` beside that of the literal loop",
        f"{found['median_seconds']['vaekit']:.1f} s, 1/{found['times_faster']:.0f} of it",
    )


def _memory(r: dict[str, Any]) -> tuple[str, str]:
    peaks = r["cases"]["seed-ae, batch 32"]["peak_bytes"]
    return (
        "`seed-ae` on MNIST: peak memory above that of the imported torch; pythae 0.1.2",
        f"{peaks['vaekit'] / 1e6:.0f} MB; {peaks['pythae'] / 1e6:.0f} MB",
    )


def _large_set(r: dict[str, Any]) -> tuple[str, str]:
    return (
        f"`vae` on {r['images']:,} images of {r['size']} px ({r['pixel_bytes'] / 1e9:.1f} GB): peak memory of its own",
        f"{r['peak_rss_anon_bytes'] / 1e9:.2f} GB",
    )


def _ingest(r: dict[str, Any]) -> tuple[str, str]:
    photos, small = r["photos"], r["small"]
    return (
        f"a first opening beside an ordinary DataLoader with as many workers: JPEG of 1024 px to {photos['size']} px, "
        f"of {small['size']} px",
        f"{photos['times_as_fast']:.1f} and {small['times_as_fast']:.1f} times the images per second",
    )


def _reopen(r: dict[str, Any]) -> tuple[str, str]:
    peak = max(value for name, value in r["memory"].items() if name.endswith("peak_rss_anon_bytes"))
    return (
        f"a second opening of {r['reopen']['images']:,} images; memory of its own to open {r['memory']['images']:,}",
        f"{r['reopen']['seconds']:.1f} s; {peak / 1e9:.2f} GB",
    )


def _faults(r: dict[str, Any]) -> tuple[str, str]:
    kills, mutations = r["kills"], r["mutations"]
    return (
        f"openings killed at random, caches that differ; of {mutations['files']:,} damaged files, those neither read "
        "nor named",
        f"{kills['kills']}, {kills['caches_that_differ']}; {mutations['lost']}",
    )


def _directions(r: dict[str, Any]) -> tuple[str, str]:
    told = []
    for name in ("glasses", "smiling", "male"):
        row = next(each for each in r[name] if each["is_default"])
        worst = max(row["others_changed"].values())
        told.append(
            f"{name} {row['seen_after_adding']:.0%}, {row['seen_after_removing']:.0%}, {worst:.0%}, "
            f"{row['edit_below_reconstruction_db']:.1f} dB"
        )
    return (
        f"`vaekit edit` on {r['images']} held-out portraits: a classifier sees it after adding, after removing; most "
        "that another attribute changes; PSNR below that of plain reconstruction",
        "; ".join(told),
    )


def _anomalies(r: dict[str, Any]) -> tuple[str, str]:
    told = []
    for model in r.get("digits", {}).get("models", ()):
        ours, theirs = model["mean_auroc"]["negative_elbo_nats"], model["published_mean_auroc"]
        told.append(f"{model['latent_dim']} latents {ours:.2f} ({theirs:.2f})")
    net = {"mlp": " by a dense `vae`"}.get(r.get("digits", {}).get("net", ""), "")
    what = [f"MNIST{net}, each digit left out of training in turn, mean (published, same protocol)"] * bool(told)
    told.append(f"{r['faces']['auroc']['negative_elbo_nats']:.3f}")
    what.append("photographs of things by a model of faces")
    return f"`vaekit score`, AUROC: {'; '.join(what)}", "; ".join(told)


def scaling() -> list[str]:
    """One row per batch size: images per second of one process with all threads, and of one process per core."""
    result = json.loads((ROOT / "bench" / "results" / "scaling.json").read_text())
    rows = []
    for batch, found in result["batch_sizes"].items():
        one, several = found["median_images_per_second"].values()
        rows.append(f"| {batch} | {one:.0f} | {several:.0f} | {found['ratio']:.2f} |")
    count = result["processes"]
    head = f"| batch, in all | images/s, one process, {count} threads | images/s, {count} processes | ratio |"
    source = "Default `vae` at 64 px ([scaling.json](../bench/results/scaling.json), made by `bench/scaling.py`)."
    return [head, "|---|---|---|---|", *rows, "", source]


def _kills(r: dict[str, Any]) -> tuple[str, str]:
    return (
        "kills at random moments; runs whose final weights differ by a byte",
        f"{r['kills']}; {r['runs_that_differ']}",
    )


def _doctor(r: dict[str, Any]) -> tuple[str, str]:
    first = r["first_judgement"]
    told, passed = (f"{r[f'{kind}_and_right']} of {r[kind]}" for kind in ("sick", "healthy"))
    before = [f"{first[f'{kind}_and_right']} of {first[kind]}" for kind in ("sick", "healthy")]
    return (
        "`vaekit doctor` on portraits and real faces: sick trainings told by name, healthy ones passed; the same "
        "before its rules were changed for what was seen there; runs made after that",
        f"{told}, {passed}; {before[0]}, {before[1]}; {r['fresh_and_right']} of {r['fresh']}",
    )


def _burda(r: dict[str, Any]) -> tuple[str, str]:
    done = {name: row for name, row in r["results"].items() if row["is_finished"]}
    return (
        "dynamically binarised MNIST, network of Burda et al. (2016), −log p(x) by 5,000 samples: "
        + ", ".join(done)
        + "; published",
        "; ".join(
            [
                ", ".join(f"{row['nll_nats']:.2f} ± {row['nll_nats_error']:.2f} nats" for row in done.values()),
                ", ".join(f"{row['published_nll_nats']:.2f}" for row in done.values()),
            ]
        ),
    )


def _bits(r: dict[str, Any]) -> tuple[str, str]:
    names = {
        "vae_iwae": "`vae` with a mixture of logistics",
        "png_together": "PNG",
        "webp_lossless_together": "WebP",
        "entropy_per_value": "entropy of values by themselves",
    }
    sets = r["results"]
    return (
        f"bits per pixel value of test images of {' and '.join(sets)}: {', '.join(names.values())}",
        "; ".join(", ".join(f"{row['bits_per_dim'][name]:.2f}" for name in names) for row in sets.values()),
    )


def _recipe_bounds(r: dict[str, Any]) -> tuple[str, str]:
    found = r["results"]["prior"]
    told = [f"{row['name']} {row['iwae_nats']:.2f} ± {row['iwae_nats_error']:.2f}" for row in found["models"]]
    return (
        f"dynamically binarised MNIST, one dense network, {found['minutes']:g} minutes each on one core: bound of "
        f"{found['iwae_samples']} samples, nats",
        "; ".join(told),
    )


def _recipe_flows(r: dict[str, Any]) -> tuple[str, str]:
    found = r["results"]["flows"]
    told = [f"{row['name']} {row['iwae_nats']:.2f} ± {row['iwae_nats_error']:.2f}" for row in found["models"]]
    return f"the same after {found['images']:,} images each", "; ".join(told)


def _recipe_samples(r: dict[str, Any]) -> tuple[str, str]:
    plain, short = r["results"]["fitted"]["models"]
    return (
        "MNIST, Fréchet distance of 10,000 samples: `ae` with standard normal latents, with a normal of their moments, "
        "with a fitted mixture; `rae-l2` with a fitted mixture, with a flow",
        f"{plain['frechet_standard_normal']:.1f}, {plain['frechet_one_normal']:.2f}, {plain['frechet_mixture']:.2f}; "
        f"{short['frechet_mixture']:.2f}, {short['frechet_flow']:.2f}",
    )


def _recipe_codes(r: dict[str, Any]) -> tuple[str, str]:
    rows = r["results"]["codes"]["models"]
    told = [f"{row['used']:.0%} ({row['perplexity']:.0f})" for row in rows]
    return (
        "MNIST: words in use of 512, and how many would be as even (perplexity), "
        + " and ".join(f"`{row['recipe']}`" for row in rows),
        ", ".join(told),
    )


def _recipe_factors(r: dict[str, Any]) -> tuple[str, str]:
    found = r["results"]["factors"]
    told = []
    for name, mean in found["mean_mig"].items():
        each = ", ".join(f"{row['mig']:.3f}" for row in found["models"] if row["recipe"] == name)
        told.append(f"{mean:.3f} ({each})")
    names = " and ".join(f"`{name}`" for name in found["mean_mig"])
    return f"MIG of portraits' attributes, {names}: mean (three seeds)", "; ".join(told)


def _help(r: dict[str, Any]) -> tuple[str, str]:
    return "`vaekit --help`, median of ten", f"{r['median_seconds']:.2f} s"


FIGURES: list[tuple[str, Any]] = [
    ("seed_ae_speed", _seed_ae),
    ("speed", _speed),
    ("speed", _quality),
    ("speed", _memory),
    ("large_set", _large_set),
    ("ingest", _ingest),
    ("ingest", _reopen),
    ("ingest_faults", _faults),
    ("vae_vs_seed_vae", _compare),
    ("editing_vae", _editing),
    ("editing_seed_vae", _editing),
    ("editing_smiles_vae", _editing),
    ("editing_smiles_seed_vae", _editing),
    ("directions", _directions),
    ("anomalies", _anomalies),
    ("noise_robustness", _robustness),
    ("kills", _kills),
    ("doctor", _doctor),
    ("burda", _burda),
    ("bits", _bits),
    ("recipes", _recipe_bounds),
    ("recipes", _recipe_flows),
    ("recipes", _recipe_samples),
    ("recipes", _recipe_codes),
    ("recipes", _recipe_factors),
    ("explorer", _explorer),
    ("help_time", _help),
]
TABLES: dict[str, Any] = {
    "verbs": verbs,
    "recipes": recipes,
    "recipe-pages": recipe_pages,
    "measured": measured,
    "scaling": scaling,
}


def main() -> int:
    changed = False
    for document in DOCUMENTS:
        old = document.read_text()
        new = updated(old)
        changed |= old != new
        if "--check" not in sys.argv:
            document.write_text(new)
    return int(changed and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
