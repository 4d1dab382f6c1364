"""Convert images with an ICC color profile to sRGB."""

from __future__ import annotations

import functools
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

__all__ = ["to_srgb"]

_LARGEST_PROFILE_BYTES = 4 << 20
_SAME = 1  # levels; a profile that changes no color by more is sRGB, as most are
_TARGETS = {"L": "RGB", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image to sRGB. Without a profile, or with a broken or unsupported one, it is returned unchanged."""
    if not profile or len(profile) > _LARGEST_PROFILE_BYTES:
        return image
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "LA":
        gray = to_srgb(image.getchannel("L"), profile).convert("L")
        return Image.merge("LA", (gray, image.getchannel("A")))
    transform = _transform(profile, image.mode) if image.mode in _TARGETS else None
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted.convert("L") if image.mode == "L" else converted


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """Build the transform from ``mode`` to sRGB; None if it changes nothing or the profile is broken or unsupported."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            _TARGETS[mode],
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: Any, mode: str) -> bool:
    if mode == "CMYK":
        return False
    # probe a coarse grid of colors, or all levels of gray
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None] if mode == "L" else grid).convert(mode)
    converted = ImageCms.applyTransform(probe, transform)
    assert converted is not None
    before, after = (np.asarray(x.convert("RGB")).astype(np.int16) for x in (probe, converted))
    return int(np.abs(before - after).max()) <= _SAME
