"""Mistakes of users: one clear message on stderr, exit code 2, no traceback, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.config import recipe
from vaekit.config.table import RECIPES
from vaekit.runs import claim as folders
from vaekit.runs import folder as runs
from vaekit.system.files import load_tensors


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_vae: Path) -> Path:
    """A working folder with many kinds of invalid files, and one valid run."""
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "no-images", "truncated", "other", "not-json", "not-text"):
        Path(name).mkdir()
    Path("only-test/test").mkdir(parents=True)
    Image.fromarray(_noise(0)).save("only-test/test/0.png")
    Path("no-images/notes.txt").write_text("none here")
    for index in range(4):
        Image.fromarray(_noise(index)).save(f"truncated/{index}.jpg")
        os.truncate(f"truncated/{index}.jpg", 200)
    Path("file").write_text("a file")
    Path("other/thesis.txt").write_text("not a run")
    Path("not-json/config.json").write_text("[1]")
    Path("not-text/config.json").write_bytes(b"\xff\xfe\x00")
    Path("run").symlink_to(digits_vae)
    for name in ("-1.png", "--help"):
        Image.fromarray(_noise(1)).save(name, "PNG")
    return tmp_path


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def _tree(folder: Path) -> dict[str, int]:
    """Return all files below a folder, with their modification times."""
    return {str(p.relative_to(folder)): p.lstat().st_mtime_ns for p in sorted(folder.rglob("*"))}


T = "train digits --out new/run "
SOURCES = {
    "train missing --out new/run": "'missing'",
    "train empty --out new/run": "empty is empty",
    "train no-images --out new/run": "no images",
    "train truncated --out new/run": "4 of the 4 images",
    "train portraits:0 --out new/run": "'portraits:0'",
    "train only-test --out new/run": "only-test has no training images",
    "train only-test --out new/run --recipe seed-ae --dry-run": "only-test has no training images",
    "train portraits:20 --recipe grid-vae --downsampling 3 --out new/run": "--downsampling 3: expected 4, 8 or 16",
    "train ~nobody-here/photos --out new/run": "an unknown user",
    "data missing": "'missing'",
    "data truncated": "cannot be read",
    "data digits --count 5": "without a count",
    "data portraits --count 0": "portraits:0",
    "data portraits --count -3": "portraits:-3",
    "data portraits --count 4 --write other": "other is not empty",
    "data portraits --count 4 --write file": "file is a file",
    "data digits --sheet digits.tiff": "choose from: .png, .webp, .jpg",
    "data digits --sheet file/sheet.png": "cannot create the folder file",
    "data digits --sheet digits.png --write new": "give one of them",
}
VALUES = {
    "--size 0": "--size '0': expected",
    "--size -4": "--size '-4': expected",
    "--size 8x": "--size '8x': expected",
    "--channels 2": "--channels 2: expected",
    "--recipe sed-ae": "did you mean 'seed-ae'",
    "--latent-dim 3 --set latent_dim=4": "--latent-dim 3 and --set latent_dim=4 contradict each other",
    "--set betta=1": "--set betta=1: a recipe has no value 'betta'; did you mean 'beta'",
    "--set beta=x": "--set beta=x: expected a number",
    "--set beta": "expected NAME=VALUE",
    "--set beta=nan": "--set beta=nan: must be a finite number",
    "--set net=foo": "choose from: mlp, seed-conv, resnet",
    "--set objective=distortion --set posterior=point": "prior=fitted-normal",
    "--set likelihood=bernoulli": "gray levels",
    "--binarize static --likelihood continuous-bernoulli --set scale=fixed": "is a density",
    "--binarize static --likelihood laplace": "--likelihood laplace is a density",
    "--recipe iwae --set samples=1000000000": "--set samples=1000000000: must be at most 10,000",
    "--recipe iwae --set samples=10000 --batch-size 1400": "not enough memory",
    "--recipe iwae --set samples=10000 --batch-size 1400 --dry-run": "not enough memory",
    "--epochs 1 --threads 1.5": "--threads: 1.5: expected a whole number",
    "--budget soon": "--budget soon: expected a duration",
    "--budget 1h30": "--budget 1h30: expected a duration",
    "--budget 0s": "greater than 0",
    "--budget 1e300h": "--budget 1e300h: expected a duration",
    "--budget nan": "--budget nan: expected a duration",
    "--budget 99999999999999999999999h": "--budget 99999999999999999999999h: expected at most 100000h",
    "--budget -5m": "--budget -5m",
    "--learning-rate -1": "--learning-rate -1.0: must be greater than 0",
    "--learning-rate 0": "greater than 0",
    "--learning-rate nan": "finite number",
    "--learning-rate 1e9": "--learning-rate 1000000000.0: must be at most 10",
    "--noise-std 90": "--noise-std 90.0: must be at most 10",
    "--learning-rate abc": "--learning-rate",
    "--epochs 0": "--epochs 0: must be",
    "--epochs -1": "--epochs -1: must be",
    "--epochs inf": "--epochs inf: must be",
    "--epochs nan": "--epochs nan: must be",
    "--images 0": "--images 0: must be",
    "--images -3": "--images -3: must be",
    "--epochs 1 --budget 10s": "--epochs and --budget",
    "--epochs 1 --images 10": "--epochs and --images",
    "--batch-size 0": "--batch-size 0",
    "--batch-size -2": "--batch-size -2",
    "--latent-dim -2": "--latent-dim -2",
    "--shift 40": "--shift 40: must be smaller than a side of the images, which are 8x8",
    "--recipe iwae --set beta=2": "give --set beta=1, --set kl_warmup=0 and --set free_bits_nats=0, or --set",
    "--threads 0": "--threads 0: must be at least 1",
    "--seed -1": "--seed",
    "--seed 99999999999999999999999": "--seed",
    "--device abacus": "--device abacus",
    "--init missing": "missing is not a run",
    "--init other": "other is not a run",
    "--init other --dry-run": "other is not a run",
    "--recipe seed-vae": "give --size 256",
    "--bogus 1": "--bogus",
    "extra": "extra",
}
OUTS = {
    "train digits --out file": "--out file is a file",
    "train digits --out file/run": "file/run",
    "train digits --out other": "contains files but no run",
    "train digits --out run --recipe seed-ae": "its recipe is vae, not seed-ae",
    "train digits --out run --set width=8 --seed 1": "its seed is 0, not 1",
    "train digits --out run --set width=8 --size 16": "its data size is 8x8, not 16x16",
    "train portraits:40 --out run --set width=8 --size 8": "it was trained on other images; give another --out",
    "train digits --out run --set width=8 --budget 1m": "give more --epochs to train longer",
}
RUNS = {
    "evaluate missing": "missing is not a run",
    "evaluate other": "other is not a run",
    "evaluate file": "file is not a run",
    f"evaluate {'x' * 300}": "name too long",
    "evaluate not-json": "not-json/config.json is not the configuration of a run: it is no JSON object; restore it",
    "evaluate not-text": "not-text/config.json is not UTF-8 text; restore it from a copy, or train again with",
    "evaluate run --split nonsense": "nonsense",
    "evaluate run missing": "'missing'",
    "evaluate run --iwae 2.5": "--iwae: 2.5: expected a whole number",
    "evaluate run --iwae 0": "--iwae 0: expected at least 1",
    "evaluate run --samples 1": "--samples 1: expected at least 2",
    "evaluate run --per-image table.txt": "table.txt",
    "evaluate run --per-image file/x.csv": "its folder does not exist",
    "generate run --count 0 --out new/x.png": "--count",
    "generate run --count -1 --out new/x.png": "--count",
    "generate run --seed -1 --out new/x.png": "--seed",
    "generate run --temperature hot --out new/x.png": "--temperature 'hot': expected a number such as 0.8, or several",
    "generate run --temperature -1 --out new/x.png": "--temperature -1: expected a number of at least 0",
    "generate run --temperature 1,0.8 --out new/x.png": "--temperature 1, 0.8: expected one number",
    "generate run --out x.bmp": "x.bmp",
    "generate run --out file/x.png": "file",
    "reconstruct run --count 0": "--count 0",
    "reconstruct run --split nonsense": "nonsense",
    "reconstruct run empty": "empty is empty",
    "interpolate run label:1 label:2 --steps 1": "--steps",
    "interpolate run label:1 label:77": "label:77",
    "arithmetic run label:77": "label:77",
    "arithmetic run attr:glasses=1": "attr:glasses=1",
    "arithmetic run nowhere.png": "'nowhere.png' is neither a file or folder nor a group",
    "arithmetic run 'label:1 +'": "cannot parse the expression at character",
    "arithmetic run 'label:1 label:2'": "cannot parse the expression at character",
    "arithmetic run '- label:1'": "cannot parse the expression at character",
    "encode run": "--out",
    "encode run --out codes.pkl": "codes.pkl: latents are written as .npz, .parquet, .csv",
    "encode run --out nowhere/codes.npz": "its folder does not exist",
    "neighbors run missing.png": "missing.png",
    "neighbors run empty": "empty is empty",
    "map run missing": "'missing'",
    "map run --out map.gif": "map.gif",
    "denoise run --noise-std -1": "--noise-std -1",
    "train run": "run is a run, not a folder of images; give the images instead",
    "train run --dry-run": "run is a run, not a folder of images; give the images instead",
    "data run": "run is a run, not a folder of images; give the images instead",
    "evaluate run run": "run is a run, not a folder of images; give the images instead",
    "reconstruct run run": "run is a run, not a folder of images; give the images instead",
    "train . --size 8": ". contains the run run, whose pictures are not images to read",
    "denoise run --noise-std nan": "--noise-std nan",
    "traverse run --reach 1e308": "--reach 1e+308: expected a number of standard deviations above 0",
    "inpaint run": "--mask",
    "inpaint run --mask nonsense": "vaekit: --mask 'nonsense' is not a file",
    "inpaint run --mask center:0x0": "0x0",
    "inpaint run --mask center:99x99": "99x99",
}
WORDS = {
    "fly digits": '"fly"',
    "train": "DATA",
    "generate": "RUN",
    "arithmetic run": "EXPRESSION",
    "interpolate run label:1": "END",
    "recipes --bogus": "--bogus",
    "train --epochs 1": "vaekit: DATA is missing (images to train on). See",
    "encode run": "vaekit: --out is missing (file to write: .npz, .parquet or .csv). See",
    "generate run --out": "vaekit: --out needs a value (picture to write: .png, .webp or .jpg). See",
    "generate run --count --seed 1": "vaekit: --count needs a value (number of images). See",
    "inpaint run --mask": "vaekit: --mask needs a value (hidden part: center:HxW, random:HxW, box:TOP,LEFT,HxW, or a",
    "reconstruct run -- -1.png --out x.png": "--out comes after '--', where nothing is an option; put all options",
    "reconstruct run -1.png": "-1.png looks like an option; to name the file, write ./-1.png.",
    "--bogus": "--bogus",
}
CASES = SOURCES | {T + words: said for words, said in VALUES.items()} | OUTS | RUNS | WORDS


@pytest.mark.parametrize(("command", "said"), CASES.items(), ids=CASES)
def test_one_message_exit_code_2_nothing_left(here: Path, vaekit: Callable, command: str, said: str) -> None:
    before = _tree(here), _tree(here / "run")
    answer = vaekit(*shlex.split(command))
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("vaekit: ") and answer.err.count("vaekit:") == 1
    assert said in answer.err
    assert "Traceback" not in answer.err and len(answer.err) < 500
    lines = 3 if "at character" in said else 1  # the place in an expression is pointed at
    assert answer.err.count("\n") == lines
    assert (_tree(here), _tree(here / "run")) == before


@pytest.mark.parametrize("command", [T + "--size -4", "evaluate other"])
def test_as_a_real_process(here: Path, command: str) -> None:
    before = _tree(here)
    words = [sys.executable, "-m", "vaekit", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=_environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vaekit: ") and done.stderr.count("\n") == 1
    assert _tree(here) == before


def _environment() -> dict[str, str]:
    source = str(Path(runs.__file__).parents[2])
    return os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


def test_an_init_that_does_not_fit_leaves_nothing(here: Path, vaekit: Callable) -> None:
    before = _tree(here)
    answer = vaekit("train", "digits", "--init", "run", "--recipe", "seed-ae", "--out", "new/run", "--epochs", 1)
    assert answer.code == 2 and "do not fit" in answer.err
    assert _tree(here) == before


def test_an_empty_folder_stays_an_empty_folder(here: Path, vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--init", "run", "--recipe", "seed-ae", "--out", "empty", "--epochs", 1)
    assert answer.code == 2
    assert list(Path("empty").iterdir()) == []


def tiny(out: str = "new/run", epochs: int = 1) -> tuple[object, ...]:
    """A training of a tenth of a second: 51 steps an epoch."""
    return ("train", "digits", "--recipe", "seed-ae", "--epochs", epochs, "--out", out)


@pytest.fixture
def any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow learning rates that diverge at once."""
    monkeypatch.setitem(recipe._MOST, "learning_rate", 1e38)


@pytest.mark.usefixtures("any_rate")
def test_weights_that_diverged_in_the_only_step(here: Path, vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--images", 8, "--learning-rate", "1e30", "--out", "new/run")
    assert answer.code == 2 and "smaller --learning-rate" in answer.err
    assert "inf dB" not in answer.err


def test_images_that_changed_are_said_in_words(here: Path, vaekit: Callable) -> None:
    for index in range(3):
        Path("photos").mkdir(exist_ok=True)
        Image.fromarray(_noise(index)).save(f"photos/{index}.png")
    train = ("train", "photos", "--size", 8, "--recipe", "ae", "--set", "width=8", "--epochs", 1, "--out", "changed")
    assert vaekit(*train).code == 0
    Image.fromarray(_noise(9)).save("photos/9.png")
    answer = vaekit(*train)
    assert answer.code == 2 and "have changed since --out changed was started: 4 now, 3 then" in answer.err
    Path("photos/9.png").unlink()
    Image.fromarray(_noise(9)).save("photos/2.png")
    assert "was started: still 3 images, but not the same;" in vaekit(*train).err


@pytest.mark.usefixtures("any_rate")
@pytest.mark.parametrize("rate", ["1e30", "1e19"])
def test_a_loss_that_is_not_a_number_before_the_first_state(here: Path, vaekit: Callable, rate: str) -> None:
    answer = vaekit(*tiny(), "--learning-rate", rate)
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert "had no finite loss and gradient" in last and "epoch 1, from the batch of 0" in last
    assert "no state was saved yet" in last and last.endswith(f"try a smaller --learning-rate than {float(rate):g}")
    assert not Path("new").exists()


def test_a_loss_that_is_not_a_number_keeps_the_last_good_state(
    here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vaekit(*tiny("good")).code == 0
    good, weights = load_tensors(Path("good/state.safetensors"))[0], Path("good/weights.safetensors").read_bytes()
    rate = iter([2.5e-4] * 20 + [1e30] * 1000)
    monkeypatch.setattr("vaekit.training.trainer.learning_rate", lambda *_: next(rate))
    answer = vaekit(*tiny("good", 2))
    assert answer.code == 2 and "the last good state is kept in good" in answer.err
    assert "epoch 2" in answer.err
    kept, facts = load_tensors(Path("good/state.safetensors"))
    assert facts["images"] == 1611 and kept.keys() == good.keys()
    assert all(torch.equal(kept[name], good[name]) for name in good)
    assert Path("good/weights.safetensors").read_bytes() == weights


def test_weights_that_broke_in_the_last_step_are_not_saved(
    here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([2.5e-4] * 50 + [float("inf")] * 1000)  # 51 steps: every loss is finite, the last update is not
    monkeypatch.setattr("vaekit.training.trainer.learning_rate", lambda *_: next(rates))
    answer = vaekit(*tiny())
    assert answer.code == 2 and "the weights are not finite" in answer.err
    assert not Path("new").exists()


def _full(number: int, after: int) -> Callable[[int], None]:
    """An ``os.fsync`` that fails from the ``after``-th call on, like a disk that reports late that it is full."""
    real, calls = os.fsync, iter(range(10**9))

    def fsync(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return fsync


@pytest.mark.parametrize("after", [0, 1, 3, 9])
def test_no_space_left_before_the_first_state(
    here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("os.fsync", _full(errno.ENOSPC, after))
    answer = vaekit(*tiny())
    assert answer.code == 2
    assert "no space left" in answer.err.splitlines()[-1] and "repeat the command" in answer.err
    assert not Path("new").exists()


def test_no_space_left_later_keeps_the_run_and_the_command_goes_on(
    here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vaekit(*tiny("whole")).code == 0
    monkeypatch.setattr(runs, "save_state", _then_full(monkeypatch))
    answer = vaekit(*tiny())
    assert answer.code == 2 and "no space left" in answer.err
    assert not [p for p in Path("new").rglob("*") if ".part" in p.name or ".tmp" in p.name]
    monkeypatch.undo()
    os.chdir(here)
    assert vaekit(*tiny()).code == 0
    assert Path("new/run/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def _then_full(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    real = runs.save_state

    def save(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr("os.fsync", _full(errno.ENOSPC, 0))

    return save


@pytest.fixture
def small_files() -> Iterator[None]:
    """Limit files to 20 kB, so that the system fails in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow(here: Path, vaekit: Callable, small_files: None) -> None:
    answer = vaekit(*tiny())
    assert answer.code == 2
    assert "cannot write" in answer.err.splitlines()[-1] and "larger than" in answer.err
    assert not Path("new").exists()


def test_a_picture_that_does_not_fit(here: Path, vaekit: Callable, small_files: None) -> None:
    before = _tree(here)
    answer = vaekit("generate", "run", "--count", 400, "--out", "x.png")
    assert answer.code == 2 and "cannot write x.png" in answer.err
    assert _tree(here) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place(here: Path, vaekit: Callable) -> None:
    Path("locked").mkdir(mode=0o555)
    answer = vaekit("train", "digits", "--out", "locked/run", "--epochs", 1)
    assert answer.code == 2 and "Permission denied" in answer.err


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_place_that_refuses(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.replace", refuse)
    answer = vaekit(*tiny())
    assert answer.code == 2 and answer.err.startswith("vaekit: cannot write new/run/config.json: ")
    assert not Path("new").exists()


def test_a_folder_that_cannot_be_made(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(folders.Path, "mkdir", refuse)
    answer = vaekit(*tiny())
    assert answer.code == 2 and "--out new/run cannot be written: Read-only file system" in answer.err


def test_data_that_changed_or_went(here: Path, vaekit: Callable) -> None:
    Path("faces").mkdir()
    for index in range(12):
        Image.fromarray(_noise(index)).save(f"faces/{index}.png")
    small = ("--recipe", "seed-ae", "--size", 8, "--epochs", 1, "--out", "faces-run")
    assert vaekit("train", "faces", *small).code == 0
    Path("faces/3.png").unlink()
    changed = vaekit("evaluate", "faces-run")
    assert changed.code == 2 and "have changed" in changed.err and "faces" in changed.err
    again = vaekit("train", "faces", *small)
    assert again.code == 2 and "have changed since" in again.err
    assert vaekit("evaluate", "faces-run", "faces").code == 0
    shutil.rmtree("faces")
    for verb in ("evaluate", "doctor"):
        gone = vaekit(verb, "faces-run")
        assert gone.code == 2 and "no longer at" in gone.err and "as DATA" in gone.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "config.json is empty; restore it from a copy, or train again with another --out"),
        (b"[]", "it is no JSON object; restore it"),
        (b"{}", "it has no format_version; restore it"),
        (b'{"a": ', "is not valid JSON at line 1, column 7; restore it"),
        (b"[" * 100_000, "is nested too deeply; restore it"),
        (None, "damaged is not a run: its config.json is missing; restore it"),
    ],
)
def test_a_damaged_configuration_is_to_be_restored(
    here: Path, vaekit: Callable, digits_ae: Path, content: bytes | None, said: str
) -> None:
    shutil.copytree(digits_ae, "damaged")
    path = Path("damaged/config.json")
    path.unlink() if content is None else path.write_bytes(content)
    answer = vaekit("evaluate", "damaged")
    assert answer.code == 2 and said in answer.err
    again = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 2, "--out", "damaged")
    assert again.code == 2 and "restore it from a copy, or train again with another --out" in again.err


def test_an_edited_configuration_is_to_be_undone(here: Path, vaekit: Callable, digits_ae: Path) -> None:
    shutil.copytree(digits_ae, "damaged")
    config = json.loads(Path("damaged/config.json").read_text())
    config["recipe"]["latent_dim"] += 1
    Path("damaged/config.json").write_text(json.dumps(config))
    answer = vaekit("evaluate", "damaged")
    assert answer.code == 2 and "; undo the changes to config.json, or train again with another --out" in answer.err


@pytest.mark.parametrize("name", ["weights.safetensors", "latents.safetensors", "state.safetensors"])
def test_a_damaged_run_is_mended_by_its_train_command(here: Path, vaekit: Callable, digits_ae: Path, name: str) -> None:
    shutil.copytree(digits_ae, "damaged")
    whole = Path("damaged", name).read_bytes()
    os.truncate(Path("damaged", name), 1000)
    command = ("train", "digits", "--recipe", "seed-ae", "--epochs", 2, "--out", "damaged")
    if name == "state.safetensors":  # all that went before is lost with it
        answer = vaekit(*command)
        assert answer.code == 2 and "no state in damaged can be read, because state.safetensors " in answer.err
        assert "with another --out, and with --init damaged to start from its weights" in answer.err
        assert vaekit(*command[:-1], "again", "--init", "damaged").code == 0
        return
    if name == "weights.safetensors":
        answer = vaekit("evaluate", "damaged")
        assert answer.code == 2 and "repeat the training" in answer.err
    assert vaekit(*command).code == 0
    assert Path("damaged", name).read_bytes() == whole


@pytest.mark.parametrize("recipe", [name for name, row in RECIPES.items() if row.prior == "none"])
def test_what_has_no_prior_does_not_generate(here: Path, vaekit: Callable, recipe: str) -> None:
    small = () if recipe == "seed-ae" else ("--set", "width=8")
    assert vaekit("train", "digits", "--recipe", recipe, *small, "--images", 64, "--out", "plain").code == 0
    answer = vaekit("generate", "plain", "--out", "x.png")
    assert answer.code == 2 and f"generate: recipe '{recipe}' has no prior" in answer.err
    assert not Path("x.png").exists()


@pytest.mark.parametrize("words", [("./--help",), ("--", "--help"), ("--", "-1.png"), ("./-1.png",)])
def test_a_file_that_is_named_like_an_option(here: Path, vaekit: Callable, words: tuple[str, ...]) -> None:
    """It is also recognized without an extension."""
    answer = vaekit("reconstruct", "run", "--out", "x.png", *words)
    assert (answer.code, answer.out, answer.err) == (0, "picture  x.png\n", "")


def test_no_picture_replaces_an_input(here: Path, vaekit: Callable) -> None:
    Path("photos").mkdir()
    for name in ("photos/0.png", "photos/1.png", "me.png", "old.png"):
        Image.fromarray(_noise(0)).save(name)
    given = ("train", "photos", "--size", 8, "--recipe", "ae", "--set", "width=8", "--epochs", 1, "--out", "mine")
    assert vaekit(*given).code == 0
    kept = {path: path.read_bytes() for path in (*Path("photos").iterdir(), Path("me.png"))}
    for command in (
        "reconstruct mine me.png --out photos/0.png",  # of the run's own data
        "reconstruct run photos --out photos/0.png",
        "reconstruct mine me.png --out me.png",
        "interpolate run me.png photos --out me.png",
        "encode run photos --out photos/1.png",
        "evaluate run photos --per-image photos/1.png",
        "neighbors mine me.png --out me.png",
        "map run photos --out photos/0.png",
        "score run me.png --normal-images photos --table photos/0.png",
        "data photos --sheet photos/0.png",
    ):
        answer = vaekit(*command.split())
        assert answer.code == 2 and "choose another name, so that it is not overwritten" in answer.err, (
            command,
            answer.err,
        )
    assert {path: path.read_bytes() for path in kept} == kept
    assert vaekit("reconstruct", "mine", "photos", "--count", 2, "--out", "old.png", "--overwrite").code == 0
    assert vaekit("reconstruct", "mine", "photos", "--count", 2, "--out", "photos/new.png").code == 0
