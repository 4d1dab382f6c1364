"""Serve the explorer of a run on this machine, from data that is stored in the run folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vaekit.errors import UserError, printable
from vaekit.explorer.site import REQUIRED, SHOWN, check_page, data_in, origin_of, sums_of, write_site
from vaekit.export.bundle import SUMS
from vaekit.export.onnx import check_exporter
from vaekit.run import Run
from vaekit.system.drafts import clear_drafts, draft
from vaekit.system.http import bind, files_in, serve
from vaekit.system.notes import note
from vaekit.system.regular_files import is_plain_folder, read_plain

__all__ = ["explore"]

_MOST_FACTS_BYTES = 1 << 26  # of explorer.json
_FOLDER = "explorer"  # in the run, written by `explore`


def explore(run: Run, port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Serve the page of a run on 127.0.0.1 until interrupted.

    The data of the page is stored in the run folder. It is written again after further training, after a change of
    directions or of the fitted prior, and after an update of vaekit. If the folder is not writable, or the run is being
    trained, a temporary folder is used.

    Args:
        run: The run.
        port: Port; None chooses a free one.
        ready: Called with the address.

    Raises:
        UserError: If the port is in use or the run cannot be exported.
    """
    run.needs("explore")
    page = files_in(check_page())
    check_exporter()
    if port is not None:
        bind({}, port).server_close()  # report a port in use before the work
    with _site(run) as folder, contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the server
        serve({**data_in(folder), **page}, port, ready)


@contextlib.contextmanager
def _site(run: Run) -> Iterator[Path]:
    stored = run.path / _FOLDER
    clear_drafts(run.path)
    if _is_current(stored, run):
        yield stored
        return
    if is_plain_folder(stored) and (stored / "explorer.json").exists():  # ours, and outdated
        shutil.rmtree(stored, ignore_errors=True)
    if not os.path.lexists(stored) and _can_store(run):
        note(f"vaekit: preparing the page of {printable(str(run.path))}; it is stored for next time")
        try:
            write_site(run, stored, SHOWN, True, {})
        except UserError:
            if not _is_current(stored, run):  # unless another process wrote it meanwhile
                raise
        yield stored
        return
    note(f"vaekit: preparing the page of {printable(str(run.path))}")
    with draft(Path(tempfile.gettempdir())) as folder:
        write_site(run, folder / _FOLDER, SHOWN, True, {})
        yield folder / _FOLDER


def _can_store(run: Run) -> bool:
    """Whether the run folder is writable, and no training writes to it."""
    try:
        with run.context.writing():
            return True
    except UserError:
        return False


def _is_current(folder: Path, run: Run) -> bool:
    """Whether the data of a page belongs to this run in its current state, complete and unchanged."""
    try:
        stored = json.loads(read_plain(folder / "explorer.json", _MOST_FACTS_BYTES))
        if stored["of"] != origin_of(run) or not set(REQUIRED) <= data_in(folder).keys():
            return False
        sums = read_plain(folder / SUMS, _MOST_FACTS_BYTES).decode("ascii").splitlines()
        return set(sums) <= set(sums_of(folder).splitlines()) and len(sums) >= len(REQUIRED)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
