"""Images that their names do not tell: files without an ending, or with one that nobody knows."""

from __future__ import annotations

from vaekit.data.ingest.files import Files
from vaekit.data.sources.layout import is_image

__all__ = ["images_by_content"]

#: What is never looked into: there may be as many of these as there are images.
_OTHERS = tuple(
    f".{ending}"
    for line in (
        "avi bin bz2 caption cfg css csv db doc docx gz htm html ini ipynb js json jsonl lock log md mat mov mp3 mp4",
        "npy npz onnx parquet pdf pickle pkl pt pth py rst safetensors sh svg tar tgz toml tsv txt wav xlsx xml xz",
        "yaml yml zip",
    )
    for ending in line.split()
)
_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LONGEST_MARK = 12


def images_by_content(files: Files) -> frozenset[str]:
    """The names of JPEG, PNG, GIF, TIFF and WebP files that do not end as such."""
    return frozenset(name for name in files.names if _is_odd(name) and _has_mark(files, name))


def _is_odd(name: str) -> bool:
    return not is_image(name) and not name.lower().endswith(_OTHERS)


def _has_mark(files: Files, name: str) -> bool:
    try:
        with files.open(name) as file:
            start = file.read(_LONGEST_MARK)
    except Exception:  # what cannot be read and has no name of an image is nobody's loss
        return False
    return start.startswith(_MARKS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
