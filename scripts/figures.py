"""The rows of README's table of figures: each says what was measured, beside which baselines, and names its script.

``python scripts/figures.py`` prints every row's script and result (``make bench`` shows it first).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FIGURES", "Figure"]

Result = dict[str, Any]
Row = tuple[str, str]  # what was measured, the figures


@dataclass(frozen=True)
class Figure:
    """One row: ``bench/results/{name}.json``, the script that writes it, and how the row is read from it.

    A row with a ``section`` needs that part of the result. Without it the figure was not measured yet in this way, and
    README has no such row.
    """

    name: str
    script_name: str
    make: Callable[[Result], Row]
    section: str = ""

    @property
    def result(self) -> str:
        """Path of the result from the root of the repository."""
        return f"bench/results/{self.name}.json"

    @property
    def script(self) -> str:
        """Path of the script from the root of the repository."""
        return f"bench/{self.script_name}.py"

    def is_measured(self, found: Result) -> bool:
        """Whether the result has the section of this row, such as ``results.bounds``."""
        for key in filter(None, self.section.split(".")):
            if key not in found:
                return False
            found = found[key]
        return True


def _seed_ae(r: Result) -> Row:
    sse, ratio = r["vaekit"]["test_sse_per_image"], r["ratio"]
    rounds = r["ratio_of_each_round"]
    return (
        f"`seed-ae` on MNIST, {r['epochs']} epochs: test SSE per image (all seeds); wall time divided by that of the "
        "literal loop (all rounds)",
        f"{statistics.median(sse):.2f} ({min(sse):.2f} to {max(sse):.2f}); {ratio:.2f} "
        f"({min(rounds):.2f} to {max(rounds):.2f})",
    )


def _speed(r: Result) -> Row:
    cases = r["cases"]
    dense, faces, ours = (cases[n] for n in ("seed-ae, batch 32", "seed-vae, batch 16, 256 px", "vae, batch 16, 64 px"))
    figures = [dense["vaekit_over"][side] for side in ("literal", "pythae", "floor")]
    figures += [faces["vaekit_over"]["literal"], faces["vaekit_over"]["floor"], ours["vaekit_over"]["floor"]]
    return (
        "time of a step, with pictures, validation and checkpoints, divided by that of others: `seed-ae` by the "
        "literal loop, pythae 0.1.2, the bare kernels; `seed-vae` by the loop, the kernels; `vae` by the kernels",
        "{:.2f}, {:.2f}, {:.2f}; {:.2f}, {:.2f}; {:.2f}".format(*figures),
    )


def _quality(r: Result) -> Row:
    found = r["time_to_quality"]
    by = found["times_faster_by_software"]
    low, high = sorted((by["with_seed_settings"], by["with_fast_settings"]))
    return (
        f"MNIST, time of `fast-ae` to a test SSE of {found['test_sse_per_image_to_reach']}; how many times faster than "
        "the literal loop with the founding settings; how much of the factor is software (the rest is settings: batch, "
        "schedule, first decoder)",
        f"{found['median_seconds']['vaekit']:.1f} s; {found['times_faster']:.0f}; {low:.1f} to {high:.1f}",
    )


def _memory(r: Result) -> Row:
    peaks = r["cases"]["seed-ae, batch 32"]["peak_bytes"]
    return (
        "`seed-ae` on MNIST, peak memory above that of the imported torch: vaekit; pythae 0.1.2",
        f"{peaks['vaekit'] / 1e6:.0f} MB; {peaks['pythae'] / 1e6:.0f} MB",
    )


def _large_set(r: Result) -> Row:
    return (
        f"`vae` on {r['images']:,} images of {r['size']} px ({r['pixel_bytes'] / 1e9:.1f} GB): peak memory of its own",
        f"{r['peak_rss_anon_bytes'] / 1e9:.2f} GB",
    )


def _ingest(r: Result) -> Row:
    photos, small = r["photos"], r["small"]
    return (
        "first opening, images per second divided by those of a plain DataLoader with as many workers: JPEG of 1024 px "
        f"to {photos['size']} px; of {small['size']} px",
        f"{photos['times_as_fast']:.1f}; {small['times_as_fast']:.1f}",
    )


def _reopen(r: Result) -> Row:
    peak = max(value for name, value in r["memory"].items() if name.endswith("peak_rss_anon_bytes"))
    return (
        f"second opening of {r['reopen']['images']:,} images; memory of its own to open {r['memory']['images']:,}",
        f"{r['reopen']['seconds']:.1f} s; {peak / 1e9:.2f} GB",
    )


def _faults(r: Result) -> Row:
    kills, mutations = r["kills"], r["mutations"]
    return (
        f"openings killed at random, and caches that differ afterwards; of {mutations['files']:,} damaged files, those "
        "neither read nor named",
        f"{kills['kills']}, {kills['caches_that_differ']}; {mutations['lost']}",
    )


def _span(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _compare(r: Result) -> Row:
    told = []
    for name in ("vae", "seed-vae"):
        psnr, distance = r[name]["psnr_db"], r[name]["frechet_prior_samples"]
        told.append(
            f"`{name}` {psnr['mean']:.1f} dB ({psnr['lowest']:.1f} to {psnr['highest']:.1f}), "
            f"{distance['mean']:.0f} ({distance['lowest']:.0f} to {distance['highest']:.0f})"
        )
    pca = r["pca"]
    seen = [seed["run"]["images_trained_on"] for name in ("vae", "seed-vae") for seed in r[name]["seeds"]]
    return (
        "gray 64-px photographs of faces, enlarged to 256 px, 100 latents, mirrored, float32, a short training "
        f"({_span(seen)} images), three seeds: test PSNR, Fréchet distance of samples; PCA with as "
        "many components; real training images in place of samples. All samples at 256 px are soft",
        f"{'; '.join(told)}; PCA {pca['psnr_db']:.1f} dB, {pca['frechet_prior_samples']:.0f}; real "
        f"{r['frechet_real_train_images']:.1f}",
    )


def _editing(r: Result) -> Row:
    told = []
    for name in ("test_at_default_strength", "test_at_chosen_strength"):
        test = r[name]
        told.append(
            f"strength {test['strength']:g}: {test['seen_after_adding']:.0%}, {test['seen_after_removing']:.0%}, "
            f"{test['edited_from_reconstruction_psnr_db']:.1f} dB, {test['frechet_added_from_real_with']:.0f}"
        )
    test = r["test_at_default_strength"]
    before = f"{test['seen_in_originals_without']:.0%}, {test['seen_in_originals_with']:.0%}"
    nothing = test["frechet_reconstructed_without_from_real_with"]
    return (
        f"`{r['run']['recipe']}`, `arithmetic` on real faces: share in which a classifier that did not choose the "
        f"strength sees “{r['attribute']}” after adding it, after removing it (before: {before}); PSNR between edit "
        f"and reconstruction; Fréchet distance of the faces it was added to from real ones (unedited: {nothing:.0f})",
        "; ".join(told),
    )


def _directions(r: Result) -> Row:
    told = []
    for name in ("glasses", "smiling", "male"):
        row = next(each for each in r[name] if each["is_default"])
        worst = max(row["others_changed"].values())
        told.append(
            f"{name} {row['seen_after_adding']:.0%}, {row['seen_after_removing']:.0%}, {worst:.0%}, "
            f"{row['edit_below_reconstruction_db']:.1f} ({row['doing_nothing_below_reconstruction_db']:.1f}) dB"
        )
    return (
        f"`vaekit edit` on {r['images']} held-out drawn portraits: a classifier sees it after adding, after removing; "
        "most that another attribute changes; PSNR against the face drawn so, below that of plain reconstruction (in "
        "brackets: doing nothing)",
        "; ".join(told),
    )


def _digits(r: Result) -> Row:
    found = r["digits"]
    told = []
    for model in found["models"]:
        ours, theirs = model["mean_auroc"]["negative_elbo_nats"], model["published_mean_auroc"]
        told.append(f"{model['latent_dim']} latents {ours:.2f} ({theirs:.2f})")
    return (
        "`vaekit score`, AUROC, MNIST by a dense `vae`, each digit left out of training in turn, mean (published, same "
        "protocol, other networks; 0.5 is chance)",
        "; ".join(told),
    )


def _things(r: Result) -> Row:
    found = r["things"]
    plain = {name: value for name, value in found["baselines"].items() if name != "pca_sse"}
    best = max(plain, key=plain.__getitem__)
    return (
        "`vaekit score`, AUROC, photographs of things by a `vae` of faces, gray against gray: the bound; the error of "
        f"PCA with as many components; the best plain statistic ({best[1:].replace('_', ' ')}). In color, mean "
        "saturation alone",
        f"{found['auroc']['negative_elbo_nats']:.3f}; {found['baselines']['pca_sse']:.3f}; {plain[best]:.3f}. "
        f"{found['in_color']['mean_saturation']:.3f}",
    )


def _denoise(r: Result) -> Row:
    found = r["denoise"]
    return (
        f"MNIST, noise of standard deviation {found['noise_std']}, PSNR: `denoising-ae`; ridge regression; plain "
        "`seed-ae`; the noisy input itself (paired gain over ridge per image)",
        f"{found['denoising_psnr_db']:.1f}; {found['ridge_psnr_db']:.1f}; {found['plain_psnr_db']:.1f}; "
        f"{found['noisy_psnr_db']:.1f} dB ({_paired(found['denoising_over_ridge'])})",
    )


def _inpaint(r: Result) -> Row:
    found = r["inpaint"]
    return (
        f"MNIST, a hidden square of {found['square']} px, PSNR there: inpainting with `vae`; Gaussian conditional "
        "mean; nearest training image; mean image (paired gain over the conditional mean per image)",
        f"{found['inpaint_psnr_db']:.1f}; {found['gaussian_conditional_mean_psnr_db']:.1f}; "
        f"{found['nearest_training_image_psnr_db']:.1f}; {found['mean_fill_psnr_db']:.1f} dB "
        f"({_paired(found['inpaint_over_conditional_mean'])})",
    )


def _paired(gain: dict[str, float]) -> str:
    """A paired gain with its standard error."""
    return f"{gain['mean_db']:+.2f} ± {gain['error_db']:.2f} dB"


def _kills(r: Result) -> Row:
    return (
        "trainings killed at random moments; those whose final weights differ by a byte",
        f"{r['kills']}; {r['runs_that_differ']}",
    )


def _doctor(r: Result) -> Row:
    def counts(found: Result) -> str:
        return ", ".join(f"{found[f'{kind}_and_right']} of {found[kind]}" for kind in ("sick", "healthy"))

    return (
        "`vaekit doctor` on drawn portraits and real faces: sick trainings named, healthy ones passed (before rules "
        "were changed for what was seen there); ten later cases kept aside until the rules were final (before one rule "
        "and one expectation were corrected)",
        f"{counts(r)} ({counts(r['first_judgement'])}); {counts(r['later']['aside'])} "
        f"({counts(r['first_judgement_of_aside'])})",
    )


def _advice(r: Result) -> Row:
    cases = r["advice"]
    rounds = sum("seconds" in row for case in cases for row in case["rounds"])
    worse = sum(bool(case["worse"]) for case in cases)
    return (
        "advice of `vaekit doctor` followed to the letter on small trainings that lack something: cases, rounds of "
        "training, cases in which a held-out number fell by more than two standard errors",
        f"{len(cases)}; {rounds}; {worse}",
    )


def _burda(r: Result) -> Row:
    done = {name: row for name, row in r["results"].items() if row["is_finished"]}
    found = ", ".join(f"{row['nll_nats']:.2f} ± {row['nll_nats_error']:.2f} nats" for row in done.values())
    published = ", ".join(f"{row['published_nll_nats']:.2f}" for row in done.values())
    return (
        "dynamically binarized MNIST, network of Burda et al. (2016), −log p(x) by 5,000 samples, one seed: "
        f"{', '.join(done)}; published",
        f"{found}; {published}",
    )


def _bits(r: Result) -> Row:
    names = {
        "vae_iwae": "`vae` with a mixture of logistics",
        "png_together": "PNG",
        "webp_lossless_together": "WebP",
        "entropy_per_value": "entropy of values by themselves",
    }
    sets = r["results"]
    return (
        f"bits per pixel value of the test images of {' and '.join(sets)}, both decoded from JPEG (not comparable with "
        f"published figures, and easier for codecs): {', '.join(names.values())}",
        "; ".join(", ".join(f"{row['bits_per_dim'][name]:.2f}" for name in names) for row in sets.values()),
    )


def _recipe_bounds(r: Result) -> Row:
    found = r["results"]["bounds"]
    base = [row["iwae_nats"] for row in found["models"] if row["name"] == "standard normal prior"]
    told = [f"{name} {gain['mean']:+.2f} ± {gain['error']:.2f}" for name, gain in found["gain_nats"].items()]
    return (
        f"statically binarized MNIST, one dense network, {found['images']:,} images each, three seeds: bound of "
        f"{found['iwae_samples']} samples with a standard normal prior, nats; paired gains",
        f"{statistics.mean(base):.2f}; {'; '.join(told)}",
    )


def _recipe_samples(r: Result) -> Row:
    plain, short = r["results"]["fitted"]["models"]
    return (
        "MNIST, Fréchet distance of 10,000 samples, one seed: `ae` with standard normal latents, with a normal of "
        "their moments, with a fitted mixture; `rae-l2`, which does not beat it, with a fitted mixture, with a flow",
        f"{plain['frechet_standard_normal']:.1f}, {plain['frechet_one_normal']:.2f}, {plain['frechet_mixture']:.2f}; "
        f"{short['frechet_mixture']:.2f}, {short['frechet_flow']:.2f}",
    )


def _recipe_codes(r: Result) -> Row:
    rows = r["results"]["codes"]["models"]
    told = [f"{row['used']:.0%} ({row['perplexity']:.0f})" for row in rows]
    return (
        "MNIST: share of 512 codes in use on test images (perplexity), "
        + " and ".join(f"`{r['recipe']}`" for r in rows),
        ", ".join(told),
    )


def _recipe_factors(r: Result) -> Row:
    found = r["results"]["factors"]
    told = []
    for name, mean in found["mean_mig"].items():
        each = ", ".join(f"{row['mig']:.3f}" for row in found["models"] if row["recipe"] == name)
        told.append(f"{mean:.3f} ({each})")
    names = " and ".join(f"`{name}`" for name in found["mean_mig"])
    return f"MIG of the drawn portraits' attributes, {names}: mean (three seeds)", "; ".join(told)


def _explorer(r: Result) -> Row:
    sides = [r[size][side] for size in ("64 px", "128 px") for side in ("threads", "one_thread")]
    moves = [side["slider_milliseconds"]["median"] for side in sides]
    ready = max(statistics.median(side["ready_milliseconds"]) for side in sides)
    return (
        "explorer, default `vae` in Chromium: from slider to new pixels at 64 px with threads and without, at 128 px; "
        "page ready from an empty cache, slowest of these",
        f"{moves[0]:.0f}, {moves[1]:.0f} ms; {moves[2]:.0f}, {moves[3]:.0f} ms; {ready / 1000:.1f} s",
    )


def _help(r: Result) -> Row:
    return "`vaekit --help`, median of ten", f"{r['median_seconds']:.2f} s"


FIGURES: tuple[Figure, ...] = (
    Figure("seed_ae_speed", "compare_seed_ae", _seed_ae),
    Figure("speed", "speed", _speed),
    Figure("speed", "speed", _quality, "time_to_quality.times_faster_by_software"),
    Figure("speed", "speed", _memory),
    Figure("large_set", "large_set", _large_set),
    Figure("ingest", "ingest", _ingest),
    Figure("ingest", "ingest", _reopen),
    Figure("ingest_faults", "ingest_faults", _faults),
    Figure("vae_vs_seed_vae", "compare_vaes", _compare, "pca"),
    Figure("editing_smiles_vae", "editing", _editing, "test_at_default_strength"),
    Figure("editing_smiles_seed_vae", "editing", _editing, "test_at_default_strength"),
    Figure("directions", "directions", _directions),
    Figure("anomalies", "anomalies", _digits),
    Figure("anomalies", "anomalies", _things, "things"),
    Figure("noise_robustness", "noise_robustness", _denoise, "denoise.denoising_over_ridge"),
    Figure("noise_robustness", "noise_robustness", _inpaint, "inpaint.inpaint_over_conditional_mean"),
    Figure("kills", "kills", _kills),
    Figure("doctor", "doctor", _doctor),
    Figure("doctor", "advice", _advice),
    Figure("burda", "burda", _burda),
    Figure("bits", "bits", _bits),
    Figure("recipes", "recipes", _recipe_bounds, "results.bounds"),
    Figure("recipes", "recipes", _recipe_samples),
    Figure("recipes", "recipes", _recipe_codes),
    Figure("recipes", "recipes", _recipe_factors),
    Figure("explorer", "explorer", _explorer),
    Figure("help_time", "help_time", _help),
)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    for each in FIGURES:
        state = "" if each.is_measured(json.loads((root / each.result).read_text())) else "not measured yet"
        print(f"{each.script:28} {each.result:44} {each.make.__name__.strip('_'):16} {state}".rstrip())
