"""The command line: every command with its flags on small runs, the plan, the help, and the output."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_numbers import NUMBERS, OF_LATENTS, SSIM
from kinds import one_of_each
from PIL import Image

import vaekit as vk
from vaekit.cli.app import COMMANDS, OLD_NAMES, app
from vaekit.cli.app import command as imported
from vaekit.config import table as recipes
from vaekit.config.table import RECIPES
from vaekit.data.portraits import portraits
from vaekit.errors import UserError
from vaekit.pixels import decode
from vaekit.runs import folder as runs

TOOLS = (
    *("generate", "reconstruct", "interpolate", "arithmetic", "edit", "traverse", "denoise", "inpaint"),
    *("neighbors", "map", "encode", "evaluate", "score", "export"),
)
VERBS = ("train", "data", "recipes", "doctor", *TOOLS, "explore", "publish", "verify")
PLAN = {"parameters", "memory_bytes", "steps", "estimated_seconds", "config"}


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_vae: Path, digits_ae: Path, portraits_vae: Path
) -> Path:
    """A working folder with three runs in it, found under short names."""
    monkeypatch.chdir(tmp_path)
    for name, run in (("digits", digits_vae), ("ae", digits_ae), ("faces", portraits_vae)):
        Path(name).symlink_to(run)
    return tmp_path


def _picture(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Help


def test_no_heavy_import_before_a_verb_needs_it() -> None:
    program = (
        "import sys, vaekit.cli; vaekit.cli.main(['--help']); vaekit.cli.main(['train', '--help'])\n"
        "print('HEAVY', [m for m in ('torch', 'numpy', 'matplotlib', 'sklearn', 'PIL') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2])}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_verbs_are_those_that_work(vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    width(80, monkeypatch)
    answer = vaekit("--help")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(re.findall(r"^│ ([a-z]+) {2,}", answer.out, re.M)) == sorted(VERBS)
    assert vaekit().out == answer.out
    assert vaekit("--version").out.strip() == vk.__version__


def width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format help as in a new process, whose console does not exist yet."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for each in (app, app.meta, *map(app.__getitem__, app)):
        monkeypatch.setattr(each, "_fallback_console", None)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_wraps_at_words(vaekit: Callable, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that no line is longer than the terminal, and only the last line of a paragraph is short."""
    width(columns, monkeypatch)
    for verb in ("", *VERBS):
        text = vaekit(*verb.split(), "--help").out
        prose, _, panels = text.partition("╭")
        assert max(map(len, text.splitlines())) <= columns, verb
        assert {len(line) for line in ("╭" + panels).splitlines() if line.strip()} == {columns}, verb
        for paragraph in prose.split("\n\n"):
            lines = paragraph.strip("\n").split("\n")
            for line, after in itertools.pairwise(lines):
                assert len(line.rstrip()) + 1 + len(after.split()[0]) > columns, (verb, line)


def test_every_command_is_one_line_of_the_help(vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    width(80, monkeypatch)
    shown = [" ".join(line.strip("│ ").split()) for line in vaekit("--help").out.splitlines() if line[0:1] == "│"]
    expected = [f"{name} {text}" for names in COMMANDS.values() for name, (_, text) in names.items()]
    assert shown[: len(expected)] == expected
    assert set(VERBS) | {"fit-prior"} == {name for names in COMMANDS.values() for name in names}


@pytest.mark.parametrize("group", COMMANDS)
def test_the_help_of_a_command_begins_with_its_line_in_the_list(group: str) -> None:
    for name, (_, summary) in COMMANDS[group].items():
        assert imported(name).help.splitlines()[0] == summary


def test_an_old_name_has_the_help_of_the_new_one(vaekit: Callable) -> None:
    for old, place in OLD_NAMES.items():
        (new,) = (name for names in COMMANDS.values() for name, row in names.items() if row[0] == place)
        assert vaekit(old, "--help").out == vaekit(new, "--help").out.replace(
            f"Usage: vaekit {new} ", f"Usage: vaekit {old} "
        )


def test_help_of_a_terminal_without_columns_ends(vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    width(0, monkeypatch)
    assert "--epochs" in vaekit("train", "--help").out


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_is_understood(vaekit: Callable, verb: str) -> None:
    answer = vaekit(verb, "--help")
    assert (answer.code, answer.err) == (0, "")
    text = " ".join(answer.out.split())
    example = re.search(rf"Example: (vaekit {verb}.*?) ╭", text)
    assert example
    _, bound, _ = app.parse_args(shlex.split(example[1])[1:], exit_on_error=False, print_error=False)
    assert bound.arguments or verb == "recipes"


SMALLER = {"10m": "2s", "200": "8", "128": "16", "0.05": "0.3"}  #: what an example would take too long with


PAGE = ("explore", "publish")  #: verbs that need the built page


def test_the_examples_run(here: Path, vaekit: Callable) -> None:
    """Run the commands of a typical session in order; each finds its inputs, and writes its outputs."""
    Path("runs").mkdir()
    for name, run in (("portraits", "faces"), ("digits", "digits")):
        Path("runs", name).symlink_to(Path(run).resolve())
    Path("faces").unlink()  # the name of a folder that an example writes
    assert vaekit("data", "portraits", "--write", "photos", "--count", 24, "--size", 16).code == 0
    shutil.copy(sorted(Path("photos").glob("*.png"))[0], "me.png")
    for verb in (verb for verb in VERBS if verb not in PAGE):
        words = example_of(vaekit, verb)
        answer = vaekit(*words)
        assert answer.code == 0, (verb, answer.err)
        outs = [Path(words[i + 1]) for i, word in enumerate(words) if word in ("--out", "--write")]
        assert all(out.exists() for out in outs)


def example_of(vaekit: Callable, verb: str) -> list[str]:
    found = re.search(rf"Example: (vaekit {verb}.*?) ╭", " ".join(vaekit(verb, "--help").out.split()))
    assert found
    return [SMALLER.get(word, word) for word in shlex.split(found[1])[1:]]


def test_the_examples_of_the_page_run(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaekit.explorer import served
    from vaekit.explorer.site import check_page

    try:
        check_page()
    except UserError as error:
        pytest.skip(str(error))
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(served, "serve", lambda files, port, ready: ready(f"http://127.0.0.1/{len(files)}"))
    Path("runs").mkdir()
    Path("runs", "portraits").symlink_to(Path("faces").resolve())
    assert vaekit(*example_of(vaekit, "explore")).code == 0
    assert len(opened) == 1 and int(opened[0].rpartition("/")[2]) > 10
    words = example_of(vaekit, "publish")
    assert vaekit(*words).code == 0 and Path(words[-1], "index.html").is_file()
    assert vaekit("publish", "faces", "other", "--without-images", "--count", 3, "--json").code == 0
    assert vaekit("explore", "faces", "--port", 8000, "--no-browser", "--json").code == 0 and len(opened) == 1


def test_every_flag_of_the_verbs_on_codes(here: Path, vaekit: Callable) -> None:
    assert vaekit("data", "portraits", "--write", "photos", "--count", 12, "--size", 16).code == 0
    assert vaekit("data", "portraits", "--write", "others", "--count", 3, "--size", 16).code == 0
    for command in (
        "interpolate faces attr:male=0 attr:male=1 --steps 3 --path spherical --animate --out a.webp --json",
        "interpolate faces attr:male=0 attr:male=1 --device cpu",
        "traverse faces --count 2 --steps 3 --reach 1.5 --animate --out b.gif --device cpu --json",
        "edit faces photos --add glasses=0.5 --remove male --method classifier --out c.png --device cpu --json",
        "edit faces photos --direction new=photos,others --add new --out c.png --overwrite",
        "score faces photos --split all --by sse --false-alarms 0.4 --normal-images photos --normal attr:male=1 "
        "--table t.csv --count 3 --seed 1 --out d.png --device cpu --json",
        "export faces photos --out e --precision fp32 --json",
        "verify e --json",
    ):
        answer = vaekit(*shlex.split(command))
        assert answer.code == 0, (command, answer.err)
    nothing_left = vaekit("edit", "faces", "photos", "--add", "glasses", "--orthogonal")  # more columns than latents
    assert nothing_left.code == 2 and "without --orthogonal" in nothing_left.err
    digest = json.loads(answer.out)["digest"]
    assert vaekit("verify", "e", "--digest", digest).code == 0


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_only_flags_that_work(vaekit: Callable, verb: str) -> None:
    """Every flag in the help of a command is used in this file or in ``test_bad_input.py``."""
    flags = set(re.findall(r"(--[a-z][a-z-]+)", vaekit(verb, "--help").out.split("╭", 1)[1])) - {"--help", "--import"}
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    commands = [command for command in re.findall(rf"[\"']?{verb}\b[^\n]*(?:\n[^\n]*)?", tests) if "--" in command]
    assert {flag for flag in flags if not any(flag in command for command in commands)} == set()
    assert not any(flag.startswith(("--no-", "--empty-")) for flag in flags - {"--no-browser"})


# Train


def test_the_help_names_every_likelihood(vaekit: Callable) -> None:
    told = " ".join(vaekit("train", "--help").out.replace("│", " ").split())
    assert all(name in told for name in recipes.LIKELIHOODS)


def test_the_form_of_the_images_is_kept_for_all_verbs(here: Path, vaekit: Callable) -> None:
    Path("pictures").mkdir()
    for index in range(12):
        frames = [Image.new("RGBA", (20, 10), (index * 20, 90, frame * 200, 128)) for frame in range(2)]
        frames[0].save(f"pictures/{index:02d}.webp", save_all=True, append_images=frames[1:], lossless=True)
    look = "data pictures --size 16 --fit pad --background navy --frames all --json"
    told = json.loads(vaekit(*shlex.split(look)).out)
    assert (told["images"], told["shape"]) == (24, [3, 16, 16])
    train = "train pictures --size 16 --fit pad --background navy --frames all --epochs 1 --set width=8 --out padded"
    assert vaekit(*shlex.split(train)).code == 0
    run = vk.load("padded")
    assert (run.form.fit, run.form.background, run.form.frames) == ("pad", "#000080", "all")
    assert run.images().pixels[0, :, 0, 0].tolist() == [0, 0, 128] and len(run.images()) == 24
    assert run.pixels(["pictures/03.webp"])[0, :, 0, 0].tolist() == [0, 0, 128]
    other = vaekit(*shlex.split(train.replace("navy", "black")))
    assert other.code == 2 and "its data background is #000080, not #000000" in other.err
    clear = "train pictures --size 16 --channels 4 --epochs 1 --set width=8 --out clear"
    assert vaekit(*shlex.split(clear)).code == 0 and vk.load("clear").shape == (4, 16, 16)
    assert vaekit("generate", "clear", "--count", 4, "--out", "clear.png").code == 0
    with Image.open("clear.png") as sheet:
        assert sheet.mode in ("RGB", "RGBA")
    for command in ("reconstruct clear", "evaluate clear --json", "inpaint clear --mask center:4x4"):
        assert vaekit(*command.split()).code == 0


def test_train_prints_progress_on_stderr_and_numbers_on_stdout(here: Path, vaekit: Callable) -> None:
    command = "train digits --recipe vae --set width=8 --set patch=1 --epochs 1 --batch-size 128 --learning-rate 0.002 "
    options = "--latent-dim 4 --seed 3 --device cpu --threads 1 --size 8 --channels 1 --out new --json"
    answer = vaekit(*shlex.split(command + options))
    assert answer.code == 0
    printed = json.loads(answer.out)
    assert printed["run"] == "new" and {f"final_{key}" for key in NUMBERS} <= printed.keys()
    measured, diagnosis = answer.err.splitlines()[-2:]
    assert measured.startswith(f"new: PSNR {printed['final_psnr_db']:.2f} dB")
    assert re.fullmatch(r"new: [a-z -]+: .*[.] More: vaekit doctor new", diagnosis)
    assert re.search(r"100\.0 %.*measuring the result.*distortion.*rate.*elbo", answer.err)
    config = runs.read_config(Path("new"))
    recipe = config.recipe
    assert (config.seed, recipe.latent_dim, recipe.batch_size, recipe.learning_rate) == (3, 4, 128, 0.002)
    assert (recipe.width, recipe.patch) == (8, 1)
    evaluated = json.loads(vaekit("evaluate", "new", "--json").out)
    assert sum(evaluated.pop("kl_per_dim_nats")) == pytest.approx(evaluated["rate_nats"])
    others = SSIM | {"part", "kl_per_dim_nats_error"}
    evaluated = {name: value for name, value in evaluated.items() if name not in others}
    assert printed == {"run": "new"} | {f"final_{key}": value for key, value in evaluated.items()}


def test_train_into_the_default_folder(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split("train portraits:12 --recipe seed-ae --size 8x16 --images 20")).code == 0
    config = runs.read_config(Path("runs/portraits-12-seed-ae"))
    assert (config.total_images, config.data.size, config.data.channels) == (20, (8, 16), 3)
    assert {path.name for path in Path("runs/portraits-12-seed-ae").iterdir()} == {
        "README.md", "config.json", "doctor.json", "latents.safetensors", "metrics.jsonl", "pictures", "report.html",
        "state.safetensors", "weights.safetensors",
    }  # fmt: skip


def test_train_from_the_weights_of_another_run(here: Path, vaekit: Callable) -> None:
    """With a rate too small to change anything, the new run is the old one."""
    command = "train digits --set width=8 --init digits --images 64 --learning-rate 1e-30 --out second"
    assert vaekit(*shlex.split(command)).code == 0
    assert runs.read_config(Path("second")).initial == str(Path("digits").resolve())
    first, second = (json.loads(vaekit("evaluate", run, "--json").out) for run in ("digits", "second"))
    assert second["sse_per_image"] == pytest.approx(first["sse_per_image"], rel=1e-5)


def test_a_budget_is_fixed_in_the_configuration(here: Path, vaekit: Callable) -> None:
    command = shlex.split("train digits --recipe seed-ae --budget 4s --out timed")
    started = time.monotonic()
    assert vaekit(*command).code == 0
    assert time.monotonic() - started < 30  # a bound that holds on a busy machine; the true one is measured in bench/
    config = runs.read_config(Path("timed"))
    assert config.budget_seconds == 4 and config.total_images >= 32
    again = vaekit(*command)
    assert again.code == 0 and "is finished" in again.err
    assert runs.read_config(Path("timed")) == config


def test_unreadable_files_are_named(here: Path, vaekit: Callable) -> None:
    Path("faces-folder").mkdir()
    for index, face in enumerate(portraits.draw(12, 16)):
        Image.fromarray(face).save(f"faces-folder/{index:02d}.png")
    Path("faces-folder/07.png").write_bytes(Path("faces-folder/07.png").read_bytes()[:60])
    answer = vaekit("train", "faces-folder", "--recipe", "seed-ae", "--epochs", 1, "--out", "new")
    assert answer.code == 0
    assert re.match(r"skipped 1 unreadable file: 07\.png \(", answer.err)
    assert runs.read_config(Path("new")).data.images == 11


# The plan


@pytest.mark.parametrize("recipe", one_of_each("net", "latent", "posterior", "prior"))
def test_a_plan_says_what_training_then_does(here: Path, vaekit: Callable, recipe: str) -> None:
    small = " --set width=8" if RECIPES[recipe].net in ("resnet", "ladder", "grid") else ""
    command = f"train digits --size 16 --recipe {recipe}{small} --images 200 --batch-size 64 --out new"
    answer = vaekit(*shlex.split(command), "--dry-run", "--json")
    assert (answer.code, answer.err) == (0, "") and not Path("new").exists()
    plan = json.loads(answer.out)
    assert plan.keys() >= PLAN
    assert plan["steps"] == 4
    assert vaekit(*shlex.split(command)).code == 0
    run = vk.load("new")
    assert plan["parameters"] == sum(p.numel() for p in run.model.parameters())
    made = json.loads(Path("new/config.json").read_text())
    assert _without_fingerprint(plan["config"]) == _without_fingerprint(made)
    facts = runs.load_state(Path("new"), print)[1]  # type: ignore[index]
    assert (facts["images"], facts["steps"], facts["skipped"]) == (200, 4, 0)
    assert plan["memory_bytes"] > 4 * 4 * plan["parameters"] and plan["estimated_seconds"] >= 0


def _without_fingerprint(config: dict) -> dict:
    return config | {"data": {key: value for key, value in config["data"].items() if key != "fingerprint"}}


def test_a_plan_of_the_second_founding_system(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "train portraits:1000 --recipe seed-vae --size 64 --dry-run --json --epochs 1"
    plan = json.loads(vaekit(*shlex.split(words)).out)
    assert plan["steps"] == 57  # 900 of the 1000 are expected to be trained on, 16 at a time
    assert not Path("runs").exists()


def test_a_plan_draws_a_sample_only(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = portraits.draw
    monkeypatch.setattr(portraits, "draw", lambda count, *a, **k: drawn.append(count) or real(count, *a, **k))
    answer = vaekit(*shlex.split("train portraits:1000000 --recipe seed-ae --size 16 --dry-run --json"))
    plan = json.loads(answer.out)
    assert plan["config"]["data"]["images"] == 1_000_000
    assert plan["steps"] == 10 * plan["config"]["data"]["train_images"] / 32
    assert sum(drawn) <= 64


def test_a_plan_opens_a_sample_only(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("many").mkdir()
    for index, face in enumerate(portraits.draw(200, 8)):
        Image.fromarray(face).save(f"many/{index:03d}.png")
    opened = []
    real = Image.open
    monkeypatch.setattr(decode.Image, "open", lambda file, *a, **k: opened.append(file) or real(file, *a, **k))
    before = {p: p.stat().st_mtime_ns for p in here.rglob("*")}
    plan = json.loads(vaekit(*shlex.split("train many --recipe seed-ae --dry-run --json --epochs 2")).out)
    assert plan["config"]["data"]["images"] == 200
    assert 0 < len({getattr(file, "name", "") for file in opened}) <= 64
    assert {p: p.stat().st_mtime_ns for p in here.rglob("*")} == before


def test_a_plan_in_words(here: Path, vaekit: Callable) -> None:
    answer = vaekit(*shlex.split("train digits --recipe seed-ae --dry-run --budget 10m"))
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()][:2] == ["out", "run"]
    assert "runs/digits-seed-ae\n" in answer.out
    assert " 34,084\n" in answer.out  # 64·200 + 200 + 200·20 + 20 + 20·200 + 200 + 200·64 + 64


# Data and recipes


def test_data_says_what_is_there(vaekit: Callable) -> None:
    told = json.loads(vaekit("data", "digits", "--json").out)
    assert told["images"] == 1797
    assert str(told).count("'9'")
    words = vaekit("data", "digits")
    assert words.code == 0 and "1,797" in words.out


def test_data_draws_a_set_of_any_sizes(here: Path, vaekit: Callable) -> None:
    Path("photos").mkdir()
    for number, size in enumerate([(40, 30), (30, 40), (20, 20)]):
        Image.new("L", size, 50 * number).save(f"photos/{number}.png")
    answer = vaekit(*shlex.split("data photos --sheet new/photos.png"))
    assert answer.code == 0 and answer.out.splitlines()[-1].split() == ["sheet", "new/photos.png"]
    assert _picture("new/photos.png").shape == (2 + 66, 2 + 3 * 66)  # brought to 16 pixels, shown as 64
    drawn = json.loads(vaekit(*shlex.split("data digits --sheet digits.webp --json")).out)
    assert (drawn["sheet"], drawn["images"]) == ("digits.webp", 1797) and _picture("digits.webp").shape[
        0
    ] == 2 + 10 * 58


def test_notes_about_images_name_flags_on_the_command_line(here: Path, vaekit: Callable) -> None:
    Path("wide").mkdir()
    for i in range(4):
        Image.new("RGB", (200 + i, 20), (60 * i, 0, 0)).save(f"wide/{i}.png")
    assert "pixel statistics are for --size" in vaekit("data", "wide").out
    assert "train with --fit pad or --fit stretch to keep all of it" in vaekit(*shlex.split("data wide --size 16")).out
    answer = vaekit(*shlex.split("data wide --size 16 --write copy"))
    assert "train with --fit pad or --fit stretch to keep all of it" in answer.err
    assert any("fit=pad or fit=stretch" in note for note in vk.open_images("wide", size=16).notes)


def test_data_writes_a_folder_that_reads_back(here: Path, vaekit: Callable) -> None:
    answer = vaekit(*shlex.split("data portraits --write drawn --count 7 --size 16 --json"))
    assert (answer.code, json.loads(answer.out)) == (0, {"written": "drawn", "images": 7})
    back = vk.open_images("drawn")
    assert (back.pixels.permute(0, 2, 3, 1).numpy() == portraits.draw(7, 16)).all()
    assert set(portraits.ATTRIBUTES) <= back.attributes.keys()
    gray = json.loads(vaekit(*shlex.split("data drawn --channels 1 --size 8 --json")).out)
    assert gray["images"] == 7


def test_recipes_are_the_table(vaekit: Callable) -> None:
    assert json.loads(vaekit("recipes", "--json").out) == {name: row.to_dict() for name, row in RECIPES.items()}
    answer = vaekit("recipes")
    assert answer.code == 0 and all(name in answer.out for name in RECIPES)


def test_a_recipe_is_described(vaekit: Callable) -> None:
    lines = vaekit("recipes", "vq-vae").out.splitlines()
    assert lines[0].split() == ["recipe", "vq-vae"] and "  posterior vq (default: normal)" in lines
    commands = next(line for line in lines if line.startswith("commands")).split(None, 1)[1].split(", ")
    assert "generate" in commands and "edit" not in commands and "tiles" not in commands
    assert json.loads(vaekit("recipes", "vq-vae", "--json").out) == RECIPES["vq-vae"].to_dict()
    answer = vaekit("recipes", "vq-vee")
    assert answer.code == 2 and "there is no recipe 'vq-vee'; did you mean 'vq-vae'?" in answer.err


# Verbs on a run


def test_generate(here: Path, vaekit: Callable) -> None:
    answer = vaekit(*shlex.split("generate faces --count 4 --seed 2 --device cpu --out new/four.png --json"))
    assert (answer.code, json.loads(answer.out)) == (0, {"picture": "new/four.png"})
    assert (_picture("new/four.png") == np.asarray(vk.load("faces").generate(4, 2).image())).all()


def test_generate_at_a_temperature(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split("generate faces --count 4 --temperature 0.5 --out calm.png")).code == 0
    assert vaekit(*shlex.split("generate faces --count 4 --temperature 1 --out usual.png")).code == 0
    assert (_picture("calm.png") == np.asarray(vk.load("faces").generate(4, temperature=0.5).image())).all()
    assert (_picture("usual.png") == np.asarray(vk.load("faces").generate(4).image())).all()
    answer = vaekit(*shlex.split("generate ae --temperature 0.5"))
    assert answer.code == 2 and "generate: recipe 'seed-ae' has no prior" in answer.err


def test_the_default_picture_is_named_after_run_and_verb(here: Path, vaekit: Callable) -> None:
    assert vaekit("generate", "digits").code == 0
    assert Path("digits-generate.png").exists()


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_reconstruct(here: Path, vaekit: Callable, suffix: str) -> None:
    command = f"reconstruct digits digits --split val --count 5 --device cpu --out r.{suffix} --json"
    assert json.loads(vaekit(*shlex.split(command)).out) == {"picture": f"r.{suffix}"}
    run = vk.load("digits")
    expected = np.asarray(run.compare(run.pick("digits", "val", 5)).image())
    got = _picture(f"r.{suffix}")
    got = got if got.ndim == expected.ndim else got[..., 0]
    assert np.abs(got.astype(int) - expected).max() <= (30 if suffix == "jpg" else 0)


def test_reconstruct_one_file(here: Path, vaekit: Callable) -> None:
    Image.fromarray(portraits.draw(1, 20)[0]).save("me.png")
    assert vaekit("reconstruct", "faces", "me.png", "--out", "r.png").code == 0
    run = vk.load("faces")
    assert (_picture("r.png") == np.asarray(run.compare(run.pixels(["me.png"])).image())).all()


def test_interpolate(here: Path, vaekit: Callable) -> None:
    command = "interpolate digits label:0 'label:1 - label:2 + label:3' --steps 4 --device cpu --out walk.png --json"
    assert json.loads(vaekit(*shlex.split(command)).out) == {"picture": "walk.png"}
    sheet = vk.load("digits").interpolate("label:0", "label:1 - label:2 + label:3", steps=4)
    assert (_picture("walk.png") == np.asarray(sheet.image())).all()


@pytest.mark.parametrize(
    ("run", "expression"),
    [
        ("digits", "label:3 - label:5 + 0.5 * label:7"),
        ("digits", "-1 * label:3 + label:5"),
        ("faces", "attr:glasses=1,male=1 - attr:glasses=1,male=0 + attr:glasses=0,male=0"),
        ("ae", "label:3 - label:5 + label:7"),
    ],
)
def test_arithmetic(here: Path, vaekit: Callable, run: str, expression: str) -> None:
    answer = vaekit("arithmetic", run, expression, "--device", "cpu", "--out", "sum.png", "--json")
    assert json.loads(answer.out) == {"picture": "sum.png"}
    assert (_picture("sum.png") == np.asarray(vk.load(run).arithmetic(expression).image())).all()


def test_neighbors(here: Path, vaekit: Callable) -> None:
    Image.fromarray(portraits.draw(1, 20)[0]).save("me.png")
    command = "neighbors faces me.png portraits:30 --count 4 --split all --device cpu --out n.png --overwrite --json"
    told = vaekit(*shlex.split(command.removesuffix("--json")))
    assert told.code == 0 and re.search(r"0000\d\d.png \d", told.out)
    answer = json.loads(vaekit(*shlex.split(command)).out)
    sheet, numbers = vk.load("faces").neighbors(["me.png"], "portraits:30", "all", 4)
    found = numbers["neighbors"]
    assert answer["neighbors"] == found and len(found) == 1 and len(found[0]) == 4
    assert (_picture("n.png") == np.asarray(sheet.image())).all()
    assert vaekit("neighbours", "faces", "me.png", "--count", "0").code == 2  # the name that it had


def test_map(here: Path, vaekit: Callable) -> None:
    command = "map digits digits --split test --device cpu --out map.webp --overwrite --json"
    assert "points" not in vaekit(*shlex.split(command.removesuffix("--json"))).out
    answer = json.loads(vaekit(*shlex.split(command)).out)
    picture, found = vk.load("digits").map("digits", "test")
    assert {name: answer[name] for name in found} == found and len(found["points"]) == found["images"] == 186
    assert found["points"][0].keys() == {"name", "label", "x", "y"}
    assert (_picture("map.webp") == np.asarray(picture.image())).all()


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_encode(here: Path, vaekit: Callable, suffix: str) -> None:
    answer = vaekit(*shlex.split(f"encode digits digits --split test --device cpu --out codes.{suffix} --json"))
    assert json.loads(answer.out) == {"written": f"codes.{suffix}", "images": 186, "latents": 16}
    images = vk.open_images("digits", split="test")
    expected = vk.load("digits").encode(images).numpy()
    if suffix == "npz":
        found = np.load("codes.npz", allow_pickle=False)
        names, labels, latents = found["names"], found["labels"], found["latents"]
    elif suffix == "csv":
        table = [line.split(",") for line in Path("codes.csv").read_text().splitlines()]
        assert table[0][:3] == ["name", "label", "z0"]
        names, labels, *columns = zip(*table[1:], strict=True)
        latents = np.array(columns, np.float32).T
    else:
        from pyarrow import parquet

        table = parquet.read_table("codes.parquet")
        names, labels = table["name"].to_pylist(), table["label"].to_pylist()
        latents = np.array(table["latent"].to_pylist(), np.float32)
    assert (latents == expected).all()
    assert list(names) == list(images.names) and list(labels) == [images.classes[i] for i in images.labels.tolist()]


def test_denoise(here: Path, vaekit: Callable) -> None:
    command = "denoise digits --noise-std 0.3 --seed 1 --count 20 --split test --device cpu --out d.png --json"
    answer = vaekit(*shlex.split(command))
    printed = json.loads(answer.out)
    assert answer.code == 0 and printed["picture"] == "d.png" and Path("d.png").exists()
    assert printed["noisy_psnr_db"] == pytest.approx(10.46, abs=0.4)
    assert printed["gain_db"] == pytest.approx(printed["denoised_psnr_db"] - printed["noisy_psnr_db"])
    plain = vaekit("denoise", "digits", "digits", "--out", "plain.png", "--json")
    assert json.loads(plain.out) == {"picture": "plain.png"} and printed["images"] == 20
    for told in (answer.err, plain.err):
        assert "digits was not trained with noise (--noise-std 0), so this shows its reconstructions; " in told
        assert "train with --noise-std 0.3, or with --recipe denoising-ae\n" in told


def test_a_run_that_was_trained_with_noise_denoises_without_a_note(tmp_path: Path, vaekit: Callable) -> None:
    small = {"width": 8, "latent_dim": 4}
    vk.train("digits", "denoising-ae", tmp_path / "run", epochs=1, settings=small, quiet=True)
    answer = vaekit("denoise", tmp_path / "run", "--out", tmp_path / "d.png")
    assert answer.code == 0 and "noise" not in answer.err


def test_json_has_no_infinity(here: Path, vaekit: Callable) -> None:
    printed = json.loads(vaekit(*shlex.split("denoise digits --noise-std 0 --out d.png --json")).out)
    assert printed["noisy_psnr_db"] is None and printed["gain_db"] is None


@pytest.mark.parametrize("mask", ["center:4x4", "random:4x4", "box:0,2,3x3"])
def test_inpaint(here: Path, vaekit: Callable, mask: str) -> None:
    command = f"inpaint digits --mask {mask} --seed 1 --count 3 --split val --device cpu --out i.png --json"
    answer = vaekit(*shlex.split(command))
    printed = json.loads(answer.out)
    assert answer.code == 0 and Path("i.png").exists()
    assert printed["hidden_pixels"] == 3 * (9 if mask.startswith("box") else 16)
    assert 0 < printed["hidden_psnr_db"] < 60 and printed["images"] == 3


def test_binary_pixels_a_tighter_bound_and_a_table(here: Path, vaekit: Callable) -> None:
    train = "train digits --binarize static --epochs 1 --set net=mlp --latent-dim 3 --out black --json"
    answer = vaekit(*shlex.split(train))
    assert answer.code == 0 and json.loads(answer.out)["binarize"] == "static"
    assert answer.err.splitlines()[-2].count("on the test images, binarized (static)") == 1
    numbers = json.loads(vaekit(*shlex.split("evaluate black --iwae 20 --samples 30 --per-image each.csv --json")).out)
    assert numbers["binarize"] == "static" and numbers["iwae_nats"] > numbers["elbo_nats"]
    assert numbers["samples"] == 30 and numbers["frechet_distance"] > 0 and "of 30 images" in numbers["warning"]
    assert len(Path("each.csv").read_text().splitlines()) == 187
    words = vaekit("evaluate", "black")
    assert re.search(r"^elbo_nats +-\d+\.\d+ ± \d", words.out, re.M) and "elbo_nats_error" not in words.out
    for options, message in {
        "--iwae 0": "expected at least 1 sample",
        "--samples 1": "expected at least 2 images",
        "--features x.safetensors": "give --samples N too",
        "--per-image each.txt": "written as CSV",
        "--per-image no/each.csv": "its folder does not exist",
    }.items():
        answer = vaekit("evaluate", "black", *options.split())
        assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1, answer.err
    assert "is a pickle" in vaekit(*shlex.split("evaluate black --samples 5 --features x.pth")).err
    assert "--samples: ae has no prior to sample from" in vaekit("evaluate", "ae", "--samples", "5").err
    assert "is an autoencoder and has no bound" in vaekit("evaluate", "ae", "--iwae", "5").err


def test_doctor(here: Path, vaekit: Callable) -> None:
    told = json.loads(vaekit(*shlex.split("doctor digits --device cpu --json")).out)
    assert told == json.loads(vaekit(*shlex.split("doctor digits digits --json")).out) and told["verdict"]
    words = vaekit("doctor", "digits")
    assert words.code == 0 and told["verdict"] in words.out.splitlines()[0]


def test_evaluate(here: Path, vaekit: Callable) -> None:
    numbers = json.loads(vaekit(*shlex.split("evaluate digits --split test --seed 0 --device cpu --json")).out)
    assert numbers.keys() == NUMBERS | {"part", "kl_per_dim_nats", "kl_per_dim_nats_error"} | SSIM
    assert numbers["part"] == "test"
    nothing = {"bits_per_dim", "mutual_information_at_least_nats", "marginal_kl_at_most_nats"}
    nothing |= {f"{name}_error" for name in nothing}
    assert {key for key, value in numbers.items() if value is None} == nothing
    assert numbers == vk.load("digits").evaluate()
    of_an_autoencoder = json.loads(vaekit("evaluate", "ae", "--json").out)
    assert of_an_autoencoder.keys() == NUMBERS | SSIM | {"part"}
    of_a_bound = {"elbo_nats", "rate_nats", "bits_per_dim"}
    nothing = of_a_bound | {f"{name}_error" for name in of_a_bound} | OF_LATENTS
    assert {key for key, value in of_an_autoencoder.items() if value is None} == nothing
    words = vaekit("evaluate", "ae")
    assert re.search(r"^elbo_nats +none$", words.out, re.M)


def test_a_reader_who_has_seen_enough() -> None:
    """``vaekit recipes --json | head -c 1``: no traceback."""
    source = str(Path(runs.__file__).parents[2])
    command = f"{shlex.quote(sys.executable)} -m vaekit recipes --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": source}
    )
    assert done.stdout.startswith("{") and done.stdout.split()[-1].endswith("0")
    assert done.stderr == ""


def test_any_recipe_is_trained_to_remove_noise(tmp_path: Path, vaekit: Callable) -> None:
    run = tmp_path / "run"
    train = f"train digits --recipe fast-ae --images 2000 --noise-std 0.5 --out {shlex.quote(str(run))}"
    assert vaekit(*shlex.split(train)).code == 0
    assert json.loads((run / "config.json").read_text())["recipe"]["noise_std"] == 0.5
    answer = vaekit("denoise", run, "--noise-std", 0.3, "--json", "--out", tmp_path / "clean.png")
    assert answer.code == 0 and json.loads(answer.out)["gain_db"] > 1
