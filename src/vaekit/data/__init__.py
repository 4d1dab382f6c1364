"""Images from any source: uint8 ``[N, C, H, W]`` with labels, attributes, parts and a fingerprint.

source -> files or rows -> decode and fit -> Rows -> split and fingerprint -> Images
"""

from __future__ import annotations

from vaekit.data.binarize import BINARIZE
from vaekit.data.convert import check_float, to_float, to_uint8
from vaekit.data.groups import match_group
from vaekit.data.images import Images
from vaekit.data.ingest.cache import prune
from vaekit.data.inspect.peek import peek
from vaekit.data.inspect.summary import summary
from vaekit.data.inspect.survey import survey, surveyed
from vaekit.data.inspect.write import write_folder
from vaekit.data.selection import Selection
from vaekit.data.sources.builtin import builtin_names
from vaekit.data.sources.metadata import guarded
from vaekit.data.sources.open import open_files, open_images, open_in
from vaekit.data.splits import PARTS, check_split
from vaekit.data.stored_source import check_stored, open_stored
from vaekit.pixels.image_form import FITS, FRAMES, Form, parse_size

__all__ = [
    "BINARIZE",
    "FITS",
    "FRAMES",
    "PARTS",
    "Form",
    "Images",
    "Selection",
    "builtin_names",
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
