"""A tree of image files, in a folder or an archive, as rows with labels and attributes."""

from __future__ import annotations

from vaekit.data.files import Files
from vaekit.data.layout import Layout, arrange, is_foreign, is_image, thin
from vaekit.data.load import load_files
from vaekit.data.metadata import join_tables, read_table
from vaekit.data.rows import Rows
from vaekit.data.sniff import images_by_content
from vaekit.errors import UserError
from vaekit.pixels.form import Form

__all__ = ["layout_of", "read_tree"]


def read_tree(
    files: Files,
    form: Form,
    layout: Layout | None = None,
    most: int | None = None,
) -> Rows:
    """Reads the images of a tree; ``layout``: where it is known already; ``most``: a sample of them.

    Raises :class:`UserError` for a tree without images, or with more broken than whole ones.
    """
    layout = layout or layout_of(files)
    if not layout.names:
        raise UserError(_nothing(files, layout))
    layout = thin(layout, most)
    loaded = load_files(files, layout.names, layout.root, form)
    attributes, notes = _attributes(files, layout, [layout.names[index] for index in loaded.kept])
    blocked = [(name, why) for name, why in files.skipped if is_image(name) or name.endswith("/")]
    return Rows(
        pixels=loaded.pixels,
        names=loaded.names,
        contents=loaded.contents,
        labels=[layout.labels[index] for index in loaded.kept] if layout.labels else None,
        attributes=attributes,
        given=[layout.given[index] for index in loaded.kept],
        skipped=[*loaded.skipped, *blocked],
        notes=[*layout.notes, *loaded.notes, *notes],
    )


def layout_of(files: Files, flat: bool = False) -> Layout:
    """What the names and, where these tell nothing, the first bytes of files say; ``flat``: names say nothing."""
    names = list(files.names)
    return Layout("", names, None, [-1] * len(names), []) if flat else arrange(names, images_by_content(files))


def _attributes(files: Files, layout: Layout, names: list[str]) -> tuple[dict, list[str]]:
    tables = {}
    for table in layout.tables:
        path = layout.root + table
        tables[table] = read_table(files.need(path), f"{files.where}/{path}")
    return join_tables(names, tables)


def _nothing(files: Files, layout: Layout) -> str:
    kinds = "JPEG, PNG, WebP, GIF, BMP or TIFF images"
    if files.skipped:
        name, why = files.skipped[0]
        return f"{files.where} has no image that can be read ({name}: {why}); expected {kinds}"
    if not files.names:
        return f"{files.where} is empty; expected {kinds}, in it or in a subfolder per class"
    arrays = [name for name in files.names if name.lower().endswith((".npy", ".npz", ".zip", ".tar", ".tgz", ".gz"))]
    hint = f"; to open {arrays[0]}, name that file itself" if arrays else ""
    foreign = [name for name in files.names if is_foreign(name)]
    hint = f"; convert {foreign[0]} and its like to JPEG or PNG" if foreign else hint
    others = "1 other file" if len(files.names) == 1 else f"{len(files.names)} other files"
    return f"{files.where} has no images among its {others} (such as {files.names[0]}); expected {kinds}{hint}"
