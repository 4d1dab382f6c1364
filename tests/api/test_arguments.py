"""Public functions accept a value, or say in one sentence what they expect, whatever the value is.

All functions of ``vaekit`` and methods of ``Run`` are found automatically. A new required parameter needs a valid value
in ``GOOD``.
"""

from __future__ import annotations

import datetime
import fractions
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import vaekit as vk
from vaekit import api
from vaekit.data import to_float
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.latent.directions import Direction

FACES = draw(24, 8)  # uint8 [24, 8, 8, 3]


@dataclass(repr=False)
class Place:
    """A run that may be written to, and valid arguments of its verbs."""

    run: vk.Run
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def good(self, name: str, function: str) -> Any:
        """Return a valid value of a required parameter."""
        pixels = self.run.images().pixels[:2]
        files = [str(self.folder / f"{i}.png") for i in range(2)]
        values: dict[str, Any] = {
            "add": ("glasses",),
            "count": 2,
            "data": pixels,
            "columns": 2,
            "expression": "attr:glasses=1",
            "hidden": torch.arange(8).view(1, 1, 8, 1).expand(2, 1, 8, 8) < 3,
            "image": pixels,
            "images": to_float(pixels),
            "kind": "threshold",
            "latents": torch.zeros(2, self.run.model.latent_dim),
            "mask": "center:2x2",
            "moves": {"glasses": 1.0},
            "name": self.name_for(function, files[0]),
            "noise_std": 0.1,
            "noisy": to_float(pixels),
            "out": self.folder / "codes.csv",
            "path": self.folder / "sheet.png" if function in ("sheet.save", "result.save") else self.run.path,
            "pixels": pixels,
            "query": "attr:glasses=1",
            "recipe": vk.Recipe("mine", latent_dim=3),
            "remove": (),
            "source": FACES,
            "split": "all",
            "values": {"beta": 2},
            "verb": "generate",
            "with_": files[0],
            "without": files[1],
        }
        if function == "Run.create":
            out = self.folder / "created" / str(next(self.numbers))
            values |= {"model": self.run.model, "recipe": self.run.row, "images": self.run.images(), "out": out}
        return FACES if name == "data" and function in ("train", "plan") else values[name]

    def made(self, name: str) -> Path:
        """Return an empty file."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    def name_for(self, function: str, file: str) -> str:
        """A value of ``name``, which is a direction, a recipe, a likelihood or a file."""
        names = {"add_direction": "new", "recipes.with_likelihood": "laplace"}
        return names.get(function, "seed-ae" if function.startswith("recipes.") else file)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A tiny run on drawn faces in its own folder, which is the working folder."""
    folder = tmp_path_factory.mktemp("arguments")
    images = vk.open_images("portraits:40", size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for index in range(2):
            Image.fromarray(FACES[index]).save(f"{index}.png")
        (folder / "empty").mkdir()
        yield Place(vk.train(images, "vae", folder / "run", images=64, settings={"width": 4}, quiet=True), folder)


def public(owner: Any) -> Iterator[str]:
    """The names of its public functions."""
    for name, member in inspect.getmembers(owner):
        if not name.startswith("_") and isinstance(member, FunctionType):
            yield name


METHODS = {name: getattr(vk.Run, name) for name in public(vk.Run)}
METHODS |= {f"sheet.{name}": getattr(vk.Sheet, name) for name in public(vk.Sheet)}
METHODS |= {f"result.{name}": getattr(vk.Result, name) for name in public(vk.Result)}
METHODS |= {f"images.{name}": getattr(vk.Images, name) for name in public(vk.Images)}
del METHODS["images.selection"]  # an index, which raises IndexError as indices do
FUNCTIONS = {name: getattr(vk, name) for name in vk.__all__ if isinstance(getattr(vk, name), FunctionType)}
FUNCTIONS |= {"plan": api.plan, "Sheet": vk.Sheet, "Run.create": vk.Run.create}
FUNCTIONS |= {f"recipes.{name}": getattr(vk.recipes, name) for name in public(vk.recipes) if name in vk.recipes.__all__}

#: (function, parameter) for every one of them.
CASES = [
    (name, parameter)
    for name, function in (METHODS | FUNCTIONS).items()
    for parameter in inspect.signature(function).parameters
    if parameter != "self"
]


def meta(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, device="meta")


class Nothing:
    """An object of an unrelated type."""


class Table:
    """An object that looks like a pandas table."""

    iloc = columns = ["path"]

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __len__(self) -> int:
        return 3


class Broken:
    """A dataset with a fault of its own."""

    def __getitem__(self, index: int) -> Any:
        raise ZeroDivisionError("inside of the dataset")

    def __len__(self) -> int:
        return 3


NAN, INF = float("nan"), float("inf")
ODD: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "minus": lambda: -1,
    "half": lambda: 2.5,
    "2^63": lambda: 2**63,
    "10^30": lambda: 10**30,
    "-10^400": lambda: -(10**400),
    "nan": lambda: NAN,
    "inf": lambda: INF,
    "1e308": lambda: 1e308,
    "complex": lambda: 1j,
    "fraction": lambda: fractions.Fraction(1, 3),
    "empty text": lambda: "",
    "word": lambda: "nonsense",
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud800",
    "long text": lambda: "x" * 5000,
    "group": lambda: "label:77",
    "braces": lambda: "{}%s",
    "bytes": lambda: b"bytes",
    "no path": lambda: Path("nowhere") / "at all",
    "folder": lambda: Path(),
    "list": list,
    "tuple": tuple,
    "dict": dict,
    "names": lambda: ["glasses"],
    "numbers": lambda: [1, 2, 3],
    "nones": lambda: [None],
    "ragged": lambda: [[1], [2, 3]],
    "strength of text": lambda: {"glasses": "much"},
    "strength of nan": lambda: {"glasses": NAN},
    "strength too large": lambda: {"glasses": 1e300},
    "other keys": lambda: {1: 2},
    "unknown name": lambda: {"wings": 1},
    "set": lambda: {"a"},
    "object": Nothing,
    "type": lambda: int,
    "function": lambda: len,
    "date": datetime.date.today,
    "generator": lambda: (i for i in range(3)),
    "table": Table,
    "broken": Broken,
    "range": lambda: range(3),
    "0-d": lambda: np.array(2.5),
    "0-d text": lambda: np.array("x"),
    "0-d bool": lambda: torch.tensor(True),
    "no rows": lambda: np.zeros((0, 8, 8, 3), np.uint8),
    "no rows, tensor": lambda: torch.zeros(0, 3, 8, 8),
    "objects": lambda: np.array([None, {}], object),
    "texts": lambda: np.array(["a", "b"]),
    "bools": lambda: np.ones((2, 4), bool),
    "floats of 7": lambda: np.full((2, 8, 8, 3), 7.0),
    "nans": lambda: np.full((2, 8, 8, 3), NAN),
    "nans, tensor": lambda: torch.full((2, 3, 8, 8), NAN),
    "infs": lambda: torch.full((2, 16), INF),
    "half floats": lambda: torch.zeros(2, 3, 8, 8, dtype=torch.float16),
    "bf16": lambda: torch.zeros(2, 3, 8, 8).bfloat16(),
    "complex array": lambda: np.zeros((2, 8, 8), complex),
    "int64": lambda: np.zeros((2, 8, 8, 3), np.int64),
    "5-d": lambda: torch.zeros(1, 2, 3, 8, 8),
    "2 channels": lambda: torch.zeros(2, 2, 8, 8, dtype=torch.uint8),
    "other size": lambda: torch.zeros(2, 3, 5, 7),
    "meta": lambda: meta(2, 3, 8, 8),
    "meta bytes": lambda: meta(2, 3, 8, 8).byte(),
    "meta 0-d": lambda: meta(),
    "list of meta": lambda: [meta(3, 8, 8)],
    "sparse": lambda: torch.zeros(2, 3, 8, 8).to_sparse(),
    "list of tensors": lambda: [torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)],
    "long doubles": lambda: np.zeros((2, 16), np.longdouble),
    "picture": lambda: Image.new("RGB", (8, 8)),
    "tiny picture": lambda: Image.new("L", (1, 1)),
    "pictures": lambda: [Image.new("P", (9, 7))],
    "no device": lambda: torch.device("meta"),
    "device": lambda: "abacus",
    "recipe": lambda: "sed-ae",
    "row": lambda: vk.Recipe("mine", net="none"),
    "row of kinds": lambda: vk.Recipe("mine", latent_dim="many"),  # type: ignore[arg-type]
    "direction": lambda: {"glasses": Direction(meta(16), "means", False, 1, 1, None, 0, "")},
}


def call(place: Place, function: str, parameter: str, value: Any) -> None:
    """Call the function with valid values except one; any exception other than a UserError is a bug."""
    found = METHODS.get(function) or FUNCTIONS[function]
    known = inspect.signature(found).parameters
    kwargs: dict[str, Any] = {
        name: place.good(name, function)
        for name, p in known.items()
        if p.default is p.empty and name not in ("self", "stops")
    }
    result = place.run.generate(1) if "." in function else vk.Result()
    owners = {"sheet": result.figure, "result": result, "images": place.run.images()} if "." in function else {}
    args = [owners.get(function.partition(".")[0], place.run)] if function in METHODS else []
    if function in ("train", "plan"):
        kwargs |= {"recipe": "seed-ae", "out": place.folder / "ae", "images": 20}
        kwargs |= {"images": None} if parameter in ("epochs", "budget") else {}
    if parameter == "stops":
        args += ["attr:glasses=1", value]
    else:
        kwargs[parameter] = value
    found(*args, **kwargs)


def check(place: Place, function: str, parameter: str, value: Any) -> None:
    before = dict(vk.recipes.RECIPES)
    try:
        call(place, function, parameter, value)
    except UserError as error:
        assert str(error).strip()
    finally:
        vk.recipes.RECIPES.clear()
        vk.recipes.RECIPES.update(before)


#: What takes long, and functions of the caller's own, whose errors are the caller's own.
LEFT_OUT = {("train", "compiled", "true"), ("plan", "compiled", "true")}
LEFT_OUT |= {(verb, "counted", odd) for verb in ("evaluate", "score") for odd in ("type", "function")}
LEFT_OUT |= {("train", callback, odd) for callback in ("on_log", "on_epoch") for odd in ("type", "function")}


@settings(max_examples=300)
@given(case=st.sampled_from(CASES), odd=st.sampled_from(sorted(ODD)))
def test_a_public_function_takes_a_value_or_says_what_it_wants(place: Place, case: tuple[str, str], odd: str) -> None:
    """Anything except a result or a UserError is a bug. All pairs take minutes, so each run tests a random sample."""
    assume((*case, odd) not in LEFT_OUT)
    check(place, *case, ODD[odd]())


def test_all_functions_are_found() -> None:
    assert {"train", "plan", "load", "open_images", "register", "Sheet", "recipes.override"} <= set(FUNCTIONS)
    assert {"encode", "decode", "denoise", "interpolate", "score", "export", "latent"} <= set(METHODS)


WRONG: dict[str, tuple[Callable[[Place], Any], str]] = {
    "half a count": (lambda p: p.run.generate(2.5), r"^count 2.5: expected a whole number$"),  # type: ignore[arg-type]
    "a truth for a count": (lambda p: p.run.generate(True), "^count True: expected a whole number"),
    "text for a count": (lambda p: p.run.generate("3"), "^count '3': expected a whole number"),  # type: ignore[arg-type]
    "names for strengths": (
        lambda p: p.run.edit(FACES[:1], ["glasses"]),  # type: ignore[arg-type]
        r"^moves \['glasses'\]: expected values by name, such as \{'glasses': 1\}",
    ),
    "a table": (lambda p: vk.train(Table()), r"cannot read images from a Table; pass a list of paths"),
    "a dict": (lambda p: vk.train({"images": FACES}), "cannot read images from a dict"),
    "latents of another size": (lambda p: p.run.decode(np.zeros((2, 3))), r"^latents have shape \(2, 3\); expected"),
    "latents that are none": (lambda p: p.run.decode([[NAN] * 16]), "^latents contain NaN"),
    "latents that hold nothing": (lambda p: p.run.decode(meta(1, 16)), "^latents: the tensor is on the meta device"),
    "noisy images of another size": (
        lambda p: p.run.denoise(np.zeros((2, 3, 9, 9))),
        r"^noisy have shape \(2, 3, 9, 9\); expected floats \[N, 3, 8, 8\]",
    ),
    "bytes as noisy images": (lambda p: p.run.denoise(FACES), "^noisy are torch.uint8; expected floats"),
    "visible pixels that are none": (
        lambda p: p.run.inpaint(np.full((1, 3, 8, 8), NAN), np.arange(64).reshape(1, 1, 8, 8) < 5),
        "^images contain NaN",
    ),
    "a mask of numbers": (lambda p: p.run.inpaint(np.zeros((1, 3, 8, 8)), [[0, 1]]), "^hidden is torch.int64"),
    "epochs as text": (lambda p: vk.train(FACES, epochs="3"), "^epochs '3': expected a number"),  # type: ignore[arg-type]
    "no threads": (lambda p: vk.train(FACES, threads=0), "^threads 0: must be at least 1"),
    "endless epochs": (lambda p: api.plan(FACES, epochs=1e308), "^epochs 1e[+]308: expected at most"),
    "another precision": (lambda p: vk.train(FACES, precision="fp8"), "^precision fp8: choose from"),
    "the meta device": (lambda p: vk.load(p.run.path, "meta"), "^device meta is not available here"),
    "a number of a run": (lambda p: vk.load(3), "^path 3: expected a path"),  # type: ignore[arg-type]
    "a name that is no path": (lambda p: vk.load("a\0b"), "^path 'a.x00b': expected a path that the system can open"),
    "a file as a run": (lambda p: vk.load("0.png"), "^0.png is not a run: it is a file"),
    "an archive as a run": (lambda p: vk.load(p.made("a.zip")), "a.zip is not a run: it is an archive; unpack it"),
    "an export as a run": (lambda p: vk.load(p.made("onnx/model.json").parent), "onnx is not a run: it is an export"),
    "an empty folder as a run": (lambda p: vk.load(p.folder / "empty"), "empty is not a run: the folder is empty"),
    "runs as a run": (lambda p: vk.load(p.folder), "is not a run: it contains runs; give one of them, such as "),
    "no name as a run": (lambda p: vk.load(""), "^path '': expected a path"),
    "another way to save": (lambda p: p.run.generate(1).save(None), "^path None: expected a path"),  # type: ignore[arg-type]
    "a sheet of floats": (lambda p: vk.Sheet(torch.zeros(1, 1, 2, 2), 1), "a sheet needs a uint8 tensor .*float32"),
    "half a column": (
        lambda p: vk.Sheet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 1.5),  # type: ignore[arg-type]
        "^columns 1.5: expected a whole number",
    ),
    "no dimensions": (lambda p: p.run.axes(0), "^count 0: expected at least 1 dimension"),
    "no recipe": (lambda p: vk.register("vae"), "^recipe 'vae': expected a Recipe"),  # type: ignore[arg-type]
    "a recipe of text": (
        lambda p: vk.register(vk.Recipe("mine", latent_dim="many")),  # type: ignore[arg-type]
        "^latent_dim 'many': expected a whole number",
    ),
    "a recipe without a name": (lambda p: vk.register(vk.Recipe("")), "^recipe: the name '' is empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_message_begins_with_the_parameter(place: Place, name: str) -> None:
    function, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        function(place)


def test_the_command_line_names_the_flag_and_python_the_parameter(place: Place, vaekit: Callable[..., Any]) -> None:
    answer = vaekit("generate", place.run.path, "--count", 0)
    assert (answer.code, answer.err) == (2, "vaekit: --count 0: expected at least 1 image\n")
    with pytest.raises(UserError, match="^count 0: expected at least 1 image$"):
        place.run.generate(0)
    assert "--iwae 0: expected" in vaekit("evaluate", place.run.path, "--iwae", 0).err
    with pytest.raises(UserError, match="^iwae_samples 0: expected"):
        place.run.evaluate(iwae_samples=0)


def test_latents_may_be_numbers_of_any_kind(place: Place) -> None:
    run = place.run
    latents = run.encode(FACES[:4])
    expected = run.decode(latents).pixels
    column_major = np.asfortranarray(latents.numpy())
    twice = torch.stack([latents, latents], -1)
    for same in (
        latents.numpy(),
        latents.tolist(),
        latents.double(),
        latents.numpy().astype(">f8"),
        latents.numpy().astype(np.longdouble),
        latents.clone().requires_grad_(),
        list(latents),
        column_major,
        column_major[::-1][::-1],
        twice[..., 1],
    ):
        assert torch.equal(run.decode(same).pixels, expected)
    assert torch.equal(run.decode(latents.numpy()[::-1]).pixels, expected.flip(0))
    half = run.decode(latents.half()).pixels
    assert torch.equal(half, run.decode(latents.half().float()).pixels)
    ends = run.interpolate(latents[0].tolist(), latents[1].double().numpy(), steps=np.int64(3)).pixels
    assert torch.equal(ends, run.interpolate(latents[0], latents[1], steps=3).pixels)
    assert [axis.name for axis in run.axes(2, latents[0].tolist())] == [axis.name for axis in run.axes(2, latents[0])]


def test_images_may_be_of_any_kind(place: Place) -> None:
    run, files = place.run, [str(place.folder / f"{i}.png") for i in range(2)]
    faces = np.ascontiguousarray(FACES[:2])
    expected = run.encode(faces)
    tensor = torch.from_numpy(faces).movedim(-1, 1)
    for same in (
        tensor,
        tensor.contiguous(),
        to_float(tensor),
        to_float(tensor).double(),
        to_float(tensor).requires_grad_(),
        faces[::-1][::-1],
        np.repeat(faces, 2, 2)[:, :, ::2],
        np.asfortranarray(faces),
        [Image.fromarray(face) for face in faces],
        files,
        list(map(Path, files)),
        list(tensor),
        vk.open_images(files),
    ):
        assert torch.equal(run.encode(same), expected)
    assert torch.equal(run.encode(faces[::-1]), expected.flip(0))
    assert torch.equal(run.latent(Path(files[0])), run.latent(files[0]))
    assert torch.equal(run.latent(faces), expected.mean(0))
    walk = run.interpolate(Path(files[0]), Path(files[1]), steps=2).pixels
    assert torch.equal(walk, run.interpolate(*files, steps=2).pixels)
    sheet, _ = run.inpaint_sheet(faces, "center:2x2")
    assert torch.equal(sheet.pixels[:2], tensor)


def test_float_images_may_be_of_any_kind(place: Place) -> None:
    run = place.run
    noisy = to_float(torch.from_numpy(FACES[:2]).movedim(-1, 1).contiguous()) + 0.3
    hidden = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    hidden[..., 2:5, :] = True
    clean = run.denoise(noisy)
    whole = noisy.masked_fill(hidden, NAN)
    filled = run.inpaint(whole, hidden)
    assert torch.equal(filled[~hidden.expand_as(filled)], noisy[~hidden.expand_as(filled)])
    for make in (lambda x: x.numpy(), lambda x: x.tolist(), lambda x: x.double(), lambda x: x.movedim(1, -1).numpy()):
        assert torch.equal(run.denoise(make(noisy)), clean)
        assert torch.equal(run.inpaint(make(whole), hidden.numpy()).float(), filled)
    exact = noisy.double() + 1e-9  # which float32 cannot hold
    assert torch.equal(run.inpaint(exact, hidden.tolist())[:, :, :2], exact[:, :, :2])


def test_numbers_may_be_of_any_kind(place: Place) -> None:
    run = place.run
    expected = run.generate(2, seed=3).pixels
    for count, seed in ((np.int64(2), np.uint8(3)), (2.0, torch.tensor(3)), (np.array(2), fractions.Fraction(3))):
        assert torch.equal(run.generate(count, seed).pixels, expected)  # type: ignore[arg-type]
    moved = run.edit(FACES[:1], {"glasses": np.float32(2)}).pixels  # type: ignore[dict-item]
    assert torch.equal(moved, run.edit(FACES[:1], {"glasses": 2}).pixels)
    assert vk.load(Path(run.path), torch.device("cpu")).shape == run.shape
    row = vk.register(vk.Recipe("mine", latent_dim=np.int64(3), beta=4))
    vk.recipes.unregister("mine")
    assert type(row.latent_dim) is int and type(row.beta) is float


def test_what_is_printed_is_short(place: Place) -> None:
    run = place.run
    sheet = run.generate(5)
    assert repr(sheet.figure) == "Sheet(5 images of 3×8×8 in 5 columns)"
    for result in (sheet, run.score(false_alarms=0.5), run.map(), run.directions(), run.axes(2), run.traverse()):
        assert "tensor(" not in repr(result) and "array(" not in repr(result)
