"""Derive images, classes, parts and tables from the file names of a tree.

    SRC/x.jpg                 no labels
    SRC/cat/x.jpg             label cat
    SRC/train/x.jpg           part train
    SRC/train/cat/old/x.jpg   part train, label cat

A single wrapping folder, as archives often have, is skipped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from vaekit.data.sources.metadata import Cells, is_table
from vaekit.data.splits import split_of
from vaekit.data.unused_files import unused
from vaekit.errors import counted
from vaekit.pixels.decode import IMAGE_ENDINGS

__all__ = ["Layout", "arrange", "is_foreign", "is_image", "root_of", "sort_classes", "thin"]

_FOREIGN = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".exr", ".svg")


@dataclass
class Layout:
    """Arrangement of a tree. Names are relative to ``root``, which is '' or ends with a slash."""

    root: str
    names: list[str]  #: images, sorted
    labels: list[str] | None  #: one per image
    given: list[int]  #: 0 train, 1 val, 2 test, -1 undefined
    tables: list[str]  #: tables of attributes
    notes: list[str] = field(default_factory=list)
    cells: dict[str, Cells] = field(default_factory=dict)  #: content of each table
    split: list[int] | None = None  #: part by the split column of the tables, as in ``given``


def thin(layout: Layout, most: int | None) -> Layout:
    """Keep at most ``most`` images, evenly spaced; None keeps all."""
    step = -(-len(layout.names) // most) if most else 1
    labels = layout.labels[::step] if layout.labels else None
    split = layout.split[::step] if layout.split else None
    return replace(layout, names=layout.names[::step], labels=labels, given=layout.given[::step], split=split)


def is_image(name: str) -> bool:
    """Whether the file extension, in any case, is that of an image."""
    return name.lower().endswith(IMAGE_ENDINGS)


def is_foreign(name: str) -> bool:
    """Whether the file extension is that of an image format that vaekit cannot read."""
    return name.lower().endswith(_FOREIGN)


def root_of(names: list[str]) -> str:
    """Return the folders that wrap all ``names``, or ''. A folder named like a part does not count.

    >>> root_of(["smiles/a/1.jpg", "smiles/b/2.jpg"])
    'smiles/'
    """
    root = ""
    while names:
        tops = {name[len(root) :].split("/")[0] for name in names}
        if len(tops) != 1 or any("/" not in name[len(root) :] for name in names):
            break
        top = tops.pop()
        if split_of(top) is not None:
            break
        root += top + "/"
    return root


def arrange(names: list[str], by_content: frozenset[str] = frozenset()) -> Layout:
    """Sort the names of a tree into images with labels and parts, tables, and unused files.

    ``by_content`` are files that are images although their names do not show it.
    """
    root = root_of([name for name in names if is_image(name) or name in by_content or is_table(name)])
    inside = sorted(name[len(root) :] for name in names if name.startswith(root))
    images = [name for name in inside if is_image(name) or root + name in by_content]
    tables = [name for name in inside if is_table(name)]
    layout = Layout(root, images, None, [-1] * len(images), tables)
    foreign = [name for name in inside if is_foreign(name)]
    if foreign:
        subject = f"{counted(len(foreign), 'file')} {'has' if len(foreign) == 1 else 'have'}"
        layout.notes.append(f"{subject} an unsupported format, such as {foreign[0]}; convert to JPEG or PNG")
    layout.notes += unused(n for n in names if not (is_image(n) or n in by_content or is_table(n) or is_foreign(n)))
    if _has_splits(images):
        _apply_splits(layout)
    layout.labels = _labels(layout)
    return layout


def sort_classes(labels: set[str]) -> tuple[str, ...]:
    """Sort class names; whole numbers by value.

    >>> sort_classes({"10", "9"}), sort_classes({"b", "a"})
    (('9', '10'), ('a', 'b'))
    """
    if all(label.isascii() and label.isdigit() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _has_splits(images: list[str]) -> bool:
    tops = {name.split("/")[0] if "/" in name else "" for name in images}
    parts = {split_of(top) for top in tops}
    if None not in parts:
        return bool(parts)
    # "train" next to other folders may be a class (the vehicle), unless there is another part
    return 0 in parts and len(parts) > 2


def _apply_splits(layout: Layout) -> None:
    given = [split_of(name.split("/")[0]) if "/" in name else None for name in layout.names]
    left_out = sum(part is None for part in given)
    if left_out:
        layout.notes.append(
            f"{counted(left_out, 'image')} outside of the train, val and test folders "
            f"{'is' if left_out == 1 else 'are'} not used"
        )
    layout.names = [name for name, part in zip(layout.names, given, strict=True) if part is not None]
    layout.given = [part for part in given if part is not None]


def _labels(layout: Layout) -> list[str] | None:
    below = [
        name.split("/", 1)[1] if part >= 0 else name for name, part in zip(layout.names, layout.given, strict=True)
    ]
    kinds = Counter("/" in name for name in below)
    if kinds[True] and kinds[False]:
        layout.notes.append("no labels: some images are in class folders and some are not")
    labels = [name.split("/")[0] for name in below]
    # a single class carries no information
    return labels if not kinds[False] and len(set(labels)) > 1 else None
