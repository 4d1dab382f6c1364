"""The page of a run: its data match the run, it is stored and updated, and shows no image that it should not."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.errors import UserError
from vaekit.explorer import served as serving
from vaekit.explorer import site as pages
from vaekit.export.bundle import verify
from vaekit.latent import neighbors as search
from vaekit.runs import report
from vaekit.system.http import HEADERS, bind

Cli = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def _built_page() -> None:
    try:
        pages.check_page()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(portraits_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    told = pages.publish(vk.load(portraits_vae), out, count=20)
    assert told["images_shown"] == 20
    return out


def facts_of(site: Path) -> dict[str, Any]:
    return dict(json.loads((site / "explorer.json").read_text()))


def latents_of(site: Path) -> tuple[np.ndarray, np.ndarray]:
    model = json.loads((site / "model" / "model.json").read_text())
    length, numbers = model["latent_dim"], np.frombuffer((site / "latents.bin").read_bytes(), "<f4")
    if not (model["prior"] and model["prior"]["factor"]):
        return numbers.reshape(-1, length), np.eye(length)
    return numbers[: -(length**2)].reshape(-1, length), numbers[-(length**2) :].reshape(length, length)


def thumbnails(site: Path) -> list[np.ndarray]:
    tiles, sheet = facts_of(site)["tiles"], np.asarray(Image.open(site / "images.webp").convert("RGB")).astype(int)
    width, height = tiles["width"], tiles["height"]
    places = [divmod(i, tiles["columns"]) for i in range(len(facts_of(site)["images"]["points"]))]
    return [sheet[row * height : (row + 1) * height, at * width : (at + 1) * width] for row, at in places]


def test_the_artifact_in_it_is_whole(site: Path) -> None:
    assert verify(site / "model")["precision"] == "fp32"


def test_latents_names_and_points_are_of_the_same_images(site: Path, portraits_vae: Path) -> None:
    run = vk.load(portraits_vae)
    images, (latents, _), facts = run.images(), latents_of(site), facts_of(site)
    rows = [images.names.index(name) for name in facts["images"]["names"]]
    assert len(set(rows)) == 20 and rows[0] == 0 and rows[-1] == len(images) - 1
    expected = run.encode(images.pixels[rows])
    assert np.allclose(latents, expected.numpy(), atol=1e-5)
    along = (latents - np.array(facts["mean"])) @ np.array(facts["plane"]["axes"]).T
    assert np.allclose(along, facts["images"]["points"], atol=1e-4)
    for shown, row in zip(thumbnails(site), rows, strict=True):
        assert np.abs(shown - images.pixels[row].permute(1, 2, 0).numpy()).mean() < 6


def test_the_matrix_makes_noise_of_latents(site: Path, portraits_vae: Path) -> None:
    run = vk.load(portraits_vae)
    matrix = latents_of(site)[1]
    mean = np.array(json.loads((site / "model" / "model.json").read_text())["prior"]["mean"])
    latents = np.random.Generator(np.random.Philox(0)).standard_normal((50, len(mean)))
    expected = search.standardized(run.model, torch.from_numpy(latents).float()).numpy()
    assert np.abs((latents - mean) @ matrix - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected - latents).max() > 0.1  # or no matrix would do


@pytest.mark.parametrize("recipe", ["grid-vae", "ladder-vae"])
def test_latents_that_are_noise_have_no_matrix(recipe: str, tmp_path: Path) -> None:
    settings = {"width": "8", "level_groups": "1"}
    run = vk.train("digits", recipe, tmp_path / "run", images=32, settings=settings, quiet=True)
    pages.publish(run, tmp_path / "site", count=20)
    prior = json.loads((tmp_path / "site" / "model" / "model.json").read_text())["prior"]
    assert prior["factor"] == [] and len(prior["mean"]) == run.model.latent_dim
    kept = torch.from_numpy(np.fromfile(tmp_path / "site" / "latents.bin", "<f4")).unflatten(0, (20, -1))
    names, pixels = run.images().names, run.images().pixels
    rows = [names.index(name) for name in facts_of(tmp_path / "site")["images"]["names"]]
    with torch.no_grad():
        made = run.model.drawn_from().from_noise(kept)
    torch.testing.assert_close(made, run.encode(pixels[rows]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["grid-vae", "ladder-vae"])
def test_the_map_shows_summaries_and_its_axes_move_them(recipe: str, tmp_path: Path) -> None:
    settings = {"width": "8"}
    run = vk.train("digits", recipe, tmp_path / "run", size=24, images=32, settings=settings, quiet=True)
    pages.publish(run, tmp_path / "site", count=20)
    facts = facts_of(tmp_path / "site")
    axes, points = torch.tensor(facts["plane"]["axes"]), torch.tensor(facts["images"]["points"])
    names, mean = run.images().names, torch.tensor(facts["mean"])
    summaries = run.model.summary(run.encode(run.images().pixels[[names.index(n) for n in facts["images"]["names"]]]))
    unit = run.model.summary(axes)
    torch.testing.assert_close(unit @ unit.mT, torch.eye(2), atol=1e-5, rtol=0)
    torch.testing.assert_close((summaries - summaries.mean(0)) @ unit.mT, points, atol=1e-4, rtol=1e-4)
    moved = run.model.summary(mean + points @ axes) - run.model.summary(mean[None])
    torch.testing.assert_close(moved @ unit.mT, points, atol=1e-4, rtol=1e-4)
    assert facts["grid"] == (list(run.model.latent_shapes[0]) if recipe == "grid-vae" else None)


@pytest.mark.parametrize("with_images", [True, False])
def test_codes_are_written_with_their_vectors_and_samples(with_images: bool, tmp_path: Path) -> None:
    settings = {"width": "8", "code_count": "16"}
    run = vk.train("digits", "vq-vae", tmp_path / "run", images=64, settings=settings, quiet=True)
    pages.publish(run, tmp_path / "site", count=20, with_images=with_images)
    facts, about = facts_of(tmp_path / "site"), facts_of(tmp_path / "site")["codes"]
    model = json.loads((tmp_path / "site" / "model" / "model.json").read_text())["codes"]
    cells, size = model["rows"] * model["columns"], about["vector_size"]
    numbers = torch.from_numpy(np.fromfile(tmp_path / "site" / "latents.bin", "<f4"))
    codes, vectors, samples = numbers.split([20 * cells, 16 * size, about["samples"] * cells])
    grids = codes.long().unflatten(0, (20, model["rows"], model["columns"]))
    assert facts["axes"] == [] and torch.equal(codes, codes.round())
    means = run.model.summary(vectors.unflatten(0, (16, size))[grids].flatten(1))  # what the page compares
    along = (means - torch.tensor(facts["mean"])) @ torch.tensor(facts["plane"]["axes"]).mT
    torch.testing.assert_close(along, torch.tensor(facts["images"]["points"]), atol=1e-4, rtol=1e-4)
    assert samples.min() >= 0 and samples.max() < 16
    if with_images:
        names = run.images().names
        rows = [names.index(name) for name in facts["images"]["names"]]
        assert torch.equal(run.codes(run.images().pixels[rows]), grids)
    else:
        assert torch.equal(samples[: 20 * cells], codes) and facts["images"]["kind"] == "samples"


def test_numbers_are_those_of_the_run(site: Path, portraits_vae: Path) -> None:
    run, facts = vk.load(portraits_vae), facts_of(site)
    shown = {each["name"]: each["value"] for each in facts["numbers"]}
    assert float(shown["PSNR"]) == pytest.approx(run.final_numbers()["final_psnr_db"], abs=0.01)
    axis = facts["axes"][0]
    (first,) = run.axes(1)
    assert (axis["name"], axis["levels"]) == (first.name, pytest.approx(first.size))
    assert np.allclose(axis["step"], first.step)
    assert [each["epoch"] for each in facts["epochs"]] == sorted(int(p.name[6:10]) for p in _pictures(portraits_vae))
    assert all((site / each["reconstructions"]["file"]).is_file() for each in facts["epochs"])


def _pictures(run: Path) -> list[Path]:
    return list((run / "pictures").glob("epoch-*-reconstructions.png"))


def everything_in(site: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file())


def test_without_images_it_shows_none(tmp_path: Path) -> None:
    folder = tmp_path / "private-folder"
    (folder / "cats").mkdir(parents=True)
    faces = vk.open_images("portraits:12", size=16).pixels
    for i, face in enumerate(faces):
        Image.fromarray(face.permute(1, 2, 0).numpy()).save(folder / "cats" / f"person-{i}.png")
    run = vk.train(folder, "vae", tmp_path / "run", epochs=1, quiet=True, settings={"width": "8"})
    pages.publish(run, tmp_path / "open", count=20)
    told = pages.publish(run, tmp_path / "site", count=20, with_images=False)
    facts, (latents, _) = facts_of(tmp_path / "site"), latents_of(tmp_path / "site")
    assert told["images_shown"] == 0 and facts["images"] | {"points": 0} == {
        "kind": "samples", "names": None, "labels": None, "points": 0,
    }  # fmt: skip
    assert not list((tmp_path / "site" / "pictures").glob("*reconstructions*"))
    assert len(latents) == 20 and not np.isin(latents, run.stored()[0]["latents"].numpy()).any()
    said = everything_in(tmp_path / "open"), everything_in(tmp_path / "site")
    for name in (b"person-", b"private-folder", run.config.data.fingerprint.encode()):
        assert (name in said[0]) == (name != run.config.data.fingerprint.encode()) and name not in said[1]


@pytest.fixture
def autoencoder(tmp_path: Path) -> vk.Run:
    return vk.train("digits", "ae", tmp_path / "run", images=64, settings={"net": "mlp"}, quiet=True)


def test_without_images_an_autoencoder_shows_samples_of_its_fitted_prior(autoencoder: vk.Run, tmp_path: Path) -> None:
    pages.publish(autoencoder, tmp_path / "before", count=20, with_images=False)
    assert facts_of(tmp_path / "before")["images"]["kind"] == "latents"
    autoencoder.fit_prior(components=3)
    run = vk.load(autoencoder.path)
    told = pages.publish(run, tmp_path / "site", count=20, with_images=False)
    facts, (latents, matrix) = facts_of(tmp_path / "site"), latents_of(tmp_path / "site")
    assert told["images_shown"] == 0 and facts["images"]["kind"] == "samples" and facts["source"] is None
    pz = run.model.drawn_from()
    noise = torch.randn(20, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(latents, pz.from_noise(noise).numpy(), atol=1e-5)
    assert not np.isin(latents, run.stored()[0]["latents"].numpy()).any()
    for shown, picture in zip(thumbnails(tmp_path / "site"), run.decode(torch.tensor(latents)).pixels, strict=True):
        assert np.abs(shown - picture.permute(1, 2, 0).numpy()).max() <= 2
    prior = json.loads((tmp_path / "site" / "model" / "model.json").read_text())["prior"]
    assert prior["network"] == "prior.onnx" and verify(tmp_path / "site" / "model", told["model_digest"])
    np.testing.assert_allclose(prior["mean"], pz.moments.mean.numpy(), atol=1e-6)
    factor, identity = np.array(prior["factor"]), np.eye(len(matrix))
    np.testing.assert_allclose(factor @ matrix, identity, atol=1e-3)  # of the same normal: noise and back


def test_the_kept_page_is_made_anew_after_another_prior_was_fitted(
    autoencoder: vk.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "serve", lambda *_: None)
    path, kept = autoencoder.path, autoencoder.path / "explorer"

    def prior() -> Any:
        serving.explore(vk.load(path))
        return json.loads((kept / "model" / "model.json").read_text())["prior"]

    assert prior() is None and serving._is_current(kept, vk.load(path))
    autoencoder.fit_prior(components=3)
    assert not serving._is_current(kept, vk.load(path))
    assert prior()["network"] == "prior.onnx" and (kept / "model" / "prior.onnx").exists()
    assert serving._is_current(kept, vk.load(path))
    autoencoder.fit_prior(components=1)
    assert not serving._is_current(kept, vk.load(path))
    (path / "prior.safetensors").unlink()
    assert not serving._is_current(kept, vk.load(path))


def test_nothing_tells_where_it_was_made(site: Path, portraits_vae: Path) -> None:
    for path in (Path.home(), Path(vk.__file__).parent, portraits_vae.parent, Path(torch.__file__).parent):
        assert str(path).encode() not in everything_in(site)


def test_where_the_images_have_gone_their_latents_are_drawn(tmp_path: Path) -> None:
    source = vk.open_images("digits").pixels[:40, 0].numpy()
    np.save(tmp_path / "some.npy", source)
    run = vk.train(str(tmp_path / "some.npy"), "ae", tmp_path / "run", epochs=1, quiet=True)
    (tmp_path / "some.npy").unlink()
    pages.publish(vk.load(tmp_path / "run"), tmp_path / "site", count=1000)
    facts = facts_of(tmp_path / "site")
    assert facts["images"]["kind"] == "latents"
    assert len(facts["images"]["points"]) == len(run.stored()[0]["latents"])


def test_what_cannot_be_published_is_said(portraits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = vk.load(portraits_vae)
    (tmp_path / "there").mkdir()
    for out, count, words in [
        (tmp_path / "there", 5, "already exists"),
        (tmp_path / "site", 0, "expected 1 to 5,000"),
        (tmp_path / "site", 5001, "expected 1 to 5,000"),
    ]:
        with pytest.raises(UserError, match=words):
            pages.publish(run, out, count)
    monkeypatch.setattr(pages, "_PAGE", "nowhere")
    with pytest.raises(UserError, match="make web"):
        pages.publish(run, tmp_path / "site")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_a_site_that_cannot_be_finished_leaves_nothing(
    portraits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "_write_tiles", full)
    with pytest.raises(UserError, match="No space left"):
        pages.publish(vk.load(portraits_vae), tmp_path / "site", 5)
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_kept_and_renewed(portraits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copytree(portraits_vae, tmp_path / "run"))
    served: list[Mapping[str, Path]] = []
    monkeypatch.setattr(serving, "serve", lambda files, *_: served.append(files))

    def made() -> int:
        serving.explore(vk.load(path))
        return served[-1]["explorer.json"].stat().st_mtime_ns

    first, kept, run = made(), path / "explorer", vk.load(path)
    assert "index.html" in served[-1] and made() == first
    assert not (kept / "index.html").exists()  # the page comes from the package
    for name in ("latents.bin", "model/decoder.onnx"):
        good = (kept / name).read_bytes()
        (kept / name).unlink()
        assert not serving._is_current(kept, run)
        (kept / name).write_bytes(good)
    facts = (kept / "explorer.json").read_text()
    (kept / "explorer.json").write_text(facts.replace(f'"images_seen": {run.images_seen()}', '"images_seen": 1'))
    assert not serving._is_current(kept, run)
    (kept / "explorer.json").write_text(facts)
    assert serving._is_current(kept, run)
    for name in ("latents.bin", "explorer.json", "model/decoder.onnx", "SHA256SUMS"):
        good = (kept / name).read_bytes()
        (kept / name).write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])  # one bit
        assert not serving._is_current(kept, run)
        (kept / name).write_bytes(good)
    run.add_direction("new", str(_faces(tmp_path / "a")), str(_faces(tmp_path / "b")))
    assert not serving._is_current(kept, run) and made() != first
    assert "new" in json.loads((kept / "model" / "model.json").read_text())["directions"]
    monkeypatch.setattr(serving, "_can_store", lambda _: False)
    shutil.rmtree(path / "explorer")
    serving.explore(vk.load(path))
    temporary = served[-1]["explorer.json"]
    assert path not in temporary.parents and not temporary.exists()


def planted(run: Path, tmp_path: Path) -> Path:
    """A copy of an explored run, with files that a stranger may have added."""
    path = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "serve", lambda *_: None)
        serving.explore(vk.load(path))
    kept, secret = path / "explorer", tmp_path / "secret.txt"
    secret.write_text("nobody is to read this")
    for name in ("sw.js", "evil.html", "index.html", "assets/more.js", "model/sw.js", "pictures/0001-samples.html"):
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).write_text("evil")
    (kept / "pictures" / "0099-samples.webp").symlink_to(secret)
    os.mkfifo(kept / "pictures" / "0098-samples.webp")
    (kept / "private").symlink_to(tmp_path, target_is_directory=True)
    return path


def test_of_a_strangers_run_only_data_of_known_names_are_served(portraits_vae: Path, tmp_path: Path) -> None:
    path = planted(portraits_vae, tmp_path)
    served: list[Mapping[str, Path]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "serve", lambda files, *_: served.append(files))
        serving.explore(vk.load(path))
    page, kept = pages.check_page(), path / "explorer"
    of_run = {name for name, file in served[0].items() if page not in file.parents}
    pictures = {f"pictures/{file.name}" for file in (kept / "pictures").glob("000[0-2]-*.webp")}
    assert of_run == {*pages.REQUIRED, *pictures} and pictures
    assert {name for name in served[0] if name not in of_run} == {
        file.relative_to(page).as_posix() for file in page.rglob("*") if file.is_file()
    }
    assert not any(b"evil" in file.read_bytes()[:4] for file in served[0].values())


def test_a_kept_page_that_is_a_link_is_neither_served_nor_removed(portraits_vae: Path, tmp_path: Path) -> None:
    path = planted(portraits_vae, tmp_path)
    (path / "explorer").rename(tmp_path / "elsewhere")
    (path / "explorer").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    served: list[Mapping[str, Path]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "serve", lambda files, *_: served.append(files))
        serving.explore(vk.load(path))
    assert not any((path / "explorer") in file.parents for file in served[0].values())
    assert (tmp_path / "elsewhere" / "latents.bin").exists()


def odd_pictures(run: Path, tmp_path: Path) -> dict[str, str]:
    """Put invalid pictures into a run; returns the expected note for each name."""
    private = tmp_path / "private.png"
    Image.new("RGB", (40, 40), (250, 10, 20)).save(private)
    pictures = run / "pictures"
    (pictures / "epoch-0003-samples.png").symlink_to(private)
    os.mkfifo(pictures / "epoch-0004-samples.png")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(pictures / "epoch-0005-samples.png", "EPS")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(pictures / "epoch-0006-samples.png", "JPEG")
    with open(pictures / "epoch-0007-samples.png", "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    bomb = zlib.compress(bytes(1 << 20))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", bomb), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (pictures / "epoch-0008-samples.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    (pictures / "epoch-0009-samples.png").mkdir()
    words = [
        "a symbolic link",
        "a named pipe",
        "not a PNG file",
        "not a PNG file",
        "the limit is 268 MB",
        "bomb",
        "a folder",
    ]
    return {f"epoch-{3 + i:04d}-samples.png": word for i, word in enumerate(words)}


def test_pictures_of_a_strangers_run_are_its_own_png_files(
    portraits_vae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    path = Path(shutil.copytree(portraits_vae, tmp_path / "run"))
    words = odd_pictures(path, tmp_path)
    shown = len(list(portraits_vae.glob("pictures/*-samples.png")))
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", start)
    run = vk.load(path)
    capsys.readouterr()
    pages.publish(run, tmp_path / "site", 5, with_images=False)
    said = capsys.readouterr().err
    assert len(list((tmp_path / "site" / "pictures").iterdir())) == shown
    assert all(f"skipping {path / 'pictures' / name}" in said and word in said for name, word in words.items())
    report.write(path)
    said = capsys.readouterr().err
    assert all(f"skipping {path / 'pictures' / name}" in said and word in said for name, word in words.items())
    assert (path / "report.html").read_text().count('alt="samples') == shown
    run._repr_html_()


def test_a_folder_of_pictures_that_is_a_link_is_left_out(
    portraits_vae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(portraits_vae, tmp_path / "run"))
    (path / "pictures").rename(tmp_path / "private")
    (path / "pictures").symlink_to(tmp_path / "private", target_is_directory=True)
    pages.publish(vk.load(path), tmp_path / "site", 5)
    assert not list((tmp_path / "site" / "pictures").iterdir())
    assert f"{path / 'pictures'} (a symbolic link, not a folder)" in capsys.readouterr().err
    assert "<img" not in vk.load(path)._repr_html_()


def _faces(folder: Path) -> Path:
    folder.mkdir()
    Image.new("RGB", (16, 16), "red" if folder.name == "a" else "blue").save(folder / "x.png")
    return folder


def test_a_port_that_is_taken_is_told_before_the_work(portraits_vae: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(portraits_vae, tmp_path / "run", ignore=shutil.ignore_patterns("explorer")))
    with bind({}) as server, pytest.raises(UserError, match="is not available"):
        serving.explore(vk.load(path), server.server_address[1])
    assert not (path / "explorer").exists()


def test_the_page_and_the_server_have_one_policy() -> None:
    page = (pages.check_page() / "index.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy"\s+content="([^"]+)"', page)
    assert HEADERS["Content-Security-Policy"] == f"{policy}; frame-ancestors 'none'"


def test_explore_serves_until_it_is_interrupted(portraits_vae: Path) -> None:
    command = [sys.executable, "-m", "vaekit", "explore", str(portraits_vae), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stderr.readline() == f"vaekit: opening {portraits_vae}\n"
            address = json.loads(process.stdout.readline())["explorer"]
            with urllib.request.urlopen(address + "model/model.json") as answer:
                assert "latent_dim" in json.load(answer)
            with urllib.request.urlopen(address) as answer:
                assert b"vaekit explorer" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read().splitlines()[-1] == "vaekit: serving the page until you press Ctrl-C"


def test_explore_says_what_it_does_before_it_loads_anything(vaekit: Cli, tmp_path: Path) -> None:
    """Importing PyTorch takes seconds; a line is printed before."""
    program = (
        "import sys; from vaekit.cli import main; import vaekit.cli.export as verbs\n"
        "verbs.note = lambda text: (print(text, sys.modules.get('torch')), sys.exit(0))\n"
        "main(['explore', 'run'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "vaekit: opening run None\n"


def test_the_verbs_tell_what_they_did(vaekit: Cli, portraits_vae: Path, tmp_path: Path) -> None:
    answer = vaekit("publish", portraits_vae, tmp_path / "site", "--count", 5, "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["images_shown"]) == (0, 5)
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    assert verify(tmp_path / "site" / "model", told["model_digest"])
    assert vaekit("publish", portraits_vae, tmp_path / "site").code == 2
    assert vaekit("explore", tmp_path / "nothing").code == 2
    assert vaekit("explore", portraits_vae, "--port", 70000).code == 2


def test_tiles_lie_where_the_page_looks(tmp_path: Path) -> None:
    pixels = torch.stack([torch.full((1, 8, 6), 20 * i, dtype=torch.uint8) for i in range(5)])
    tiles = pages._write_tiles(pixels, tmp_path / "tiles.webp")
    assert tiles == {"columns": 3, "width": 6, "height": 8}
    sheet = np.asarray(Image.open(io.BytesIO((tmp_path / "tiles.webp").read_bytes())).convert("L"))
    assert sheet.shape == (16, 18)
    assert [int(sheet[i // 3 * 8 + 4, i % 3 * 6 + 3]) for i in range(5)] == [0, 20, 40, 60, 80]


def test_it_is_said_how_far_the_work_is(
    portraits_vae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is announced before it begins."""
    begun: list[str] = []
    real = vk.Run.export
    monkeypatch.setattr(vk.Run, "export", lambda *a, **k: begun.append(capsys.readouterr().err) or real(*a, **k))
    pages.publish(vk.load(portraits_vae), tmp_path / "site", count=5)
    before = begun[0].splitlines()
    assert before == [
        "vaekit: step 1 of 4: opening the images of the run",
        "vaekit: step 2 of 4: encoding up to 5 images",
        "vaekit: step 3 of 4: exporting the networks, and comparing them with PyTorch",
    ]
    assert capsys.readouterr().err == "vaekit: step 4 of 4: drawing thumbnails, curves, and axes\n"
