"""The user's own parts on the command line: all commands work with them, and no code runs unless it is named."""

from __future__ import annotations

import importlib.util
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from scipy import integrate, stats

import vaekit as vk
from vaekit.config import parts
from vaekit.config.capabilities import NEEDS
from vaekit.errors import UserError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No user's part is registered before or after a test."""
    monkeypatch.setattr(parts, "_registered", {kind: {} for kind in parts.KINDS})
    known, paths = set(sys.modules), list(sys.path)
    yield
    forget(known)
    sys.path[:] = paths


def forget(known: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Forget the registered parts, as in a new process."""
    for kind in parts.KINDS:
        parts._registered[kind].clear()
    for name in [name for name in sys.modules if name.startswith("vaekit_import_") or name == "own_module"]:
        if name not in known:
            del sys.modules[name]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for example in ("own_network.py", "own_likelihood.py"):
        (tmp_path / example).write_bytes((EXAMPLES / example).read_bytes())
    return tmp_path


SHORT = "--images 200 --set hidden=16 --threads 1"
TRAIN = f"train digits --import own_network.py --set net=mine --latent-dim 4 {SHORT} --out run"
VERBS = (
    "reconstruct run",
    "generate run --count 4",
    "interpolate run photos/00.png photos/01.png --steps 3",
    "arithmetic run 'photos/00.png + photos/01.png'",
    "edit run photos/00.png --add 3=2",
    "traverse run photos/00.png",
    "encode run --out codes.npz",
    "neighbors run photos/00.png",
    "map run",
    "denoise run --noise-std 0.2",
    "inpaint run --mask center:4x4",
    "evaluate run",
    "score run",
    "doctor run",
    "fit-prior run",
    "export run --out export",
    "publish run page",
)


def test_every_command_takes_a_run_with_a_network_of_the_user(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split(TRAIN)).code == 0
    stored = json.loads((here / "run" / "config.json").read_text())
    (part,) = stored["parts"]
    assert (part["kind"], part["name"], part["source"]) == ("net", "mine", "own_network.py")
    assert stored["recipe"]["net"] == "mine" and len(part["sha256"]) == 64
    Path("photos").mkdir()
    for number in range(2):
        Image.effect_noise((8, 8), 60 + number).save(f"photos/{number:02d}.png")
    for line in VERBS:
        forget()
        answer = vaekit(*shlex.split(line), "--import", "own_network.py")
        assert answer.code == 0, (line, answer.err)
    assert (here / "export" / "decoder.onnx").exists() and (here / "page" / "index.html").exists()


def test_a_run_without_its_parts_names_the_import(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split(TRAIN)).code == 0
    forget()
    for words in ("reconstruct run", "evaluate run", f"train digits {SHORT} --out other --init run"):
        answer = vaekit(*shlex.split(words))
        assert answer.code == 2
        assert answer.err == (
            "vaekit: run/config.json uses net=mine, which is not part of vaekit; give --import own_network.py, or in "
            "Python import own_network first\n"
        )
    with pytest.raises(UserError, match="in Python import own_network first"):
        vk.load("run")
    (here / "own_network.py").unlink()
    answer = vaekit("reconstruct", "run", "--import", "own_network.py")
    assert (answer.code, answer.err) == (
        2,
        "vaekit: --import own_network.py: there is no such file; give the file that registers your parts\n",
    )


def test_a_stored_run_never_runs_code(here: Path, vaekit: Callable) -> None:
    """config.json may name a file beside the run, an installed module, or a name that looks like Python."""
    assert vaekit(*shlex.split(TRAIN)).code == 0
    (here / "evil.py").write_text("open('ran', 'w')\n")
    (here / "own_network.py").write_text("open('ran', 'w')\n")
    path = here / "run" / "config.json"
    stored = json.loads(path.read_text())
    for source in ("evil.py", str(here / "evil.py"), "evil", "own_network.py"):
        for name in ("mine", "evil:Part", "os:system", "../evil"):
            forget()
            stored["parts"][0] |= {"name": name, "source": source}
            stored["recipe"]["net"] = name
            path.write_text(json.dumps(stored))
            assert vaekit("reconstruct", "run").code == 2
            assert vaekit(*shlex.split(f"train digits {SHORT} --out run")).code == 2
    assert not (here / "ran").exists() and "evil" not in sys.modules


def test_a_training_goes_on_and_says_that_the_file_has_changed(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split(TRAIN)).code == 0
    forget()
    source = here / "own_network.py"
    source.write_text(source.read_text() + "\n# a comment\n")
    answer = vaekit(*shlex.split(TRAIN.replace("--images 200", "--images 400")))
    assert answer.code == 0
    assert "own_network.py, which defines net=mine, has changed since the run run began" in answer.err
    assert "resuming from image 200" in answer.err


def test_the_next_command_imports_too(here: Path, vaekit: Callable) -> None:
    assert vaekit(*shlex.split(TRAIN)).code == 0
    printed = json.loads(vaekit("doctor", "run", "--json", "--import", "own_network.py").out)
    words = shlex.split(printed["next_command"])
    if words[1] == "train":
        assert words[words.index("--import") + 1] == "own_network.py" and "net=mine" in words


def test_a_module_is_imported_by_its_name(here: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "site").mkdir()
    (here / "own_network.py").rename(here / "site" / "own_module.py")
    monkeypatch.syspath_prepend(here / "site")
    assert vaekit(*shlex.split(TRAIN.replace("own_network.py", "own_module"))).code == 0
    assert json.loads((here / "run" / "config.json").read_text())["parts"][0]["source"] == "own_module"
    forget()
    assert vaekit("reconstruct", "run").err.endswith("give --import own_module, or in Python import own_module first\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0", "--import parts.py: parts.py, line 1, raised ZeroDivisionError: division by zero"),
        ("def f(:\n", "--import parts.py: line 1 is not Python (invalid syntax)"),
        (
            "import vaekit as vk\nvk.register_network('x')(int)",
            "net=x: expected a subclass of vaekit.Network, got <class 'int'>",
        ),
        (
            "import vaekit as vk\n@vk.register_network('x')\nclass A(vk.Network): pass",
            "net=x: class A lacks decoder, encoder, which vaekit.Network requires",
        ),
        (
            "import vaekit as vk\n@vk.register_prior('vamp')\nclass A(vk.Prior):\n def forward(self): ...",
            "prior=vamp is part of vaekit; give yours another name",
        ),
        (
            "import vaekit as vk\n@vk.register_objective('a b')\nclass A(vk.Objective):\n def loss(self): ...",
            "the name of a part is 'a b'; expected letters, digits, dots, dashes and underscores",
        ),
    ],
)
def test_a_file_that_cannot_be_imported(here: Path, vaekit: Callable, text: str, message: str) -> None:
    Path("parts.py").write_text(text)
    answer = vaekit("recipes", "--import", "parts.py")
    assert (answer.code, answer.err) == (2, f"vaekit: {message}\n")


def test_a_name_that_nobody_registered(vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--set", "net=mine", "--dry-run")
    assert answer.code == 2
    assert "choose from: mlp, seed-conv, resnet, " in answer.err
    assert ", or register your own part and give --import FILE.py" in answer.err
    assert "no module of this name" in vaekit("recipes", "--import", "no_such_module").err


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return nn.Conv2d(shape[0], 4, 3)",
            "its encoder returns [1, 4, 6, 6] for images [1, 1, 8, 8]; expected features",
        ),
        ("return nn.Linear(3, 4)", "the encoder of net=odd fails for one input [1, 1, 8, 8]: RuntimeError"),
    ],
)
def test_a_network_of_another_shape_is_refused(here: Path, vaekit: Callable, body: str, message: str) -> None:
    lines = [
        *("import vaekit as vk", "from torch import nn", "@vk.register_network('odd')", "class Odd(vk.Network):"),
        *(
            " def encoder(self, shape):",
            f"  {body}",
            " def decoder(self, shape, latent_dim):",
            "  return nn.Identity()",
        ),
    ]
    Path("odd.py").write_text("\n".join(lines))
    answer = vaekit("train", "digits", "--import", "odd.py", "--set", "net=odd", "--out", "odd")
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_likelihood_of_the_example_is_a_density() -> None:
    module = load("own_likelihood")
    for log_scale in (-3.0, 0.4):
        px = module.StudentT(torch.tensor(0.3), torch.tensor(log_scale))

        def density(x: float, px: vk.PixelDistribution = px) -> float:
            return float(px.log_prob_map(torch.tensor(x, dtype=torch.float64)).exp())

        assert integrate.quad(density, -math.inf, math.inf)[0] == pytest.approx(1, abs=1e-5)
        for x in (-1.0, 0.0, 0.3, 2.0):
            expected = stats.t(4, loc=0.3, scale=math.exp(log_scale)).logpdf(x)
            assert float(px.log_prob_map(torch.tensor(x))) == pytest.approx(expected, abs=1e-4)


def test_a_likelihood_of_the_user_from_training_to_export(here: Path, vaekit: Callable) -> None:
    given = "--import own_likelihood.py"
    out = "--likelihood student-t --set net=mlp --latent-dim 4 --out run"
    answer = vaekit(*shlex.split(f"train digits {given} {SHORT} {out} --json"))
    assert answer.code == 0, answer.err
    printed = json.loads(answer.out)
    assert printed["final_elbo_nats"] is not None and printed["final_bits_per_dim"] is None, "a density has no bits"
    card = (here / "run" / "README.md").read_text()
    assert "density over pixel values" in card
    for words in (
        "generate run",
        "reconstruct run",
        "inpaint run --mask center:4x4",
        "evaluate run",
        "export run --out export",
    ):
        answer = vaekit(*shlex.split(f"{words} {given}"))
        assert answer.code == 0, (words, answer.err)
    refused = vaekit(*shlex.split(f"train digits {given} {SHORT} {out}2 --binarize static"))
    assert refused.code == 2 and "student-t is a density, which grows without bound" in refused.err


def test_every_verb_is_tried_above() -> None:
    options = {"codes", "factors", "keep-detail", "levels", "temperature", "tiles"}
    assert {line.split()[0] for line in VERBS} | options | {"explore"} >= set(
        NEEDS
    )  # publish writes what explore shows
