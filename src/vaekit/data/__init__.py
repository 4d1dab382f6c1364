"""Data: any source of images to uint8 [N,C,H,W] with labels, attributes, parts and a fingerprint.

source -> files or rows -> decode and fit -> Rows -> split and fingerprint -> Images
"""

from __future__ import annotations

from vaekit.data.binarize import BINARIZE, check_binarize
from vaekit.data.builtin import builtin_names
from vaekit.data.cache import prune
from vaekit.data.convert import check_float, to_float, to_uint8
from vaekit.data.groups import match_group
from vaekit.data.images import Images
from vaekit.data.metadata import guarded
from vaekit.data.open import open_files, open_images, open_in
from vaekit.data.peek import peek
from vaekit.data.selection import Selection
from vaekit.data.splits import PARTS, check_split
from vaekit.data.stored import check_stored, open_stored
from vaekit.data.summary import summary
from vaekit.data.survey import survey, surveyed
from vaekit.data.write import write_folder
from vaekit.pixels.form import FITS, FRAMES, Form, parse_size

__all__ = [
    "BINARIZE",
    "FITS",
    "FRAMES",
    "PARTS",
    "Form",
    "Images",
    "Selection",
    "builtin_names",
    "check_binarize",
    "check_float",
    "check_split",
    "check_stored",
    "guarded",
    "match_group",
    "open_files",
    "open_images",
    "open_in",
    "open_stored",
    "parse_size",
    "peek",
    "prune",
    "summary",
    "survey",
    "surveyed",
    "to_float",
    "to_uint8",
    "write_folder",
]
