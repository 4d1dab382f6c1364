"""The same command again, another length, and other settings: in an existing run, and in a dry run of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vaekit as vk
from vaekit.runs import folder as runs
from vaekit.system.files import load_tensors, save_tensors
from vaekit.system.locks import only_writer

EPOCH = 1611


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that saw two epochs of the digits."""
    out = tmp_path_factory.mktemp("decision") / "finished"
    vk.train("digits", "seed-ae", out, epochs=2, quiet=True)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def unfinished(run: Path) -> Path:
    """The same run, as if it was stopped after one of the two epochs."""
    tensors, facts = load_tensors(run / "state.safetensors")
    save_tensors(run / "state.safetensors", tensors, facts | {"images": EPOCH, "steps": 51})
    for name in ("report.html", "latents.safetensors", "doctor.json", "state-previous.safetensors"):
        (run / name).unlink(missing_ok=True)
    return run


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*.*")}


def _train(vaekit: Callable, out: Path, *words: Any) -> Any:
    return vaekit("train", "digits", "--recipe", "seed-ae", "--out", out, *words)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((), "give more --epochs"),  # the recipe's own length is larger, but nobody asked for it
        (("--epochs", 2), "give more --epochs"),
        (("--epochs", 1), "give more --epochs"),
        (("--images", 100), "give more --images"),
        (("--images", 2 * EPOCH), "give more --images"),
        (("--set", "epochs=2"), "give more --epochs"),
        (("--patience", 3), "give more --epochs"),
    ],
)
def test_a_finished_run_changes_only_for_an_explicit_larger_length(
    run: Path, vaekit: Callable, words: tuple[Any, ...], advice: str
) -> None:
    before = _files(run)
    answer = _train(vaekit, run, *words)
    said = f"{run} is finished (3,222 images, 2 epochs); {advice} to train longer\n"
    assert (answer.code, answer.out, answer.err) == (0, "", said)
    assert _files(run) == before
    plan = json.loads(_train(vaekit, run, *words, "--dry-run", "--json").out)
    assert (plan["status"], plan["steps"], plan["sentence"]) == ("finished", 0, said.rstrip())
    assert _files(run) == before


@pytest.mark.parametrize("words", [("--epochs", 3), ("--images", 3 * EPOCH), ("--set", "epochs=3")])
def test_a_larger_length_is_said_before_it_is_trained(run: Path, vaekit: Callable, words: tuple[Any, ...]) -> None:
    said = f"{run}: extending from 3,222 to 4,833 images, resuming from image 3,222"
    plan = json.loads(_train(vaekit, run, *words, "--dry-run", "--json").out)
    assert (plan["status"], plan["steps"], plan["sentence"]) == ("extended", 51, said)
    assert plan["config"]["total_images"] == 3 * EPOCH
    answer = _train(vaekit, run, *words)
    assert answer.code == 0 and answer.err.splitlines()[0] == said
    assert runs.read_config(run).total_images == 3 * EPOCH
    again = _train(vaekit, run, "--epochs", 2)  # the first command
    assert (again.code, "is finished (4,833 images, 3 epochs)" in again.err) == (0, True)


def test_an_unfinished_run_resumes_with_its_own_length(unfinished: Path, vaekit: Callable) -> None:
    plan = json.loads(_train(vaekit, unfinished, "--dry-run", "--json").out)
    assert (plan["status"], plan["images_seen"], plan["steps"]) == ("resumed", EPOCH, 51)
    assert plan["config"] == json.loads((unfinished / "config.json").read_text())
    answer = _train(vaekit, unfinished)
    assert answer.err.splitlines()[0] == f"{unfinished}: resuming from image 1,611 of 3,222"
    assert runs.load_state(unfinished, print)[1]["images"] == 2 * EPOCH  # type: ignore[index]


#: Words → what refuses them in an unfinished run of two epochs.
REFUSED = {
    ("--images", "100"): "--images 100: {run} trains on 3,222 images, 2 epochs, and a run cannot be shortened",
    ("--epochs", "1.5"): "--epochs 1.5: {run} trains on 3,222 images, 2 epochs, and a run cannot be shortened",
    ("--budget", "10m"): "--budget 10m: {run} already trains on 3,222 images, 2 epochs; leave --budget out",
    ("--flip",): "--out {run} contains another run: its flip is False, not True",
    ("--seed", "1"): "its seed is 0, not 1",
    ("--size", "16"): "its data size is 8x8, not 16x16",
    ("--init", "{run}"): "its initial is None, not",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_dry_run_refuses_what_training_refuses(unfinished: Path, vaekit: Callable, words: tuple[str, ...]) -> None:
    before = _files(unfinished)
    given = [word.format(run=unfinished) for word in words]
    answers = [_train(vaekit, unfinished, *given, *more) for more in ((), ("--dry-run",))]
    assert answers[0] == answers[1]
    assert answers[0].code == 2 and REFUSED[words].format(run=unfinished) in answers[0].err
    assert _files(unfinished) == before


def test_a_dry_run_refuses_initial_weights_that_do_not_fit(finished: Path, vaekit: Callable, tmp_path: Path) -> None:
    latent_dim = runs.read_config(finished).recipe.latent_dim
    words = ("--init", finished, "--latent-dim", 7)
    answers = [_train(vaekit, tmp_path / "new", *words, *more) for more in ((), ("--dry-run",))]
    assert answers[0] == answers[1]
    assert answers[0].code == 2 and answers[0].err == (
        f"vaekit: --init {finished}: its weights do not fit, because its latent_dim is {latent_dim}, not 7; give the "
        "same values, or leave --init out\n"
    )
    assert not (tmp_path / "new").exists()


def test_a_budget_for_a_finished_run_says_how_to_extend_it(run: Path, vaekit: Callable) -> None:
    for more in ((), ("--dry-run",)):
        answer = _train(vaekit, run, "--budget", "40s", *more)
        assert answer.code == 2
        assert answer.err == (
            f"vaekit: --budget 40s: {run} is finished (3,222 images, 2 epochs); give more --epochs to train longer\n"
        )


def test_a_dry_run_in_a_run_that_is_being_written_is_refused(run: Path, vaekit: Callable) -> None:
    with only_writer(run, print):
        answer = _train(vaekit, run, "--epochs", 3, "--dry-run")
    assert answer.code == 2 and f"{run} is being written by process {os.getpid()}" in answer.err


def test_a_dry_run_in_words(tmp_path: Path, vaekit: Callable) -> None:
    answer = _train(vaekit, tmp_path / "new", "--images", 4000, "--dry-run")
    lines = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert lines["run"] == "a new run" and lines["training"] == "4,000 images (2.483 epochs)"
    assert lines["memory"].startswith("about ") and lines["memory"].endswith(" of them for Python and PyTorch")
    assert lines["images"] == "1,797, 1,611 of them for training, 8x8, gray" and lines["time"].startswith("about ")
    assert max(map(len, answer.out.splitlines())) < 120


def test_a_split_that_is_not_known_is_an_estimate(tmp_path: Path, vaekit: Callable) -> None:
    shown = {}
    for count in (60, 70):
        words = f"train portraits:{count} --size 8 --recipe ae --set width=8 --epochs 1 --dry-run --out".split()
        shown[count] = vaekit(*words, tmp_path / "new").out
    known = len(vk.open_images("portraits:60", 8).part("train"))
    assert f"60, {known} of them for training" in shown[60] and "70, about 56 of them for training" in shown[70]


def test_a_dry_run_counts_the_work_that_is_not_training(tmp_path: Path) -> None:
    once, twice = (
        vk.plan("digits", "seed-ae", tmp_path / "new", images=EPOCH * count)["estimated_seconds"] for count in (1, 200)
    )
    assert once > 3.6, "pictures, evaluation and report take as long for any length"
    assert twice > once + 199 * 0.3, "pictures after each epoch"
    short = vk.plan("digits", "seed-ae", tmp_path / "new", budget="20s")
    assert short["estimated_seconds"] == 20 and 1 <= short["steps"] < (20 - 3.6) / 0.3 * 51


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_budget_that_is_too_short_is_said(tmp_path: Path, vaekit: Callable, more: tuple[str, ...]) -> None:
    answer = _train(vaekit, tmp_path / "new", "--budget", "3s", *more)
    assert answer.code == 0 and "--budget 3s is too short to be useful: measuring the speed, and the" in answer.err
    if more:
        assert "about 1 of up to 32 images" in answer.out
    else:
        assert runs.read_config(tmp_path / "new").total_images == 32


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_batch_larger_than_the_data_is_said(tmp_path: Path, vaekit: Callable, more: tuple[str, ...]) -> None:
    answer = _train(vaekit, tmp_path / "new", "--batch-size", 10**5, "--epochs", 1, *more)
    said = "--batch-size 100,000 is more than the 1,611 training images; each step takes all of them"
    assert answer.code == 0 and answer.err.count(said) == 1
    again = _train(vaekit, tmp_path / "other", "--images", 32, *more)
    assert again.code == 0 and "--batch-size" not in again.err


def test_a_huge_batch_is_planned_from_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"out": tmp_path / "new", "size": 16, "images": 100_000}
    huge, once, twice = (
        vk.plan("portraits:100000", "seed-ae", batch_size=size, **options)["memory_bytes"] for size in (10**8, 128, 256)
    )
    assert huge == pytest.approx(once + (twice - once) * (90_000 - 128) / 128, rel=0.02)
    monkeypatch.setattr("vaekit.training.plan.physical_bytes", lambda: 10**7)
    with pytest.raises(vk.UserError, match="not enough memory: a step on 90,000 images needs .* smaller batch_size"):
        vk.plan("portraits:100000", "seed-ae", batch_size=10**8, **options)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("recipe", "likelihood", "laplace"),
        ("recipe", "activation", "tanh"),
        ("recipe", "learning_rate", 0.5),
        ("data", "binarize", "static"),
        ("data", "split_seed", 7),
        ("data", "classes", ["a"]),
        (None, "seed", 3),
    ],
)
def test_an_edited_configuration_is_refused(
    run: Path, vaekit: Callable, part: str | None, name: str, value: object, tmp_path: Path
) -> None:
    stored = json.loads((run / "config.json").read_text())
    (stored if part is None else stored[part])[name] = value
    (run / "config.json").write_text(json.dumps(stored))
    where = name if part is None else f"{part}.{name}"
    said = f"{run / 'config.json'} has {where} = {value!r}, but the model was trained with "
    for words in (("reconstruct", run, "--out", tmp_path / "x.png"), ("train", "digits", "--out", run)):
        answer = vaekit(*words)
        assert answer.code == 2 and said in answer.err
    with pytest.raises(vk.UserError, match="but the model was trained with"):
        vk.train("digits", "seed-ae", tmp_path / "new", init=run, epochs=1, quiet=True)


@pytest.mark.parametrize(("total", "more"), [(2000, ""), (9000, ", and give more --images to train longer")])
@pytest.mark.parametrize("words", [(), ("--epochs", 6)])
def test_an_edited_length_is_refused(
    unfinished: Path, vaekit: Callable, total: int, more: str, words: tuple[Any, ...]
) -> None:
    config = json.loads((unfinished / "config.json").read_text())
    (unfinished / "config.json").write_text(json.dumps(config | {"total_images": total}))
    before = _files(unfinished)
    for dry in ((), ("--dry-run",)):
        answer = _train(vaekit, unfinished, *words, *dry)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == (
            f"vaekit: {unfinished / 'config.json'} has total_images = {total}, but the training is one of 3222 images; "
            f"restore that value{more}\n"
        )
    assert _files(unfinished) == before


def test_an_extension_that_was_killed_before_the_first_step_resumes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    old = (run / "config.json").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("vaekit.training.loop.repair", killed)
        vk.train("digits", "seed-ae", run, epochs=3, quiet=True)
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    assert vk.train("digits", "seed-ae", run, quiet=True).images_seen() == 3 * EPOCH
    (copy / "config.json").write_bytes(old)  # as if killed before it was written
    assert vk.train("digits", "seed-ae", copy, quiet=True).images_seen() == 2 * EPOCH


def test_a_state_from_before_an_extension_resumes_it(run: Path) -> None:
    vk.train("digits", "seed-ae", run, epochs=3, quiet=True)
    shutil.copy(run / "state-previous.safetensors", run / "state.safetensors")
    (run / "state.safetensors").write_bytes(b"damaged")
    assert vk.train("digits", "seed-ae", run, quiet=True).images_seen() == 3 * EPOCH


def test_weights_of_an_older_vaekit_name_no_values(run: Path) -> None:
    for name in ("weights", "state"):
        tensors, facts = load_tensors(run / f"{name}.safetensors")
        del facts["trained"]
        facts.pop("total_images", None)
        save_tensors(run / f"{name}.safetensors", tensors, facts)
    assert vk.train("digits", "seed-ae", run, epochs=3, quiet=True).images_seen() == 3 * EPOCH


def test_what_commands_store_waits_for_the_training(run: Path, vaekit: Callable) -> None:
    opened = vk.load(run)
    before = _files(run)
    with only_writer(run, print):
        for words in (("fit-prior", run), ("fit-prior", run, "--kind", "none")):
            answer = vaekit(*words)
            assert answer.code == 2
            assert answer.err == (
                f"vaekit: {run} is being written by process {os.getpid()}; wait until it ends, or copy the run\n"
            )
        assert opened.directions(), "fitted, but not stored"
        with pytest.raises(vk.UserError, match="is being written by process"):
            opened.add_direction("new", str(run), str(run))
    assert {name: each for name, each in _files(run).items() if name != ".lock"} == before


def test_the_lock_of_a_training_is_checked_before_notes(unfinished: Path, vaekit: Callable, tmp_path: Path) -> None:
    edit = ("edit", unfinished, unfinished, "--direction", "a=b,c", "--add", "a", "--out", tmp_path / "e.png")
    with only_writer(unfinished, print):
        for words in (("fit-prior", unfinished), edit):
            answer = vaekit(*words)
            assert answer.code == 2 and answer.err.startswith(f"vaekit: {unfinished} is being written by process ")
            assert answer.err.count("\n") == 1


def test_a_prior_is_fitted_to_the_loaded_weights_only(run: Path) -> None:
    opened = vk.load(run)
    vk.train("digits", "seed-ae", run, epochs=3, quiet=True)
    with pytest.raises(vk.UserError, match="have changed since it was loaded; load it again"):
        opened.fit_prior()
    assert not (run / "prior.safetensors").exists()


@pytest.mark.parametrize(
    ("keep", "lack"),
    [
        (None, "is missing"),
        (("final",), "lacks the start of the training"),
        (("start", "train", "final"), "lacks the measurements after each epoch"),
    ],
)
def test_the_doctor_names_missing_metrics(run: Path, vaekit: Callable, keep: tuple[str, ...] | None, lack: str) -> None:
    path = run / "metrics.jsonl"
    lines = runs.read_metrics(run)
    path.unlink()
    if keep is not None:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines if line["kind"] in keep))
    answer = vaekit("doctor", run)
    assert (answer.code, answer.out) == (2, "")
    assert f"{path} {lack}, and the doctor needs it" in answer.err
