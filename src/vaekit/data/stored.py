"""Opens the images that a stored run names. A stranger may have made the run, so its word is not the user's.

A set from the network is read from the cache, with no request and no token. Folders that nobody trains on, such as the
whole disk, are not walked. Whoever wants either names the source, and :func:`vaekit.data.open_in` opens it.
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
from vaekit.pixels.form import Form

__all__ = ["check_stored", "open_stored"]

#: Folders of the system with all that is in them; memory disks are places for images.
_SYSTEM = tuple(map(PurePosixPath, ("/proc", "/sys", "/dev", "/etc", "/boot", "/net")))
_MEMORY = PurePosixPath("/dev/shm")
#: Folders that are too large to be walked at a stranger's word; what lies in them is not refused.
_LARGE = tuple(
    map(PurePosixPath, ("/usr", "/var", "/opt", "/lib", "/bin", "/sbin", "/mnt", "/media", "/tmp", "/run", "/srv"))
) + tuple(map(PurePosixPath, ("/home", "/root", "/Users", "/Library", "/System", "/Volumes", "/Applications")))


def open_stored(source: str, form: Form, seed: int = 0) -> Images:
    """The images behind the ``source`` of a stored run.

    Args:
        source: what ``config.json`` names.
        form: what the images are brought to.
        seed: of the split, where the source has none of its own.

    Raises:
        UserError: if the source cannot be opened, would need the network, or is a place that is not opened unasked.
    """
    check_stored(source)
    return open_in(source, form, seed=seed, may_fetch=False, may_be_dim=True)


def check_stored(source: str) -> None:
    """Raises :class:`UserError` if a stored run names a place that is not opened unasked."""
    if is_builtin(source) or is_hub(source) or is_known(source):
        return
    if why := _oddness(source):
        raise UserError(
            f"the run names {printable(source)!r} as its images, {why}; that is not opened unless you name it as DATA"
        )


def _oddness(source: str) -> str | None:
    """The reason not to open a stored path, or None.

    >>> _oddness("/"), _oddness("/dev/../proc"), _oddness("faces"), _oddness("/data/faces")
    ('the whole disk', 'a folder of the system', 'which is no full path', None)
    """
    if source.startswith(("//", "\\\\")):
        return "a place on another machine"
    if not os.path.isabs(source) or "\0" in source:
        return "which is no full path"
    for path in {Path(os.path.normpath(source)), Path(source).resolve()}:
        if path.parent == path:
            return "the whole disk"
        if why := _kind_of_folder(path):
            return why
    return None


def _kind_of_folder(path: Path) -> str | None:
    plain = PurePosixPath(path.as_posix())
    if path in (home := Path(os.path.expanduser("~")).resolve(), *home.parents):
        return "a home folder with all that is in it"
    if any(plain.is_relative_to(folder) for folder in _SYSTEM) and not plain.is_relative_to(_MEMORY):
        return "a folder of the system"
    if plain in _LARGE or (isinstance(path, PureWindowsPath) and plain.name.lower() in ("windows", "users")):
        return "a folder of the system"
    return None
