"""The lock of a folder that is being written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vaekit.errors import UserError
from vaekit.system import locks


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (locks.only_writer, r"^out .*\{run\} cannot be written: Permission denied; choose another folder$"),
        (locks.wait_for_turn, r"\{run\} cannot be written: Permission denied; set VAEKIT_CACHE to another folder$"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_whatever_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lock: Callable[..., AbstractContextManager[None]],
    message: str,
) -> None:
    def denied(path: Path, flags: int) -> int:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(locks, "open_descriptor", denied)
    with pytest.raises(UserError, match=message), lock(tmp_path / "{run}", print):
        pass
