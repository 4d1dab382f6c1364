"""Exports: usable without PyTorch, and every change to a file is detected."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.errors import UserError
from vaekit.export import bundle as artifacts
from vaekit.export.bundle import SUMS, Session, differences, digest_of, sums_of, verify

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def artifact(portraits_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "portraits"
    vk.load(portraits_vae).export(out)
    return out


def test_an_export_describes_what_it_needs(artifact: Path, portraits_vae: Path) -> None:
    facts = json.loads((artifact / "model.json").read_text())
    run = vk.load(portraits_vae)
    assert (facts["image"]["height"], facts["image"]["width"]) == run.shape[1:]
    assert facts["latent_dim"] == run.model.latent_dim
    known = run.directions()
    assert set(facts["directions"]) == set(known)
    np.testing.assert_array_equal(np.float32(facts["directions"]["glasses"]["vector"]), known["glasses"].vector.numpy())
    prior = facts["prior"]
    noise = torch.randn(3, run.model.latent_dim, generator=torch.Generator().manual_seed(1))
    made = np.array(prior["mean"]) + noise.numpy() @ np.array(prior["factor"])
    np.testing.assert_allclose(made, run.model.drawn_from().from_noise(noise).numpy(), rtol=1e-3, atol=1e-4)
    assert facts["compared_with_pytorch"]["images"] == min(100, len(run.images("test")))


def test_the_example_needs_no_pytorch_and_does_what_the_run_does(
    artifact: Path, portraits_vae: Path, tmp_path: Path
) -> None:
    run = vk.load(portraits_vae)
    face = run.images("test").pixels[0]
    Image.fromarray(face.permute(1, 2, 0).numpy()).save(tmp_path / "me.png")
    script = artifact / "example.py"
    assert len(script.read_text().splitlines()) <= 54
    without = "import sys; sys.modules['torch'] = sys.modules['vaekit'] = None; import runpy; sys.argv = sys.argv[1:]; "
    words = [str(script), str(tmp_path / "me.png"), str(tmp_path / "out.png"), "glasses=300.0"]
    subprocess.run([sys.executable, "-c", without + "runpy.run_path(sys.argv[0])", *words], check=True)
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    expected = run.edit(face[None], {"glasses": 300.0}).pixels[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1
    plain = run.reconstruct(face[None]).pixels[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(expected - plain).max() > 20  # or the comparison would say nothing
    subprocess.run([sys.executable, script, *words[1:3], "glasses"], check=True)
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    expected = run.edit(face[None], {"glasses": 1.0}).pixels[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1
    for wrong, said in (
        (words[1:2], "pip install numpy pillow onnxruntime"),
        ([*words[1:3], "glases=1"], "there is no direction"),
        ([*words[1:3], "glases"], "there is no direction 'glases'"),
        ([*words[1:3], "glasses=much"], "expected a number as the strength, such as glasses=2"),
        (["nowhere.png", words[2]], "nowhere.png cannot be read"),
    ):
        told = subprocess.run([sys.executable, str(script), *wrong], capture_output=True, text=True)
        assert told.returncode == 1 and said in told.stderr and "Traceback" not in told.stderr


def test_the_example_names_the_packages_that_it_needs(artifact: Path) -> None:
    without = "import sys; sys.modules['onnxruntime'] = None; import runpy; runpy.run_path(sys.argv[1])"
    told = subprocess.run([sys.executable, "-c", without, artifact / "example.py"], capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr == "onnxruntime is missing; run: pip install numpy pillow onnxruntime\n"


def test_the_readme_lists_the_files_and_its_commands_run(artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "export"))
    text = (folder / "README.md").read_text("utf-8")
    listed = {name for row in re.findall(r"^\| (\S.*?) \|", text, re.M) for name in row.split(", ")}
    assert listed - {"file"} == {path.name for path in folder.iterdir()} - {"README.md"}
    _, *commands = re.findall(r"```sh\n(.*?)```", text, re.S)[0].splitlines()
    Image.new("RGB", (20, 20), "navy").save(tmp_path / "photo.jpg")
    for command in commands[:-1]:
        words = [sys.executable, *(word.replace("photo.jpg", "../photo.jpg") for word in shlex.split(command)[1:])]
        subprocess.run([word.replace("out.png", "../out.png") for word in words], check=True, cwd=folder)
    assert len(commands) == 3 and commands[-1] == "vaekit verify ." and (tmp_path / "out.png").exists()


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "model.json", "check.npz", "example.py", SUMS])
@pytest.mark.parametrize("what", ["flipped", "cut", "gone", "longer"])
def test_no_change_of_a_file_goes_unseen(artifact: Path, tmp_path: Path, name: str, what: str) -> None:
    folder = copied(artifact, tmp_path)
    path = folder / name
    data = bytearray(path.read_bytes())
    if what == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"flipped": data, "cut": data[: len(data) // 2], "longer": path.read_bytes() + b"\n"}[what])
    with pytest.raises(UserError) as error:
        verify(folder)
    assert str(folder) in str(error.value)


def test_what_is_added_or_changed_with_its_sum_is_seen(artifact: Path, tmp_path: Path) -> None:
    folder = copied(artifact, tmp_path)
    digest = digest_of(folder)
    assert verify(folder, digest)["digest"] == digest
    (folder / "more.txt").write_text("hello")
    with pytest.raises(UserError, match=r"more\.txt is not part"):
        verify(folder)
    (folder / "more.txt").unlink()
    facts = json.loads((folder / "model.json").read_text())
    facts["directions"]["glasses"]["vector"][0] += 1
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / SUMS).write_text(sums_of(folder))
    assert verify(folder)["files"] == 6  # whole by its own word
    with pytest.raises(UserError, match="another export"):
        verify(folder, digest)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda facts: facts["image"].update(width=17), "images"),
        (lambda facts: facts["directions"]["glasses"]["vector"].append(0.0), "latents"),
        (lambda facts: facts["prior"]["factor"][0].pop(), "latents"),
        (lambda facts: facts.update(latent_dim=3), "latents"),
    ],
)
def test_what_is_told_of_the_networks_fits_them(
    artifact: Path, tmp_path: Path, change: Callable[[Any], None], what: str
) -> None:
    folder = copied(artifact, tmp_path)
    facts = json.loads((folder / "model.json").read_text())
    change(facts)
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match=f"describes other {what}"):
        verify(folder)


def test_networks_that_compute_otherwise_are_seen(artifact: Path, tmp_path: Path) -> None:
    folder = copied(artifact, tmp_path)
    with np.load(folder / "check.npz", allow_pickle=False) as file:
        expected = {name: file[name] for name in file.files}
    session = Session(folder)
    assert max(differences(session, expected).values()) < 1e-4
    for name in ("mean", "log_variance", "pictures", "round_trips"):
        spoilt = expected | {name: expected[name] + 0.01}
        assert max(differences(session, spoilt).values()) > 1e-3
        np.savez(folder / "check.npz", **spoilt)
        (folder / SUMS).write_text(sums_of(folder))
        with pytest.raises(UserError, match="differ from PyTorch by"):
            verify(folder)


def test_the_patterns_show_nothing_of_anyone(artifact: Path, portraits_vae: Path) -> None:
    with np.load(artifact / "check.npz", allow_pickle=False) as file:
        patterns = (file["images"] * 255).round().astype(int)
    for face in vk.load(portraits_vae).images().pixels.numpy().astype(int):
        assert np.abs(patterns - face).mean((1, 2, 3)).min() > 10


def test_export_and_verify_in_words(vaekit: Cli, portraits_vae: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = vaekit("export", portraits_vae, "--out", out, "--precision", "fp16", "--json")
    assert done.code == 0, done.err
    digest = json.loads(done.out)["digest"]
    assert vaekit("verify", out, "--digest", digest).code == 0
    for words, said in (
        (["export", portraits_vae, "--out", out], "already exists"),
        (["export", portraits_vae, "--out", tmp_path / "x", "--precision", "int8"], "--precision int8"),
        (["verify", tmp_path / "nothing"], "no such folder"),
        (["verify", tmp_path], "is not an export"),
        (["verify", out, "--digest", "0" * 64], "another export"),
    ):
        wrong = vaekit(*words)
        assert wrong.code == 2 and said in wrong.err, wrong.err
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.fixture(scope="module")
def with_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of an autoencoder with a mixture fitted to its latents."""
    folder = tmp_path_factory.mktemp("fitted")
    run = vk.train("digits", "ae", folder / "run", images=64, settings={"net": "mlp"}, quiet=True)
    run.fit_prior(components=3)
    run.export(folder / "out")
    return folder / "out"


def test_the_network_of_a_fitted_prior_is_written_and_draws_what_was_fitted(with_network: Path) -> None:
    prior, run = json.loads((with_network / "model.json").read_text())["prior"], vk.load(with_network.parent / "run")
    assert (prior["network"], prior["formula"]) == ("prior.onnx", "latent = prior.onnx(noise)")
    assert verify(with_network)["files"] == 7
    noise = np.random.Generator(np.random.Philox(0)).standard_normal((5000, run.model.latent_dim + 1), np.float32)
    pz = run.model.drawn_from()
    fraction, ends = torch.special.ndtr(torch.from_numpy(noise[:, -1])), pz.log_weights.exp().cumsum(0)
    chosen = torch.searchsorted(ends, fraction).clamp(max=2)
    assert len(chosen.unique()) == 3
    parts = torch.distributions.MultivariateNormal(pz.components.mean, scale_tril=pz.components.factor)
    expected = parts.loc[chosen] + torch.einsum("nij,nj->ni", parts.scale_tril[chosen], torch.from_numpy(noise[:, :-1]))
    drawn = Session(with_network).draw(noise)
    is_near = np.abs(drawn - expected.numpy()).max(1) < 1e-3
    assert is_near.mean() > 0.999  # where float32 rounds across an end, another component is chosen
    spread = np.sqrt(np.diag(np.array(prior["factor"]).T @ prior["factor"]))
    assert np.abs((drawn.mean(0) - prior["mean"]) / spread).max() < 0.07
    assert np.abs(drawn.std(0) / spread - 1).max() < 0.07


@pytest.mark.parametrize("what", ["gone", "flipped", "cut"])
def test_no_change_of_the_network_of_a_prior_goes_unseen(with_network: Path, tmp_path: Path, what: str) -> None:
    folder = copied(with_network, tmp_path)
    path, data = folder / "prior.onnx", bytearray((folder / "prior.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"gone": data, "flipped": data, "cut": data[:50]}[what])
    if what == "gone":
        path.unlink()
    with pytest.raises(UserError, match=r"prior\.onnx is missing" if what == "gone" else r"prior\.onnx has changed"):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "without_check", "message"),
    [
        (lambda folder, prior: (folder / "prior.onnx").unlink(), False, r"names prior\.onnx .* the folder has none"),
        (lambda folder, prior: (folder / "prior.onnx").unlink(), True, r"names prior\.onnx .* the folder has none"),
        (lambda folder, prior: prior.update(network=None), True, r"names no network .* the folder has prior\.onnx"),
        (lambda folder, prior: prior.update(network="decoder.onnx"), False, r"names decoder\.onnx"),
        (lambda folder, prior: None, True, r"check\.npz lacks the expected output of prior\.onnx"),
        (
            lambda folder, prior: shutil.copy(folder / "decoder.onnx", folder / "prior.onnx"),
            False,
            "cannot compute with",
        ),
    ],
)
def test_a_prior_is_told_of_as_it_is(
    with_network: Path, tmp_path: Path, change: Callable[[Path, Any], None], without_check: bool, message: str
) -> None:
    folder = copied(with_network, tmp_path)
    facts = json.loads((folder / "model.json").read_text())
    change(folder, facts["prior"])
    (folder / "model.json").write_text(json.dumps(facts))
    if without_check:
        with np.load(folder / "check.npz", allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files if name not in ("noise", "drawn")}
        np.savez(folder / "check.npz", **kept)
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match=message):
        verify(folder)


def test_a_prior_that_draws_otherwise_is_seen(with_network: Path, tmp_path: Path) -> None:
    folder = copied(with_network, tmp_path)
    with np.load(folder / "check.npz", allow_pickle=False) as file:
        expected = {name: file[name] for name in file.files}
    np.savez(folder / "check.npz", **expected | {"drawn": expected["drawn"] + 0.01})
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match="latents differ from PyTorch by"):
        verify(folder)


def network(nodes: list[Any], path: Path) -> None:
    """An encoder from a stranger."""
    floats, shape = onnx.TensorProto.FLOAT, ["batch", "c", "h", "w"]
    given = onnx.helper.make_tensor_value_info("image", floats, shape)
    outputs = [onnx.helper.make_tensor_value_info(name, floats, None) for name in ("mean", "log_variance")]
    true = onnx.helper.make_tensor("true", onnx.TensorProto.BOOL, [], [True])
    graph = onnx.helper.make_graph(nodes, "stranger", [given], outputs, [true])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(model, path)


def endless(path: Path) -> None:
    of = onnx.helper.make_tensor_value_info
    flag, floats = onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["again"], ["still"]), onnx.helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [of("i", onnx.TensorProto.INT64, []), of("again", flag, []), of("x", floats, None)],
        [of("still", flag, []), of("y", floats, None)],
    )
    loop = onnx.helper.make_node("Loop", ["", "true", "image"], ["mean"], body=body)
    network([loop, onnx.helper.make_node("Identity", ["mean"], ["log_variance"])], path)


def greedy(path: Path) -> None:
    """Needs 32 GB, partly depending on the image, so that it is not known in advance."""
    make = onnx.helper.make_node
    many = onnx.helper.make_tensor("many", onnx.TensorProto.INT64, [1], [1 << 33])
    nodes = [
        make("Constant", [], ["many"], value=many),
        make("ConstantOfShape", ["many"], ["zeros"]),
        make("ReduceSum", ["image"], ["sum"], keepdims=0),
        make("Add", ["zeros", "sum"], ["mean"]),
        make("Identity", ["mean"], ["log_variance"]),
    ]
    network(nodes, path)


@pytest.mark.parametrize(
    ("make", "said"), [(endless, "in 6 seconds, so they may never finish"), (greedy, "cannot compute with")]
)
def test_networks_of_a_stranger_have_limits(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], said: str
) -> None:
    monkeypatch.setattr(artifacts, "_MOST_SECONDS", 6 if make is endless else 120)
    folder = copied(artifact, tmp_path)
    make(folder / "encoder.onnx")
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match=said):
        verify(folder)


def test_an_export_holds_regular_files_of_a_sensible_size(artifact: Path, tmp_path: Path) -> None:
    folder = copied(artifact, tmp_path)
    (folder / "example.py").unlink()
    os.mkfifo(folder / "example.py")
    with pytest.raises(UserError, match=r"example\.py is a named pipe"):
        verify(folder)
    (folder / "example.py").unlink()
    (folder / "example.py").symlink_to(artifact / "example.py")
    with pytest.raises(UserError, match=r"example\.py is a symbolic link"):
        verify(folder)
    (folder / "example.py").unlink()
    shutil.copy(artifact / "example.py", folder)
    with (
        zipfile.ZipFile(folder / "check.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as file,
    ):
        for _ in range(1100):
            file.write(bytes(1 << 20))
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match="unpacks to 1.2 GB"):
        verify(folder)


def copied(artifact: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(artifact, folder)
    return folder
