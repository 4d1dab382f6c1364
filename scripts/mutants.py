"""Does a test notice each mistake that could be made in a formula? The tables ``tests/*/mutants_of_*.py`` list them,
one table per module. Each mistake is made in a copy of the package, and the tests of the formulas are run on it.

    python scripts/mutants.py                        all of them
    python scripts/mutants.py --changed-since main   only modules that differ from main, or whose table does
    python scripts/mutants.py --only kl              only rows that contain "kl"
    python scripts/mutants.py --missing              only rows that have no result yet
    python scripts/mutants.py --jobs 4               four at a time

The results are in bench/results/mutants.json, with the number of rows that have none; a run of some replaces theirs.
The exit code is 1 if a mutant survives. A survivor means that a test is missing. A mistake that makes a loop endless is
caught by a limit on the processor time of each test, which the tests keep to without mistakes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mutant import Table

__all__ = ["Mutation", "collected", "mutations"]

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "mutants.json"
#: Processor time of one test: a mutant may make a loop endless. Time spent waiting for a busy machine does not count.
SECONDS = 60
ENDLESS = " (endless)"  #: follows the name of a test that was ended by that limit
#: An independent copy of the model; it notices most mistakes that the module's own tests overlook.
REFERENCE = "model/test_reference.py"
#: Imported once, by the process that the others are forked from; torch's first comparison imports the last two.
PRELOADED = [
    "torch",
    "scipy.stats",
    "scipy.integrate",
    "hypothesis",
    "pytest",
    "sklearn.datasets",
    "safetensors.torch",
    "PIL",
    "torch.fx.experimental.symbolic_shapes",
    "torch.distributed.tensor",
]


class Mutation(NamedTuple):
    """A module with one mistake, and the test files to run on it: those likeliest to notice it, then the others."""

    module: str
    path: str
    source: str
    likeliest: list[str]
    others: list[str]
    row: dict[str, str]


def collected() -> dict[str, Table]:
    """All tables by the path of their file. The processes that run mutants must not call this: it imports vaekit."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    return {str(path.relative_to(ROOT)): _table(path) for path in sorted(ROOT.glob("tests/*/mutants_of_*.py"))}


def mutations(tables: dict[str, Table]) -> Iterator[Mutation]:
    """One for each row of the tables."""
    everywhere = {f"tests/{name}": None for table in tables.values() for name in table.tests}
    for table in tables.values():
        likeliest = [f"tests/{name}" for name in dict.fromkeys([*table.tests, REFERENCE])]
        others = [name for name in everywhere if name not in likeliest]
        for mutant in table.mutants:
            row = {"module": table.name, "old": mutant.old, "new": mutant.new, "breaks": mutant.breaks}
            yield Mutation(table.name, table.path, table.mutated(mutant), likeliest, others, row)


def main() -> int:
    options = _options()
    tables = collected()
    changed = _changed_since(options.changed_since) if options.changed_since else None
    is_chosen = {table.name: changed is None or bool({file, table.path} & changed) for file, table in tables.items()}
    everything = list(mutations(tables))
    known = {_key(row): row for row in _stored()}
    words = options.only.lower()
    chosen = [
        m for m in everything
        if is_chosen[m.module] and words in " ".join(m.row.values()).lower()
        and not (options.missing and _key(m.row) in known)
    ]  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        found = _run_all(chosen, Path(folder), options.jobs)
    rows = [{**mutation.row, "caught_by": test} for mutation, test in zip(chosen, found, strict=True)]
    survived = [row for row in rows if row["caught_by"] is None]
    print(f"{len(rows) - len(survived)} of {len(rows)} mutants caught in {round(time.monotonic() - started)} s")
    known |= {_key(row): row for row in rows}
    keys = [_key(mutation.row) for mutation in everything]
    _write([known[key] for key in keys if key in known], sum(key not in known for key in keys))
    return 1 if survived else 0


def _stored() -> list[dict[str, Any]]:
    """The rows of the last result. Those of modules that changed since are only right once they are run again."""
    return json.loads(RESULT.read_text(encoding="utf-8"))["table"] if RESULT.exists() else []


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["module"], row["old"], row["new"], row["breaks"]


def _table(path: Path) -> Table:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TABLE


def _changed_since(ref: str) -> set[str]:
    """Files that differ from a commit."""
    command = ["git", "diff", "--name-only", ref, "--", "src", "tests"]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines())


def _run_all(mutants: Sequence[Mutation], folder: Path, jobs: int) -> list[str | None]:
    """The test that caught each mutant. The tests must pass on the unchanged package: the likeliest ones come first,
    the others are tried only where they caught something."""
    context = multiprocessing.get_context("forkserver")  # each mutant has its own process, torch is imported once
    context.set_forkserver_preload(PRELOADED)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    unchanged = folder / "unchanged"
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, unchanged / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", unchanged)
    found: list[str | None] = []
    likeliest = {name: None for mutation in mutants for name in mutation.likeliest}
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        _refuse_broken(pool.submit(_first_failure, list(likeliest), unchanged).result())
        for mutant, test in zip(mutants, pool.map(_caught_by, mutants, [unchanged] * len(mutants)), strict=True):
            result = "SURVIVED" if test is None else "caught  "
            print(f"{result} {mutant.module}: {mutant.row['breaks']} [{test}]", flush=True)
            found.append(test)
        others = {test.partition("::")[0] for test in found if test} - set(likeliest)
        if others:
            _refuse_broken(pool.submit(_first_failure, sorted(others), unchanged).result())
    return found


def _refuse_broken(failed: str | None) -> None:
    if failed:
        raise SystemExit(f"without any mutant {failed} fails")


def _caught_by(mutation: Mutation, unchanged: Path) -> str | None:
    """The first test that fails on a copy of the package with this mistake, or None."""
    with tempfile.TemporaryDirectory(dir=unchanged.parent) as folder:
        copy = Path(folder)
        # The compiled modules come along, but for the one that changes: Python may take that one for current.
        ignored = shutil.ignore_patterns(f"{Path(mutation.path).stem}.*.pyc")
        shutil.copytree(unchanged, copy, ignore=ignored, dirs_exist_ok=True)
        (copy / mutation.path).write_text(mutation.source, encoding="utf-8")
        return _first_failure([*mutation.likeliest, *mutation.others], copy)


def _first_failure(tests: list[str], folder: Path) -> str | None:
    """The first test that fails on the package in ``folder``, or that takes too long."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.dont_write_bytecode = False  # the unchanged copy is compiled for all others
    sys.path.insert(0, str(folder / "src"))
    signal.signal(signal.SIGPROF, _too_long)
    failed = _tested(tests, folder)
    os.chdir(ROOT)
    return failed


def _tested(files: list[str], folder: Path) -> str | None:
    import pytest

    import vaekit

    assert Path(vaekit.__file__).is_relative_to(folder), "the tests would see another package"
    watch = _Watch()
    words = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        code = pytest.main([*words, *files], plugins=[watch])
    if watch.uncollected or code not in (0, 1):
        raise RuntimeError(f"no tests were run: {watch.uncollected or code}")
    return watch.failed


class _Watch:
    """Remembers the first failure that pytest reports, and limits the processor time of each test."""

    failed: str | None = None
    uncollected: str | None = None

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.uncollected = f"{report.nodeid}: {report.longrepr}"

    def pytest_runtest_logstart(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)

    def pytest_runtest_logfinish(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            is_endless = TimeoutError.__name__ in str(report.longrepr)
            self.failed = f"{report.nodeid}{ENDLESS if is_endless else ''}"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    caught = [row for row in rows if row["caught_by"]]
    return {
        "mutants": len(rows),
        "caught": len(caught),
        "survived": len(rows) - len(caught),
        "caught_as_endless": sum(row["caught_by"].endswith(ENDLESS) for row in caught),
        "by_module": dict(Counter(row["module"] for row in rows)),
        "by_test_file": dict(Counter(row["caught_by"].partition("::")[0] for row in caught).most_common()),
    }


def _write(rows: list[dict[str, Any]], not_run: int) -> None:
    sys.path.insert(0, str(ROOT / "bench"))
    from machine import describe

    partial = RESULT.with_suffix(".json.part")
    result = {**_summary(rows), "not_run": not_run, "table": rows, "machine": describe()}
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, RESULT)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows that contain it")
    parser.add_argument("--missing", action="store_true", help="rows without a result")
    parser.add_argument("--changed-since", metavar="REF", help="modules that differ from this commit")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
