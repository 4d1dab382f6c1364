"""Detect images by content in files without a known extension."""

from __future__ import annotations

from vaekit.data.ingest.files import Files
from vaekit.data.sources.layout import is_image

__all__ = ["images_by_content"]

#: Extensions that are never inspected, because there may be as many such files as images.
_OTHERS = tuple(
    f".{extension}"
    for line in (
        "avi bin bz2 caption cfg css csv db doc docx gz htm html ini ipynb js json jsonl lock log md mat mov mp3 mp4",
        "npy npz onnx parquet pdf pickle pkl pt pth py rst safetensors sh svg tar tgz toml tsv txt wav xlsx xml xz",
        "yaml yml zip",
    )
    for extension in line.split()
)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LONGEST_SIGNATURE = 12


def images_by_content(files: Files) -> frozenset[str]:
    """Return the names of JPEG, PNG, GIF, TIFF and WebP files without a matching extension."""
    return frozenset(name for name in files.names if _is_unknown(name) and _has_signature(files, name))


def _is_unknown(name: str) -> bool:
    return not is_image(name) and not name.lower().endswith(_OTHERS)


def _has_signature(files: Files, name: str) -> bool:
    try:
        with files.open(name) as file:
            start = file.read(_LONGEST_SIGNATURE)
    except Exception:  # an unreadable file that does not look like an image is not reported
        return False
    return start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
