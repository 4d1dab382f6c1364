"""The layers of docs/design.md: imports point downward only, and siblings never import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

#: Bottom to top. Modules of one package (data/, nets/) may import one another; other neighbours may not.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "pulse", "shards", "sums"),
    ("busy", "notes"),
    ("arguments", "plain", "schema"),
    ("evidence",),
    (
        "artefact",
        "baselines",
        "cores",
        "distances",
        "drafts",
        "evidence_rows",
        "flows",
        "recipe",
        "remedies",
        "heap",
        "inception",
        "inputs",
        "layouts",
        "locks",
        "memory",
        "patience",
        "pixels",
        "serving",
        "similarity",
        "tape",
        "team",
    ),
    (
        "adam",
        "augment",
        "config",
        "data",
        "nets",
        "distributions",
        "recipes",
        "rules",
        "durations",
        "expressions",
        "quantise",
        "records",
        "seeds",
    ),
    ("aggregate", "conditions", "discrete", "features", "image_checks", "progress"),
    ("directions", "doctor", "factors", "heads", "priors", "masks", "schedules", "verbs"),
    ("models",),
    ("objectives",),
    ("build",),
    ("runs",),
    (
        "anomalies",
        "directions_file",
        "fitted",
        "pictures",
        "evaluate",
        "tables",
        "edit",
        "inpaint",
        "search",
        "trainer",
        "folders",
        "meters",
        "tracking",
        "repeat",
    ),
    ("animation", "atlas", "codes_file", "export", "intake", "overview", "report", "sample_checks", "traversal"),
    ("budget", "checkup", "opened"),
    ("measured", "training", "walked"),
    ("run", "plan"),
    ("explorer",),
    ("api", "say"),
    ("cli",),
    ("", "__main__"),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

#: Read by every `vaekit --help`, which must not wait for these.
LIGHT = (
    "vaekit",
    "vaekit.errors",
    "vaekit.config.table",
    "vaekit.config.run_config",
    "vaekit.cli.output",
    "vaekit.cli",
)
HEAVY = ("torch", "numpy", "matplotlib", "sklearn", "scipy", "PIL")

#: Modules whose loading runs what a file says.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {("torch", "load"), ("torch", "save"), ("pd", "read_pickle"), ("pandas", "read_pickle")}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.glob("vaekit/**/*.py"))}


def component(module: str) -> str:
    """The row of the table that a module belongs to: 'data' for 'vaekit.data.images', '' for 'vaekit'."""
    return module.partition(".")[2].partition(".")[0]


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute name of what a ``from … import`` reads, relative dots resolved."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports_in(tree: ast.Module, module: str, is_package: bool, known: set[str]) -> Iterator[str]:
    """Every vaekit module that ``tree`` imports, at whatever depth: in a function it is an import as well."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module, is_package)
            # `from vaekit import edit` reads the module vaekit.latent.ops, `from vaekit import load` the top.
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
            if base == "vaekit":
                names = [name for name, a in zip(names, node.names, strict=True) if a.name != "__version__"]
        yield from (name for name in names if name == "vaekit" or name.startswith("vaekit."))


def broken_rule(module: str, imported: str) -> str | None:
    """What is wrong with ``module`` importing ``imported``, or None."""
    below, above = component(imported), component(module)
    if not {below, above} <= HEIGHT.keys():
        return f"{imported} or {module} is in no layer: add it to LAYERS and to docs/design.md"
    if below == above or HEIGHT[below] < HEIGHT[above]:
        return None
    return f"{module} imports its {'sibling' if HEIGHT[below] == HEIGHT[above] else 'superior'} {imported}"


def test_every_module_has_a_layer() -> None:
    assert "vaekit.errors" in MODULES
    assert [m for m in MODULES if component(m) not in HEIGHT] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    is_package = MODULES[module].name == "__init__.py"
    found = imports_in(tree_of(module), module, is_package, set(MODULES))
    assert [rule for imported in found if (rule := broken_rule(module, imported))] == []


@pytest.mark.parametrize(
    ("module", "line", "verdict"),
    [
        ("vaekit.model.likelihoods", "from vaekit.model.latent_model import LatentModel", "superior"),
        ("vaekit.model.likelihoods", "from . import models", "superior"),
        ("vaekit.model.likelihoods", "from vaekit import priors", "sibling"),
        ("vaekit.data.images", "from ..nets import mlp", "sibling"),
        ("vaekit.latent.ops", "def f():\n    import vaekit.api", "superior"),
        ("vaekit.runs.folder", "from vaekit import load", "superior"),
        ("vaekit.latent.ops", "import vaekit.surprise", "in no layer"),
        ("vaekit.data.images", "from .convert import to_float", None),
        ("vaekit.runs.folder", "from vaekit import __version__", None),
        ("vaekit.api", "from .runs import load_model", None),
    ],
)
def test_the_rule_sees_what_it_should(module: str, line: str, verdict: str | None) -> None:
    known = {f"vaekit.{name}" for layer in LAYERS for name in layer if name}
    rules = [broken_rule(module, name) for name in imports_in(ast.parse(line), module, False, known)]
    if verdict is None:
        assert not any(rules)
    else:
        (rule,) = rules
        assert rule is not None and verdict in rule


def run_alone(code: str, *arguments: str) -> str:
    """What ``code`` prints in a fresh interpreter that finds vaekit in the source tree."""
    preamble = "import sys; sys.path.insert(0, sys.argv[1]); names = sys.argv[2:]\n"
    command = [sys.executable, "-c", preamble + code, str(SOURCE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ALONE = """
import importlib, traceback
for heavy in ("torch", "numpy", "matplotlib", "PIL"):
    importlib.import_module(heavy)
for name in names:
    for loaded in [m for m in sys.modules if m == "vaekit" or m.startswith("vaekit.")]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except BaseException:
        print(name, traceback.format_exc())
"""


def test_every_module_imports_alone() -> None:
    """Each is imported with no other vaekit module loaded: a cycle or a hidden order would show."""
    assert run_alone(ALONE, *MODULES) == ""


@pytest.mark.parametrize("module", [name for name in LIGHT if name in MODULES])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = "import importlib; importlib.import_module(names[0]); print(*(set(names[1:]) & set(sys.modules)))"
    assert run_alone(code, module, *HEAVY).strip() == ""


def test_a_verb_is_not_hidden_by_its_module() -> None:
    """Importing the module vaekit.train binds it to the function's name; the order of use must not matter."""
    code = "import vaekit as vk; vk.load, vk.open_images; print(*(n for n in vk.__all__ if n != 'recipes'"
    code += " and not callable(getattr(vk, n))))"
    assert run_alone(code).strip() == ""


def test_no_module_is_called_utils() -> None:
    assert [name for name in MODULES if "util" in name.rpartition(".")[2] or name.endswith("helpers")] == []


def unsafe(tree: ast.Module) -> Iterator[str]:
    """What could unpickle a file (or write one that only unpickling reads)."""
    for node in ast.walk(tree):
        used: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            used = [(alias.name.split(".")[0], "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            used = [((node.module or "").split(".")[0], alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = [(node.value.id, node.attr)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            used = [] if ast.unparse(node.value) == "False" else [("pickle", node.arg)]
        yield from (".".join(use) for use in used if use[0] in UNSAFE_MODULES or use in UNSAFE)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_unpickles(module: str) -> None:
    assert list(unsafe(tree_of(module))) == []


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("import pickle", 1),
        ("from torch import load", 1),
        ("x = torch.load(path, weights_only=True)", 1),
        ("x = np.load(path, allow_pickle=True)", 1),
        ("x = np.load(path, allow_pickle=False)", 0),
        ("x = safetensors.torch.load_file(path)", 0),
    ],
)
def test_the_pickle_search_finds(line: str, count: int) -> None:
    assert len(list(unsafe(ast.parse(line)))) == count
