"""The program as a process: Ctrl-C at any moment, closed and broken outputs, any encoding and any width."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "import sys; from vaekit.__main__ import main; sys.exit(main())"]
HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = script.replace("vaekit", f"{sys.executable} -m vaekit")
    settings = {**os.environ, **environment}
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    return subprocess.run(["bash", "-c", command], capture_output=True, encoding=encoding, env=settings, timeout=60)


@pytest.mark.parametrize("seconds", [0.15, 0.4, 1.0])
def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path: Path, seconds: float) -> None:
    words = ["train", "digits", "--recipe", "seed-ae", "--epochs", "10000", "--out", str(tmp_path / "run")]
    program = [PROGRAM[0], "-c", f"print(flush=True); {HEARD}; {PROGRAM[2]}", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # Python has started
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    lines = [line for line in said.splitlines() if line.startswith("vaekit:")]
    assert process.returncode == 130 and "Traceback" not in said and len(lines) == 1, said


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("vaekit recipes >&-", 0, ""),
        ("vaekit recipes --json >&- 2>&- <&-", 0, ""),
        ("vaekit data nowhere >&-", 2, "vaekit: there is no file"),
        ("vaekit data nowhere 2>&-", 2, ""),
        ("vaekit recipes | head -1; exit ${PIPESTATUS[0]}", 0, ""),
        ("vaekit train --help | head -1; exit ${PIPESTATUS[0]}", 0, ""),
        ("vaekit data nowhere 2>&1 | true; exit ${PIPESTATUS[0]}", 2, ""),
        ("vaekit recipes > /dev/full", 2, "vaekit: the system: No space left on device"),
    ],
)
def test_outputs_that_are_closed(script: str, code: int, said: str) -> None:
    found = shell(script)
    assert found.returncode == code and found.stderr.startswith(said), found.stderr
    assert found.stderr.count("\n") <= 1


def test_any_encoding_takes_any_text() -> None:
    found = shell("vaekit train --help && vaekit data 'no\u2212where' || vaekit recipes", PYTHONIOENCODING="cp1252")
    assert found.returncode == 0 and "Traceback" not in found.stderr and r"no\u2212where" in found.stderr


@pytest.mark.parametrize("columns", ["0", "2"])
def test_help_fits_into_no_width_at_all(columns: str) -> None:
    found = shell("vaekit train --help", COLUMNS=columns)
    assert found.returncode == 0 and "--json" in found.stdout
