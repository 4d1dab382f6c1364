"""Open any source as Images. This module only chooses the reader; each kind of source has its own module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vaekit.data.images import Images
from vaekit.data.ingest.files import Files, list_folder, list_paths
from vaekit.data.ingest.mapped import is_large
from vaekit.data.ranges import refuse_dim
from vaekit.data.sources.archive import ARCHIVE_ENDINGS, list_archive
from vaekit.data.sources.arrays import read_array, read_npy, read_sequence
from vaekit.data.sources.builtin import builtin_names, is_builtin, read_builtin
from vaekit.data.sources.cifar import find_cifar, read_cifar
from vaekit.data.sources.content_type import images_by_content
from vaekit.data.sources.folder import layout_of, read_tree
from vaekit.data.sources.hub import is_hub, read_hub
from vaekit.data.sources.idx import find_idx, is_idx, read_idx, read_idx_file
from vaekit.data.sources.known import KNOWN, fetch_known, is_known, name_classes
from vaekit.data.sources.layout import is_image
from vaekit.data.sources.rows import Rows, reshape_pixels
from vaekit.data.splits import check_split
from vaekit.errors import UserError
from vaekit.pixels.image_form import Form
from vaekit.pixels.sizes import crop_notes
from vaekit.system.arguments import checked, shown
from vaekit.system.regular_files import odd_kind

__all__ = ["open_files", "open_images", "open_in", "tree_of"]

_NEAR = 0.75  # similarity of names that may be meant; difflib's default also finds 'mnist' near 'nonexist'
_OF_A_RUN = ("weights.safetensors", "state.safetensors", "metrics.jsonl")  #: beside a config.json


@checked
def open_images(
    source: Any,
    size: Any = None,
    channels: int | None = None,
    split: str = "all",
    seed: int = 0,
    *,
    fit: str = "crop",
    background: str = "white",
    frames: str = "first",
) -> Images:
    """Open any source as uint8 images ``[N, C, H, W]`` with labels, attributes, parts and a fingerprint.

    Args:
        source: A folder, an archive (.zip, .tar, .tar.gz), IDX, .npy or .npz files, an image file or a list of them, a
            built-in set ('digits', 'portraits', 'portraits:500'), a set to download ('mnist', 'fashion-mnist',
            'cifar10', 'hf://OWNER/NAME[:SPLIT]'), an array or tensor ``[N, H, W]``, ``[N, H, W, C]`` or
            ``[N, C, H, W]``, a PIL image, a torch Dataset of images or (image, label) pairs, or Images. Labels that are
            floats or vectors of numbers become attributes.
        size: Pixels per side of a square, (height, width) or 'HxW'. None keeps the size, which must be the same for
            all images.
        channels: 1, 3, 4 (with alpha), or None: 3 if any image has color, else 1.
        split: 'train', 'val', 'test' or 'all'.
        seed: Seed of the split, if the source does not define one.
        fit: 'crop' fills the size and cuts off the rest, 'pad' shows all on the background, 'stretch' distorts.
        background: Color name or #rrggbb, shown behind transparent pixels and around padded images.
        frames: 'first' or 'all' frames of animations and multi-page files.

    Raises:
        UserError: If the source is missing, empty or unreadable.

    >>> images = open_images("digits")
    >>> len(images), images.shape, images.classes[-1]
    (1797, (1, 8, 8), '9')
    """
    return open_in(source, Form.of(size, channels, fit, background, frames), split, seed)


def open_in(
    source: Any,
    form: Form,
    split: str = "all",
    seed: int = 0,
    may_fetch: bool = True,
    may_be_dim: bool = False,
) -> Images:
    """Open a source as :func:`open_images` does, in a form that has been validated.

    Args:
        source: As for :func:`open_images`.
        form: Form to convert the images to.
        split: As for :func:`open_images`.
        seed: As for :func:`open_images`.
        may_fetch: Whether the network may be used.
        may_be_dim: Whether to accept images that use less than 1 % of their value range, with a note.
    """
    check_split(split)
    if isinstance(source, Images):
        return _reshaped(source, form).part(split)
    rows, name = _read(source, form, may_fetch)
    if rows.dim is not None and not may_be_dim:
        refuse_dim(rows.dim)
    return rows.images(name, seed, form).part(split)


def open_files(paths: Sequence[str | Path], size: Any = None, channels: int | None = None) -> Images:
    """Open single image files in the given order; raises as :func:`open_images` does."""
    return open_images([Path(path) for path in paths], size, channels)


def tree_of(source: Any) -> tuple[Files, bool] | None:
    """Return the tree of files behind a source, and whether it is a plain list; None for other sources."""
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
        return list_paths(_checked([_path(item) for item in source])), True
    if not isinstance(source, str | Path) or (isinstance(source, str) and is_builtin(source)):
        return None
    path = _path(source)
    if path.is_dir():
        files = _without_run(list_folder(path))
    elif path.is_file() and path.name.lower().endswith(ARCHIVE_ENDINGS):
        files = _without_run(list_archive(path))
    elif path.is_file() and _is_image_file(path):
        return list_paths([path]), True
    else:
        return None
    return None if find_idx(files.names) or find_cifar(files.names) else (files, False)


def _read(source: Any, form: Form, may_fetch: bool) -> tuple[Rows, str]:
    if isinstance(source, str | Path):
        return _read_named(source, form, may_fetch)
    if isinstance(source, np.ndarray | torch.Tensor):
        return read_array(source, form), "array"
    if isinstance(source, Image.Image):
        source = [source]
    if isinstance(source, list | tuple) and all(isinstance(item, str | Path) for item in source):
        return _read_list([_path(item) for item in source], form), "files"
    return read_sequence(source, form), "array"


def _read_named(source: str | Path, form: Form, may_fetch: bool) -> tuple[Rows, str]:
    if isinstance(source, str) and is_builtin(source):
        rows = read_builtin(source, form)
        if Path(source).exists():
            rows.notes = (*rows.notes, f"{source} is the built-in set; write ./{source} for the local path")
        return rows, source
    if isinstance(source, str) and is_hub(source):
        return read_hub(source, form, may_fetch), source
    path = _path(source)
    exists = path.exists()
    by_name = isinstance(source, str) and is_known(source)
    if by_name and not exists:
        return name_classes(str(source), _read_path(fetch_known(str(source), may_fetch), form)), str(source)
    if not exists or str(source) == "":
        raise _missing(str(source), path)
    rows = _read_path(path, form)
    if by_name:  # do not use the network if there is a local file of that name
        rows.notes = (*rows.notes, f"{source} is the local path; to download the set, run from another folder")
    return rows, str(path.resolve())


def _is_image_file(path: Path) -> bool:
    """Whether a file is an image by its extension or, if that is unknown, by its content."""
    return is_image(path.name) or bool(images_by_content(list_paths([path])))


def _read_path(path: Path, form: Form) -> Rows:
    name = path.name.lower()
    if path.is_dir():
        return _read_files(list_folder(path), form)
    _require_regular(path)
    if name.endswith(ARCHIVE_ENDINGS):
        return _read_files(list_archive(path), form)
    if name.endswith((".npy", ".npz")):
        return read_npy(path, form)
    if is_idx(name):
        return read_idx_file(path, form)
    if _is_image_file(path):
        return _read_list([path], form)
    raise UserError(
        f"{path} has an unknown file type; expected a folder, "
        f"an archive ({', '.join(ARCHIVE_ENDINGS[:4])}), IDX, .npy or .npz files, or an image"
    )


def _read_files(files: Files, form: Form) -> Rows:
    _without_run(files)
    if find_idx(files.names):
        return read_idx(files, form)
    return (read_cifar if find_cifar(files.names) else read_tree)(files, form)


def _without_run(files: Files) -> Files:
    """Return the files; refuses a run, whose only images are pictures of its report."""
    by_folder = dict.fromkeys(_folder(name) for name in files.names if name.endswith(_OF_A_RUN))
    named = {*files.names}
    for folder in by_folder:
        if f"{folder}config.json" in named:
            if not folder:
                raise UserError(f"{files.where} is a run, not a folder of images; give the images instead")
            raise UserError(
                f"{files.where} contains the run {folder.rstrip('/')}, whose pictures are not images to read; give a "
                "folder of images only"
            )
    return files


def _folder(name: str) -> str:
    """Return the folder of a file in a tree, with its slash.

    >>> _folder("a/b.png"), _folder("b.png")
    ('a/', '')
    """
    return name[: name.rfind("/") + 1]


def _read_list(paths: list[Path], form: Form) -> Rows:
    files = list_paths(_checked(paths))
    return read_tree(files, form, layout_of(files, flat=True))


def _path(source: str | Path) -> Path:
    try:
        path = Path(source).expanduser()
        path.exists()
    except RuntimeError as error:
        raise UserError(f"{str(source)!r} refers to the home of an unknown user; use an absolute path") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{shown(str(source))} cannot be opened ({why}); name another folder or file") from error
    return path


def _checked(paths: list[Path]) -> list[Path]:
    if not paths:
        raise UserError("the list of image files is empty; pass at least one")
    for path in paths:
        if not path.exists():
            raise _missing(str(path), path, sets=())
        if path.is_dir():
            raise UserError(f"{path} is a folder where an image file was expected; list its files, or open it alone")
        _require_regular(path)
    return paths


def _require_regular(path: Path) -> None:
    """Refuse pipes, sockets and devices, because reading one may never end. Links to files are allowed."""
    if not path.is_file():
        raise UserError(f"{path} is {odd_kind(path.resolve()) or 'not a file'}; name a regular file or a folder")


def _missing(source: str, path: Path, sets: Sequence[str] = (*builtin_names(), *KNOWN)) -> UserError:
    """The error for a path that does not exist, with the nearest of ``sets`` or of the files beside it."""
    names = get_close_matches(source.split(":")[0], sets, 1, _NEAR)
    hint = f"did you mean the {'set' if names[0] in KNOWN else 'built-in'} {names[0]!r}?" if names else ""
    if not hint and path.parent.is_dir():
        try:
            close = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], 1, _NEAR)
        except OSError:
            close = []
        hint = f"did you mean {str(path.parent / close[0])!r}?" if close else ""
    hint = hint or "check the path" + (f", or use a built-in set: {', '.join(builtin_names())}" if sets else "")
    return UserError(f"there is no file or folder {source!r}; {hint}")


def _reshaped(images: Images, form: Form) -> Images:
    pixels = images.pixels.numpy()
    shaped = reshape_pixels(pixels, form)
    if shaped is pixels:
        return images
    notes = (*images.notes, *crop_notes([images.shape[1:]], form))
    return replace(images, pixels=torch.from_numpy(shaped), is_mapped=is_large(shaped), form=form, notes=notes)
