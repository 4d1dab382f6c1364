"""Prepare the folder of a training: check it, lock it, and clean up after a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaekit.config.run_config import RESTORE
from vaekit.errors import UserError, argument
from vaekit.runs import folder as runs
from vaekit.system.locks import only_writer
from vaekit.system.new_folder import refuse_bytes

__all__ = ["check_folder", "claim"]


def check_folder(out: Path) -> None:
    """Refuse an ``out`` that is a file, or a folder that contains anything other than a run."""
    refuse_bytes(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{argument('out')} {out} is a file; give a folder")
    if out.is_dir() and not (out / "config.json").exists() and any(not runs.is_leftover(p) for p in out.iterdir()):
        if runs.has_state(out):
            raise UserError(f"{argument('out')} {out} contains a run, but its config.json is missing; {RESTORE}")
        raise UserError(f"{argument('out')} {out} contains files but no run; give a new or empty folder")
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{argument('out')} {out} cannot be written: {above} is not a folder that you may write to")
    for path in out.iterdir() if out.is_dir() else ():
        if path.is_symlink():
            raise UserError(
                f"{path} is a link, and runs are not written through links; replace it or give another "
                f"{argument('out')}"
            )


@contextmanager
def claim(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Create the folder if necessary and lock it; a second process is refused.

    A new run that fails before its first state leaves nothing behind, including the folders created for it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{argument('out')} {out} cannot be written: {error.strerror}; choose another folder"
            ) from error
        with only_writer(out, say):
            is_new = not (out / "config.json").exists()
            try:
                yield
            except BaseException:
                if is_new and not runs.has_state(out):
                    _empty(out)
                raise
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
