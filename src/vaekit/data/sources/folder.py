"""Read a tree of image files, in a folder or an archive, with labels and attributes."""

from __future__ import annotations

from vaekit.data.ingest.files import NOT_A_FILE, Files
from vaekit.data.ingest.loader import load_files
from vaekit.data.sources.archive import ARCHIVE_ENDINGS
from vaekit.data.sources.content_type import images_by_content
from vaekit.data.sources.idx import is_idx
from vaekit.data.sources.layout import Layout, arrange, is_foreign, is_image, thin
from vaekit.data.sources.metadata import is_table, join_tables, read_table, split_entries
from vaekit.data.sources.rows import Rows
from vaekit.data.splits import SPLIT, named_parts
from vaekit.errors import UserError, counted
from vaekit.pixels.image_form import Form

__all__ = ["layout_of", "read_tree"]


def read_tree(
    files: Files,
    form: Form,
    layout: Layout | None = None,
    most: int | None = None,
) -> Rows:
    """Read the images of a tree.

    Args:
        files: The tree.
        form: Form to convert the images to.
        layout: Layout of the tree, if already known.
        most: If given, read only a sample of this size.

    Raises:
        UserError: If the tree has no images, or most of them cannot be read.
    """
    layout = layout or layout_of(files)
    if not layout.names:
        raise UserError(_no_images(files, layout))
    layout = thin(layout, most)
    loaded = load_files(files, layout.names, layout.root, form, is_sample=most is not None)
    attributes, notes = join_tables([layout.names[index] for index in loaded.kept], layout.cells)
    blocked = [entry for entry in files.skipped if _is_worth_a_note(*entry)]
    return Rows(
        pixels=loaded.pixels,
        names=loaded.names,
        contents=loaded.contents,
        labels=[layout.labels[index] for index in loaded.kept] if layout.labels else None,
        attributes=attributes,
        given=[layout.given[index] for index in loaded.kept],
        split=[layout.split[index] for index in loaded.kept] if layout.split else None,
        skipped=[*loaded.skipped, *blocked],
        sizes=loaded.sizes,
        notes=[*layout.notes, *loaded.notes, *notes],
        dim=loaded.dim,
    )


def _is_worth_a_note(name: str, why: str) -> bool:
    """Whether the user should know that an entry was skipped."""
    return is_image(name) or is_table(name) or name.endswith("/") or why.endswith(NOT_A_FILE)


def layout_of(files: Files, flat: bool = False) -> Layout:
    """Derive the layout from names, tables and first bytes. With ``flat``, names have no meaning."""
    names = list(files.names)
    if flat:
        return Layout("", names, None, [-1] * len(names), [])
    layout = arrange(names, images_by_content(files))
    for table in layout.tables if layout.names else ():
        path = layout.root + table
        layout.cells[table] = read_table(files.need(path), f"{files.where}/{path}")
    _apply_split_column(layout, files.where)
    return layout


def _apply_split_column(layout: Layout, where: str) -> None:
    """Take the parts from the split column of the tables, which overrides folder names."""
    entries = split_entries(layout.names, layout.cells)
    if entries is None:
        return
    by_folder = layout.given
    layout.split = named_parts(
        entries, f"the tables in {where}" if len(layout.tables) > 1 else f"{where}/{layout.root}{layout.tables[0]}"
    )
    layout.given = [folder if column < 0 else column for folder, column in zip(by_folder, layout.split, strict=True)]
    differ = sum(folder not in (-1, part) for folder, part in zip(by_folder, layout.given, strict=True))
    if differ:
        layout.notes.append(
            f"for {counted(differ, 'image')} the column {SPLIT} and the folder name differ; the column decides"
        )
    undefined = sum(part < 0 for part in layout.given)
    if undefined:
        layout.notes.append(
            f"the column {SPLIT} is empty for {counted(undefined, 'image')}; they are used for training"
        )


def _no_images(files: Files, layout: Layout) -> str:
    kinds = "JPEG, PNG, WebP, GIF, BMP or TIFF images"
    if files.skipped:
        name, why = files.skipped[0]
        return f"{files.where} has no readable image ({name}: {why}); expected {kinds}"
    if not files.names:
        return f"{files.where} is empty; expected {kinds}, directly or in a subfolder per class"
    arrays = [name for name in files.names if name.lower().endswith((".npy", ".npz", *ARCHIVE_ENDINGS)) or is_idx(name)]
    hint = f"; to open {arrays[0]}, pass that file itself" if arrays else ""
    foreign = [name for name in files.names if is_foreign(name)]
    hint = f"; convert {foreign[0]} and similar files to JPEG or PNG" if foreign else hint
    others = "1 other file" if len(files.names) == 1 else f"{len(files.names)} other files"
    return f"{files.where} has no images among its {others} (such as {files.names[0]}); expected {kinds}{hint}"
