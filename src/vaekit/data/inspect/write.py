"""Write images to a folder: PNG files, a subfolder per class, metadata.csv."""

from __future__ import annotations

import csv
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from vaekit.data.images import Images
from vaekit.data.sources.metadata import TABLE, guarded
from vaekit.data.splits import PARTS, SPLIT
from vaekit.errors import UserError, storable
from vaekit.system.drafts import draft

__all__ = ["write_folder"]


def write_folder(images: Images, folder: str | Path) -> Path:
    """Write images as PNG files with a metadata.csv; images with labels go into a subfolder per class.

    If the source defines train, val and test images, the column ``split`` records them. The folder is created
    atomically.

    Returns:
        The folder.

    Raises:
        UserError: If the folder exists and is not empty, or cannot be written.
    """
    folder = Path(folder).expanduser()
    _require_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with draft(folder.parent) as around:
            whole = around / folder.name
            whole.mkdir()
            _write(images, whole)
            if folder.exists():
                folder.rmdir()
            whole.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); choose another folder") from error
    return folder


def _require_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new or empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new or empty folder")


def _write(images: Images, folder: Path) -> None:
    names = _file_names(images)
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        columns = {name: [_cell(value) for value in column.tolist()] for name, column in images.attributes.items()}
        if images.has_splits:
            columns[SPLIT] = [PARTS[part] for part in images.parts.tolist()]
        table.writerow(["file_name", *map(guarded, columns)])
        paths = [name if guarded(name) == name else f"./{name}" for name in names]
        table.writerows(zip(paths, *columns.values(), strict=True))

    def save(index: int) -> None:
        pixels = images.pixels[index].numpy()
        array = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
        Image.fromarray(array).save(folder / names[index], compress_level=4)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(save, range(len(images))))


def _file_names(images: Images) -> list[str]:
    """Return one name per image, CLASS/STEM.png, or with the row number if stems collide."""
    stems = [_safe(storable(PurePosixPath(name).stem)) for name in images.names]
    folders = [""] * len(images)
    if images.labels is not None:
        folders = [_safe(storable(images.classes[label])) + "/" for label in images.labels.tolist()]
    names = [f"{folder}{stem}.png" for folder, stem in zip(folders, stems, strict=True)]
    if len({name.lower() for name in names}) == len(names):
        return names
    return [f"{folder}{index:06d}.png" for index, folder in enumerate(folders)]


def _safe(text: str) -> str:
    """Replace characters with a special meaning for file systems or folder readers."""
    text = re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", text).strip()
    return "_" + text if text.startswith((".", "__MACOSX")) or not text else text


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return str(guarded(value))
    if value != value:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(value)
