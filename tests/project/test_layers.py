"""The folders of docs/design.md: imports only point downward, and no folder contains a circle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

#: Folders of ``src/vaekit``, and the modules beside them, from bottom to top; ``vaekit`` is the package itself.
FOLDERS = (
    "_version",
    "errors",
    "system",
    "pixels",
    "config",
    "data",
    "model",
    "figures",
    "latent",
    "evaluation",
    "export",
    "runs",
    "training",
    "run",
    "explorer",
    "api",
    "cli",
    "vaekit",
    "__main__",
)

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


#: Folders whose contracts are stated in types: nothing is ``Any``, and no attribute is probed by name.
TYPED = ("model", "training", "evaluation")

#: Probes that nothing public can replace. PyTorch offers no other way to ask whether it was built with an operator.
ALLOWED_PROBES = {"vaekit.model.nets.linear": ["hasattr(torch.ops.mkldnn, '_linear_pointwise')"]}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.glob("vaekit/**/*.py"))}


def folder_of(module: str) -> str:
    """The folder that a module belongs to: 'data' for 'vaekit.data.images', 'vaekit' for the package itself."""
    return module.partition(".")[2].partition(".")[0] or module


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Return the absolute name of the module of a ``from … import``."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def statements(node: ast.AST, is_eager: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements at any depth, or (``is_eager``) only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        is_later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_checkers = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not (is_eager and (is_later or is_for_checkers)):
            yield from statements(child, is_eager)


def imports_in(
    tree: ast.Module, module: str, is_package: bool, known: set[str], is_eager: bool = False
) -> Iterator[str]:
    """The vaekit modules that ``tree`` imports."""
    for node in statements(tree, is_eager):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = absolute(node, module, is_package)
            # `from vaekit.model import priors` reads vaekit.model.priors, `from vaekit import load` the package.
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        yield from (name for name in names if name == "vaekit" or name.startswith("vaekit."))


def broken_rule(module: str, imported: str) -> str | None:
    """Describe what is wrong with ``module`` importing ``imported``; None if nothing is."""
    for name in (module, imported):
        if folder_of(name) not in FOLDERS:
            return f"{name} is in no folder of the list: add it to FOLDERS and to docs/design.md"
    if FOLDERS.index(folder_of(imported)) <= FOLDERS.index(folder_of(module)):
        return None
    return f"{module} imports {imported}, which is in a folder above it"


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; empty if there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def is_package(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


def test_every_module_is_in_a_folder_of_the_list() -> None:
    assert "vaekit.errors" in MODULES
    assert {folder_of(module) for module in MODULES} == set(FOLDERS)


def test_the_design_page_shows_the_list() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = page.partition("## Layout\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^    (\w+)/? ", section, re.MULTILINE)  # lines that are indented more go on with the one above
    assert tuple(shown) == FOLDERS


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    found = imports_in(tree_of(module), module, is_package(module), set(MODULES))
    assert [rule for imported in found if (rule := broken_rule(module, imported))] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_modules_of_a_folder_import_one_another_in_a_circle(folder: str) -> None:
    inside = [module for module in MODULES if folder_of(module) == folder]
    imports = {
        module: set(imports_in(tree_of(module), module, is_package(module), set(MODULES), is_eager=True))
        for module in inside
    }
    assert circle_in({module: (found & set(inside)) - {module} for module, found in imports.items()}) == []


def test_a_circle_is_seen() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("module", "line", "verdict"),
    [
        ("vaekit.model.likelihoods", "from vaekit.run import Run", "above"),
        ("vaekit.model.likelihoods", "from .. import explorer", "above"),
        ("vaekit.data.images", "from ..model.nets import mlp", "above"),
        ("vaekit.latent.ops", "def f():\n    import vaekit.api", "above"),
        ("vaekit.runs.folder", "from vaekit import load", "above"),
        ("vaekit.latent.ops", "import vaekit.surprise", "in no folder"),
        ("vaekit.data.images", "from .convert import to_float", None),
        ("vaekit.model.likelihoods", "from vaekit.model import priors", None),
        ("vaekit.runs.folder", "from vaekit._version import __version__", None),
        ("vaekit.runs.folder", "from vaekit import __version__", "above"),
        ("vaekit.api", "from .runs import load_model", None),
    ],
)
def test_the_rule_sees_what_it_should(module: str, line: str, verdict: str | None) -> None:
    rules = [broken_rule(module, name) for name in imports_in(ast.parse(line), module, False, set(MODULES))]
    if verdict is None:
        assert not any(rules)
    else:
        (rule,) = rules
        assert rule is not None and verdict in rule


def run_alone(code: str, *arguments: str) -> str:
    """Return the output of ``code`` in a fresh interpreter with vaekit from the source tree."""
    preamble = "import sys; sys.path.insert(0, sys.argv[1]); names = sys.argv[2:]\n"
    command = [sys.executable, "-c", preamble + code, str(SOURCE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ALONE = """
import gc, importlib, traceback
for heavy in ("torch", "numpy", "matplotlib", "PIL"):
    importlib.import_module(heavy)
gc.freeze()  # or each collection would go through all of torch
sys.dont_write_bytecode, sys.pycache_prefix = False, names.pop(0)  # or each module would be compiled hundreds of times
for name in names:
    for loaded in [m for m in sys.modules if m == "vaekit" or m.startswith("vaekit.")]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except BaseException:
        print(name, traceback.format_exc())
"""


def test_every_module_imports_alone(tmp_path: Path) -> None:
    """Each module is imported first in a process, which reveals circles and a hidden order."""
    assert run_alone(ALONE, str(tmp_path), *MODULES) == ""


@pytest.mark.parametrize("module", [name for name in LIGHT if name in MODULES])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = "import importlib; importlib.import_module(names[0]); print(*(set(names[1:]) & set(sys.modules)))"
    assert run_alone(code, module, *HEAVY).strip() == ""


def test_a_verb_is_not_hidden_by_its_module() -> None:
    """Importing the module vaekit.train binds the function's name to it; the order of use must not matter."""
    code = "import vaekit as vk; vk.load, vk.open_images; print(*(n for n in vk.__all__ if n != 'recipes'"
    code += " and not callable(getattr(vk, n))))"
    assert run_alone(code).strip() == ""


def test_no_module_is_called_utils() -> None:
    assert [name for name in MODULES if "util" in name.rpartition(".")[2] or name.endswith("helpers")] == []


def untyped(tree: ast.Module) -> Iterator[str]:
    """Uses of ``Any`` under any name, and attributes that are looked up by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name == "Any")
        is_any = isinstance(node, ast.Attribute) and node.attr == "Any"
        is_probe = isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")
        if is_any or is_probe:
            yield ast.unparse(node)


@pytest.mark.parametrize("module", [name for name in MODULES if folder_of(name) in TYPED])
def test_contracts_are_stated_in_types(module: str) -> None:
    assert list(untyped(tree_of(module))) == ALLOWED_PROBES.get(module, [])


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("from typing import Any, Protocol", 1),
        ("from typing import Any as Whatever", 1),
        ("def f(x: typing.Any) -> list[typing.Any]: ...", 2),
        ("hasattr(flow, 'inv')", 1),
        ("getattr(row, part)", 1),
        ("from typing import Protocol", 0),
        ("any(values)", 0),
        ("def f(x: object) -> None: ...", 0),
    ],
)
def test_the_search_for_untyped_contracts_finds(line: str, count: int) -> None:
    assert len(list(untyped(ast.parse(line)))) == count


def unsafe(tree: ast.Module) -> Iterator[str]:
    """Return the uses of modules and functions that unpickle files, or write files that need unpickling."""
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
