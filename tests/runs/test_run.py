"""The methods of a run in Python, with exact results on small trained runs."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_numbers import NUMBERS, SSIM
from PIL import Image

import vaekit as vk
from vaekit.config.table import RECIPES
from vaekit.data import to_float, write_folder
from vaekit.data.portraits import portraits
from vaekit.errors import UserError
from vaekit.evaluation.metrics import psnr_db
from vaekit.latent import ops as edit
from vaekit.runs import folder as runs


@pytest.fixture(scope="module")
def vae(digits_vae: Path) -> vk.Run:
    return vk.load(digits_vae)


@pytest.fixture(scope="module")
def ae(digits_ae: Path) -> vk.Run:
    return vk.load(digits_ae)


@pytest.fixture(scope="module")
def faces(portraits_vae: Path) -> vk.Run:
    return vk.load(portraits_vae)


def test_what_a_run_knows(vae: vk.Run, digits_vae: Path) -> None:
    assert (vae.path, vae.shape) == (digits_vae, (1, 8, 8))
    assert (vae.config.data.images, vae.config.data.train_images) == (1797, 1425)
    assert vae.config.total_images == 2 * 1425
    assert vae.config.recipe.name == "vae" and vae.config.recipe.width == 8
    assert not vae.model.training


def test_encode_is_the_posterior_mean_in_any_company(vae: vk.Run) -> None:
    pixels = vae.images("test").pixels
    latents = vae.encode(pixels)
    assert latents.shape == (186, 16) and latents.dtype == torch.float32
    with torch.no_grad():
        expected = vae.model.encode(to_float(pixels)).mean
    assert torch.allclose(latents, expected, atol=1e-5)
    assert torch.equal(latents, vae.encode(pixels))
    assert torch.allclose(latents[7], vae.encode(pixels[7:8])[0], atol=1e-5)


def test_images_may_be_given_in_many_ways(vae: vk.Run) -> None:
    images = vae.images()[:5]
    latents = vae.encode(images)
    assert torch.equal(latents, vae.encode(images.pixels))
    assert torch.equal(latents, vae.encode(images.pixels[:, 0].numpy()))
    # Of another size and with color: brought to the run's own.
    large = np.repeat(np.repeat(images.pixels.permute(0, 2, 3, 1).numpy(), 4, 1), 4, 2).repeat(3, 3)
    assert torch.allclose(vae.encode(large), latents, atol=0.2)


def test_a_gray_run_reads_one_color_image_as_one(vae: vk.Run) -> None:
    color = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert torch.equal(vae.encode(color), vae.encode(color[None])) and len(vae.reconstruct(color)) == 1
    for verb in (vae.encode, vae.reconstruct, vae.compare, vae.evaluate):
        with pytest.raises(UserError, match="one RGB image of 16x12 or 16 gray images of 12x3"):
            verb(np.zeros((16, 12, 3), np.uint8))
    with pytest.raises(UserError, match=r"noisy have shape \(8, 8, 3\)"):
        vae.denoise(color / 255)


def test_what_training_says_of_images_is_said_of_those_a_verb_is_given(
    vae: vk.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    ramp = np.linspace(0, 4095, 64).reshape(8, 8)
    pages = [Image.fromarray((ramp - page).clip(0).astype(np.uint16)) for page in range(2)]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "b.png")
    (folder / "labels.csv").write_text("x")
    (folder / "c.png").write_bytes(b"no image")
    said = ("use 6.2 % of their range", "1 file has more than one frame or page, such as a.tif", "not used: labels.csv")
    verbs = (
        lambda: vae.reconstruct(folder),
        lambda: vae.save_latents(tmp_path / "latents.csv", folder),
        lambda: vae.evaluate(folder),
        lambda: vae.neighbors(folder),
    )
    for verb in verbs:
        verb()
        lines = capsys.readouterr().err.splitlines()
        for each in (*said, "skipped 1 unreadable file: c.png"):
            assert sum(each in line for line in lines) == 1, lines
        assert len(lines) == 4  # not that there are too few to split
    images = vk.open_images(folder)
    vae.reconstruct(images)
    assert not capsys.readouterr().err and len(images.remarks) == 5
    vae.edit([folder / "a.tif"], {"0": 1.0})
    assert "a.tif" in capsys.readouterr().err


def test_reconstruct_and_decode_agree(vae: vk.Run) -> None:
    pixels = vae.images("test").pixels[:12]
    assert torch.equal(vae.reconstruct(pixels).pixels, vae.decode(vae.encode(pixels)).pixels)
    pairs = vae.compare(pixels)
    assert torch.equal(pairs.pixels[:10], pixels[:10]) and len(pairs) == 24


def test_generate_depends_on_the_seed_not_on_the_count(vae: vk.Run) -> None:
    eighteen = vae.generate(18, seed=3)
    assert len(eighteen) == 18 and eighteen.figure.columns == 6
    assert torch.equal(vae.generate(4, seed=3).pixels, eighteen.pixels[:4])
    assert not torch.equal(vae.generate(4, seed=4).pixels, eighteen.pixels[:4])


def test_interpolate_goes_from_one_end_to_the_other(vae: vk.Run) -> None:
    walk = vae.interpolate("label:0", "label:1", steps=6)
    ends = torch.stack([vae.latent("label:0"), vae.latent("label:1")])
    assert len(walk) == 6
    assert (walk.pixels[[0, -1]].int() - vae.decode(ends).pixels.int()).abs().max() <= 1
    weights = torch.linspace(0, 1, 6)[:, None]
    straight = edit.decode(vae.model, ends[0] * (1 - weights) + ends[1] * weights)
    assert torch.equal(walk.pixels, straight)
    assert torch.equal(vae.interpolate(ends[0], ends[1]).pixels, walk.pixels)
    assert torch.equal(vae.interpolate("label:0", "label:1 - label:2 + label:2").pixels[0], walk.pixels[0])


def test_groups_are_the_mean_of_their_training_images(vae: vk.Run, faces: vk.Run) -> None:
    threes = vae.images("train")
    threes = threes[threes.labels == 3]
    assert torch.allclose(vae.latent("label:3"), vae.encode(threes).mean(0), atol=1e-5)
    with_glasses = faces.images("train").select("attr:glasses=1")
    assert 0 < len(with_glasses) < 48
    assert torch.allclose(faces.latent("attr:glasses=1"), faces.encode(with_glasses).mean(0), atol=1e-5)


def test_arithmetic_is_arithmetic(faces: vk.Run) -> None:
    groups = [f"attr:glasses={glasses},male={male}" for glasses in (0, 1) for male in (0, 1)]
    women, men, women_glasses, men_glasses = (faces.latent(group) for group in groups)
    sheet = faces.arithmetic(f"{groups[3]} - {groups[2]} + {groups[0]}")
    assert torch.equal(sheet.pixels, faces.decode((men_glasses - women_glasses + women)[None]).pixels)
    half = faces.arithmetic(f"0.5 * {groups[0]} + 0.5 * {groups[1]}")
    assert torch.equal(half.pixels, faces.decode((0.5 * women + 0.5 * men)[None]).pixels)


def test_files_and_folders_are_latents_too(faces: vk.Run, tmp_path: Path) -> None:
    write_folder(vk.open_images("portraits:3", size=16), tmp_path / "a few")
    files = sorted((tmp_path / "a few").glob("*.png"))
    each = torch.stack([faces.latent(str(file)) for file in files])
    assert torch.allclose(faces.latent(str(tmp_path / "a few")), each.mean(0), atol=1e-5)
    assert torch.allclose(each, faces.encode("portraits:3"), atol=1e-5)
    sheet = faces.arithmetic(f"'{tmp_path / 'a few'}' - '{files[0]}'")
    assert torch.equal(sheet.pixels, faces.decode((faces.latent(str(tmp_path / "a few")) - each[0])[None]).pixels)


def test_a_file_name_with_spaces_is_an_end_of_a_walk(faces: vk.Run, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("my cat.png", "a - b.png")]
    for path, picture in zip(paths, faces.images("test").pixels, strict=False):
        Image.fromarray(picture.movedim(0, -1).squeeze(-1).numpy()).save(path)
    walk = faces.interpolate(*paths, steps=2).pixels
    assert torch.equal(walk, faces.decode(torch.stack([faces.latent(path) for path in paths])).pixels)


def test_denoise_reports_the_gain(vae: vk.Run) -> None:
    pixels = vae.images("test").pixels[:50]
    sheet, numbers = vae.denoise_sheet(pixels, 0.3, seed=1)
    noisy = edit.add_noise(to_float(pixels), 0.3, 1)
    assert numbers["noisy_psnr_db"] == pytest.approx(-20 * np.log10(0.3), abs=0.3)
    assert numbers["denoised_psnr_db"] == pytest.approx(psnr_db(vae.denoise(noisy), to_float(pixels)))
    assert numbers["gain_db"] == pytest.approx(numbers["denoised_psnr_db"] - numbers["noisy_psnr_db"])
    assert len(sheet) == 150 and torch.equal(sheet.pixels[:10], pixels[:10])  # clean, noisy, denoised
    plain, nothing = vae.denoise_sheet(pixels, None)
    assert nothing == {} and torch.equal(plain.pixels[:10], pixels[:10])


def test_inpaint_leaves_visible_pixels_alone(vae: vk.Run, ae: vk.Run) -> None:
    for run in (vae, ae):
        truth = to_float(run.images("test").pixels[:4])
        hidden = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
        hidden[:, :, 2:6, 2:6] = True
        filled = run.inpaint(truth.masked_fill(hidden, 0.5), hidden)
        assert torch.equal(filled[~hidden], truth[~hidden])
        assert (filled[hidden] != 0.5).all() and filled.min() >= 0 and filled.max() <= 1
        again = run.inpaint(truth.masked_fill(hidden, 0.5), hidden)
        assert torch.equal(filled, again)


def test_inpaint_never_sees_what_is_hidden(vae: vk.Run) -> None:
    pixels = vae.images("test").pixels[:2]
    sheet, numbers = vae.inpaint_sheet(pixels, "center:4x4")
    assert numbers["hidden_pixels"] == 2 * 16
    other = pixels.clone()
    other[:, :, 2:6, 2:6] = 255 - other[:, :, 2:6, 2:6]
    shown = vae.inpaint_sheet(other, "center:4x4")[0].pixels
    assert torch.equal(sheet.pixels[:2], pixels) and torch.equal(shown[:2], other)  # the originals, beside the point
    assert torch.equal(shown[2:], sheet.pixels[2:])


def test_evaluate_of_a_vae(vae: vk.Run) -> None:
    numbers = dict(vae.evaluate())
    assert len(numbers.pop("kl_per_dim_nats")) == len(numbers.pop("kl_per_dim_nats_error")) == vae.model.latent_dim
    assert numbers.pop("part") == "test"
    assert numbers.keys() == NUMBERS | SSIM and numbers["images"] == len(vae.images("test")) == 186
    assert numbers["elbo_nats"] == pytest.approx(-numbers["distortion_nats"] - numbers["rate_nats"])
    assert numbers["rate_nats"] > 0
    pixels = vae.images("test").pixels
    with torch.no_grad():
        error = (vae.model.decode(vae.encode(pixels)).picture - to_float(pixels)).square()
    assert numbers["sse_per_image"] == pytest.approx(float(error.sum() / 186), rel=1e-4)
    assert numbers["psnr_db"] == pytest.approx(-10 * np.log10(numbers["sse_per_image"] / 64))
    assert vae.evaluate(seed=1)["sse_per_image"] == numbers["sse_per_image"]
    assert vae.evaluate(seed=1)["distortion_nats"] != numbers["distortion_nats"]
    final = {key.removeprefix("final_"): value for key, value in vae.final_numbers().items()}
    assert final == {name: value for name, value in numbers.items() if name not in SSIM}


def test_evaluate_of_an_autoencoder_claims_no_bound(ae: vk.Run) -> None:
    numbers = ae.evaluate()
    assert numbers.keys() == NUMBERS | SSIM | {"part"}
    assert numbers["elbo_nats"] is None and numbers["rate_nats"] is None
    # A normal likelihood with variance 1/2: distortion = SSE + (D/2) log π.
    assert numbers["distortion_nats"] == pytest.approx(numbers["sse_per_image"] + 32 * np.log(np.pi), rel=1e-5)


def test_evaluate_chooses_the_images_as_it_says(vae: vk.Run, tmp_path: Path) -> None:
    assert vae.evaluate(split="all")["images"] == 1797
    assert vae.evaluate(split="train")["images"] == 1425
    assert vae.evaluate("digits")["images"] == 186  # the same images, hence the run's own test part
    folder = write_folder(vk.open_images("portraits:9", size=8, channels=1), tmp_path / "nine")
    assert vae.evaluate(folder)["images"] == 9
    with pytest.raises(UserError, match="^split val.*no images"):
        vae.evaluate(folder, split="val")


def test_what_was_trained_on_an_array_asks_for_images(tmp_path: Path) -> None:
    """A run recognizes its own images by content, and then uses the test part; otherwise all images."""
    array = portraits.draw(40, 16)
    run = vk.train(array, "seed-ae", tmp_path / "run", epochs=1, quiet=True)
    with pytest.raises(UserError, match="images from Python, which it does not store; give the images"):
        run.evaluate()
    in_test = len(vk.open_images(array).part("test"))
    assert 0 < in_test < 40 and run.evaluate(array)["images"] == in_test
    assert run.evaluate(array[:20])["images"] == 20


def test_the_test_part_is_that_of_the_images_given(tmp_path: Path) -> None:
    """A split from another seed is stored with the run, so that training images are never test images."""
    images = vk.open_images("digits", seed=5)
    run = vk.train(images, "seed-ae", tmp_path / "run", epochs=0.1, quiet=True)
    assert run.images("test").names == images.part("test").names
    assert run.images("test").names != vk.open_images("digits").part("test").names


def test_what_is_no_image_and_no_latent_is_refused(vae: vk.Run) -> None:
    pixels = vae.images("test").pixels[:2]
    with pytest.raises(UserError, match="uint8; expected floats"):
        vae.denoise(pixels)
    with pytest.raises(UserError, match="uint8; expected floats"):
        vae.inpaint(pixels, torch.ones(2, 1, 8, 8, dtype=torch.bool))
    with pytest.raises(UserError, match=r"the ends have shapes"):
        vae.interpolate(np.zeros(3), np.zeros(3))
    with pytest.raises(UserError, match=r"latents have shape .*; expected \[N, 16\]"):
        vae.decode(vae.latent("label:3"))


def test_another_process_encodes_bit_for_bit_the_same(digits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(digits_vae)
    program = (
        "import sys, torch, vaekit as vk; torch.set_num_threads(1)\n"
        "latents = vk.load(sys.argv[1]).encode(vk.open_images('digits').pixels[:256])\n"
        "sys.stdout.buffer.write(latents.numpy().tobytes())"
    )
    words = [sys.executable, "-c", program, str(digits_vae)]
    source = str(Path(runs.__file__).parents[2])
    other = subprocess.run(words, capture_output=True, check=True, timeout=120, env={"PYTHONPATH": source})
    assert other.stdout == run.encode(vk.open_images("digits").pixels[:256]).numpy().tobytes()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("recipe", ["vae", "seed-ae", "seed-vae"])
def test_folders_of_a_few_images(recipe: str, count: int, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for index, face in enumerate(portraits.draw(count, 16)):
        Image.fromarray(face).save(folder / f"{index}.png")
    settings = {"width": "8"} if recipe == "vae" else None
    run = vk.train(folder, recipe, tmp_path / "run", epochs=3, quiet=True, settings=settings)
    split = run.config.data.train_images
    assert split == count if count < 10 else 5 <= split <= 9  # what is carved out is not empty
    assert run.encode(folder).isfinite().all() and len(run.encode(folder)) == count
    assert run.evaluate(split="all")["images"] == count
    assert np.isfinite(run.final_numbers()["final_psnr_db"])


@pytest.mark.parametrize(
    ("recipe", "source", "size"),
    [("vae", "digits", 16), ("wae-mmd", "digits", 16), ("ae", "portraits:40", 32), ("iaf-vae", "portraits:40", 32)],
)
def test_the_numbers_of_a_run_and_what_they_are_called(recipe: str, source: str, size: int, tmp_path: Path) -> None:
    row = RECIPES[recipe]
    settings = {"width": "8"} if row.net == "resnet" else None
    run = vk.train(source, recipe, tmp_path / "run", size=size, images=160, quiet=True, settings=settings)
    numbers = dict(run.evaluate())
    assert ("kl_per_dim_nats" in numbers) == row.has_bound
    for name in ("kl_per_dim_nats", "kl_per_dim_nats_error"):
        numbers.pop(name, None)
    assert numbers.pop("part") == "test"
    assert numbers.keys() == NUMBERS | SSIM
    assert np.isfinite([value for value in numbers.values() if value is not None]).all()
    assert (numbers["elbo_nats"] is None) == (not row.has_bound)
    pixels = run.images("test").pixels[:3]
    assert run.reconstruct(pixels).pixels.shape == pixels.shape
    assert run.denoise(to_float(pixels)).isfinite().all()
    group = "label:1" if source == "digits" else "attr:male=1"
    assert len(run.interpolate(group, group, steps=2)) == 2
    assert len(run.arithmetic(f"{group} - {group} + {group}")) == 1
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "final" and lines[-1]["final_psnr_db"] == numbers["psnr_db"]


def test_a_registered_recipe_works_everywhere(tmp_path: Path, vaekit: Callable) -> None:
    import dataclasses

    row = dataclasses.replace(vk.recipes.get("vae"), name="free-bits-vae", free_bits_nats=0.1)
    vk.register(row)
    try:
        command = ("train", "digits", "--recipe", "free-bits-vae", "--images", 64, "--set", "width=8")
        assert vaekit(*command, "--out", tmp_path / "run").code == 0
        assert "free-bits-vae" in json.loads(vaekit("recipes", "--json").out)
        assert vaekit("generate", tmp_path / "run", "--out", tmp_path / "x.png").code == 0
    finally:
        vk.recipes.unregister("free-bits-vae")


def test_a_run_shows_itself_in_a_notebook(digits_vae: Path) -> None:
    shown = vk.load(digits_vae)._repr_html_()
    assert "<table>" in shown and "psnr_db" in shown and str(digits_vae) in shown
    picture = base64.b64decode(re.findall(r"base64,([^\"]+)", shown)[0])
    newest = sorted((digits_vae / "pictures").glob("*-reconstructions.png"))[-1]
    assert picture == newest.read_bytes()
