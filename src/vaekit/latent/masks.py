"""Masks of hidden pixels: bool ``[N, 1, H, W]``, True where hidden.

center:14x14        a rectangle in the middle, HEIGHTxWIDTH
random:14x14        a rectangle at another random position in every image
box:3,7,14x10       a rectangle with its corner at row 3, column 7
hole.png            an image, white where hidden
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from vaekit.data.ingest.headers import read_header
from vaekit.errors import UserError
from vaekit.pixels.byte_ranges import Span
from vaekit.pixels.decode import decode, reason
from vaekit.pixels.image_form import Form
from vaekit.system.notes import note_once
from vaekit.system.rng import MASKS, stream

__all__ = ["parse_mask", "rectangle", "random_rectangle"]

_RECTANGLE = re.compile(r"(?:(?P<top>\d+),(?P<left>\d+),)?(?P<h>\d+)(?:[xX×](?P<w>\d+))?", re.ASCII)
_FORMS = "expected center:HxW, random:HxW, box:TOP,LEFT,HxW (such as random:14x14), or the path of a mask image"


def parse_mask(
    text: str, height: int, width: int, count: int, seed: int = 0, keys: Sequence[int] | None = None
) -> Tensor:
    """Create the mask that ``text`` describes.

    Args:
        text: Description of the mask. A mask image is scaled and cropped as images are.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        count: Number of images.
        seed: Seed of ``random``.
        keys: Keys of the images (:func:`vaekit.system.rng.keys_of`), which determine the positions of ``random``
            together with the seed. By default their indices.

    Returns:
        bool ``[count, 1, height, width]``.

    Raises:
        UserError: If the description is invalid, the rectangle does not fit, or nothing or everything would be hidden.

    >>> parse_mask("box:0,1,1x2", 2, 3, count=1).int().tolist()
    [[[[0, 1, 1], [0, 0, 0]]]]
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in ("center", "random", "box"):
        return _from_file(text, height, width).expand(count, 1, height, width).clone()
    match = _RECTANGLE.fullmatch(rest.replace(" ", ""))
    if match is None or max(map(len, match.groups(""))) > 9 or (kind == "box") != (match["top"] is not None):
        raise UserError(f"mask {text!r} cannot be parsed; {_FORMS}", "mask")
    h, w = int(match["h"]), int(match["w"] or match["h"])
    if kind == "random":
        return random_rectangle(count, height, width, (h, w), seed, keys)
    corner = (max(0, (height - h) // 2), max(0, (width - w) // 2))
    if kind == "box":
        corner = (int(match["top"]), int(match["left"]))
    return rectangle(height, width, (h, w), corner).expand(count, 1, height, width).clone()


def random_rectangle(
    count: int,
    height: int,
    width: int,
    side: int | tuple[int, int],
    seed: int = 0,
    keys: Sequence[int] | None = None,
) -> Tensor:
    """Hide a square, or rectangle ``(h, w)``, at a uniformly random position in each image."""
    h, w = (side, side) if isinstance(side, int) else side
    _check_fits(height, width, (h, w), (0, 0))
    mask = torch.zeros(count, 1, height, width, dtype=torch.bool)
    for row, key in enumerate(range(count) if keys is None else keys):
        generator = stream(seed, MASKS, key)
        top = int(torch.randint(height - h + 1, (), generator=generator))
        left = int(torch.randint(width - w + 1, (), generator=generator))
        mask[row, 0, top : top + h, left : left + w] = True
    return mask


def rectangle(height: int, width: int, side: tuple[int, int], corner: tuple[int, int]) -> Tensor:
    """Return one mask ``[1, 1, H, W]`` with a rectangle: ``side`` is (h, w), ``corner`` is (top, left)."""
    _check_fits(height, width, side, corner)
    (h, w), (top, left) = side, corner
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[:, :, top : top + h, left : left + w] = True
    return mask


def _check_fits(height: int, width: int, side: tuple[int, int], corner: tuple[int, int]) -> None:
    (h, w), (top, left) = side, corner
    if h < 1 or w < 1:
        raise UserError(f"mask of {h}x{w} pixels hides nothing; expected at least 1x1", "mask")
    if top < 0 or left < 0 or top + h > height or left + w > width:
        where = f" at row {top}, column {left}" if top > 0 or left > 0 else ""
        raise UserError(
            f"mask of {h}x{w} pixels{where} does not fit into images of {height}x{width}; use a smaller one", "mask"
        )
    if (h, w) == (height, width):
        raise UserError(f"mask of {h}x{w} pixels hides the whole image; leave something visible", "mask")


def _from_file(text: str, height: int, width: int) -> Tensor:
    if not os.path.isfile(text):  # returns False, without an error, for strings that cannot be paths
        raise UserError(f"mask {text!r} is not a file; {_FORMS}", "mask")
    try:
        data = Span(text).read()
        gray, size = decode(data, Form((height, width), 1)), read_header(io.BytesIO(data)).size
    except Exception as error:  # PIL raises many kinds of errors for files that are not images
        raise UserError(f"mask {text!r} cannot be read: {reason(error)}; {_FORMS}", "mask") from error
    if size != (height, width):
        note_once(
            f"mask {text!r} has {size[0]}x{size[1]} pixels, and is cropped and resized to the {height}x{width} of the "
            "images"
        )
    mask = torch.from_numpy(gray >= 128)
    if not mask.any() or mask.all():
        problem = "all white, so it hides the whole image" if mask.any() else "all black, so it hides nothing"
        raise UserError(f"mask {text!r} is {problem}; paint white what to fill in, and black what to keep", "mask")
    return mask[None, None]
