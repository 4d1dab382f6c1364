"""Open the images that a stored run refers to. The run may come from a stranger, so its path is not trusted.

Datasets from the network are read from the cache only, without requests and tokens. Folders that nobody trains on,
such as the root of a disk, are not searched. To open either, pass the source to :func:`vaekit.data.open_in` explicitly.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from vaekit.data.images import Images
from vaekit.data.sources.builtin import is_builtin
from vaekit.data.sources.hub import is_hub
from vaekit.data.sources.known import is_known
from vaekit.data.sources.open import open_in
from vaekit.errors import UserError, printable
from vaekit.pixels.image_form import Form

__all__ = ["check_stored", "open_stored"]

#: System folders, including everything below them. Memory disks may hold images.
_SYSTEM = tuple(map(PurePosixPath, ("/proc", "/sys", "/dev", "/etc", "/boot", "/net")))
_MEMORY = PurePosixPath("/dev/shm")
#: Folders that are too large to search on a stranger's word. Their subfolders are allowed.
_LARGE = tuple(
    map(PurePosixPath, ("/usr", "/var", "/opt", "/lib", "/bin", "/sbin", "/mnt", "/media", "/tmp", "/run", "/srv"))
) + tuple(map(PurePosixPath, ("/home", "/root", "/Users", "/Library", "/System", "/Volumes", "/Applications")))


def open_stored(source: str, form: Form, seed: int = 0) -> Images:
    """Open the images of a stored run.

    Args:
        source: Source as stored in ``config.json``.
        form: Form that the images are converted to.
        seed: Seed of the split, if the source does not define one.

    Raises:
        UserError: If the source cannot be opened, needs the network, or is a location that only the user may name.
    """
    check_stored(source)
    return open_in(source, form, seed=seed, may_fetch=False, may_be_dim=True)


def check_stored(source: str) -> None:
    """Raise :class:`UserError` if a stored run refers to a location that only the user may name."""
    if is_builtin(source) or is_hub(source) or is_known(source):
        return
    if why := _refusal(source):
        raise UserError(
            f"the run refers to {printable(source)!r} for its images, {why}; pass it as DATA to open it anyway"
        )


def _refusal(source: str) -> str | None:
    """Return the reason not to open a stored path, or None.

    >>> _refusal("/"), _refusal("/dev/../proc"), _refusal("faces"), _refusal("/data/faces")
    ('the root of a disk', 'a system folder', 'which is not an absolute path', None)
    """
    if source.startswith(("//", "\\\\")):
        return "a location on another machine"
    if not os.path.isabs(source) or "\0" in source:
        return "which is not an absolute path"
    for path in {Path(os.path.normpath(source)), Path(source).resolve()}:
        if path.parent == path:
            return "the root of a disk"
        if why := _kind_of_folder(path):
            return why
    return None


def _kind_of_folder(path: Path) -> str | None:
    plain = PurePosixPath(path.as_posix())
    if path in (home := Path(os.path.expanduser("~")).resolve(), *home.parents):
        return "a complete home folder"
    if any(plain.is_relative_to(folder) for folder in _SYSTEM) and not plain.is_relative_to(_MEMORY):
        return "a system folder"
    if plain in _LARGE or (isinstance(path, PureWindowsPath) and plain.name.lower() in ("windows", "users")):
        return "a system folder"
    return None
