"""Commands, flags, recipe values and spellings of earlier versions are still accepted."""

from __future__ import annotations

import shlex

import pytest

from vaekit.cli.app import OLD_NAMES, app
from vaekit.cli.train_flags import keywords
from vaekit.config.options import TrainOptions

COMMANDS = (
    "train photos/ --size 64 --budget 10m --out runs/photos",
    "train photos/ --fit pad --background white --channels 4 --frames all --size 48x64",
    "train digits --binarize dynamic --flip --shift 2 --jitter 0.2 --noise-std 0.5 --patience 5 --tensorboard",
    "train digits --likelihood discretized-logistic --precision fp32 --compile on --micro-batch 16 --threads 1",
    "train digits --recipe beta-vae --set beta=4 --set width=48 --set latent-dim=8 --init runs/old --dry-run --json",
    "train digits --epochs 3 --batch-size auto --learning-rate 0.001 --latent-dim 8 --seed 1 --device cpu",
    "train digits --images 1000 --batch-size 32",
    "data photos/ --sheet sheet.png",
    "data portraits --write faces --count 200 --size 128",
    "data --prune",
    "recipes --json",
    "generate runs/photos --condition glasses=1 --condition smiling=0 --count 9 --seed 1 --out new.png",
    "fit-prior runs/photos --kind mixture --components 20 --seed 0",
    "reconstruct runs/photos --out reconstructions.png",
    "interpolate runs/photos a.png b.png c.png --steps 5 --path spherical --animate --out walk.gif",
    "traverse runs/photos me.png --count 5 --steps 7 --reach 2 --animate",
    "edit runs/photos me.png --add glasses --remove smiling=0.5 --direction beard=with/,without/ --method means",
    "arithmetic runs/photos '- label:3 + label:5'",
    "denoise runs/photos noisy/ --noise-std 0.3",
    "inpaint runs/photos --mask center:8x8",
    "neighbours runs/photos me.png --count 9",
    "map runs/photos --split test",
    "encode runs/photos --out latents.npz",
    "evaluate runs/photos --iwae 5000 --samples 2000 --features f.safetensors --per-image each.csv --factors",
    "score runs/photos new/ --by sse --false-alarms 0.05 --normal-images good/ --normal label:good --table t.csv",
    "doctor runs/photos photos/",
    "explore runs/photos --port 8000 --no-browser",
    "publish runs/photos site --count 500 --without-images",
    "export runs/photos --out photos-onnx --precision fp16",
    "verify photos-onnx --digest 00",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_old_command_is_understood(command: str) -> None:
    _, bound, _ = app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)
    if command.startswith("train"):
        TrainOptions(**keywords(bound.arguments["flags"])).row()


def test_all_commands_are_among_them() -> None:
    assert {command.split()[0] for command in COMMANDS} >= set(OLD_NAMES)
    listed = {name for name in app if not name.startswith("-")}
    assert listed - {command.split()[0] for command in COMMANDS} == {"neighbors"}


@pytest.mark.parametrize("name", ["discretised-logistic", "discretised-logistic-mixture", "discretised-normal"])
@pytest.mark.parametrize("flag", ["--likelihood ", "--set likelihood="])
def test_british_names_of_likelihoods_are_understood(name: str, flag: str) -> None:
    words = shlex.split(f"train digits {flag}{name}")
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert TrainOptions(**keywords(bound.arguments["flags"])).row().likelihood == name.replace("ised", "ized")
