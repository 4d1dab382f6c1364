"""Animations of sheets: .gif, or lossless .webp."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vaekit.errors import UserError, argument
from vaekit.figures.grid import Picture, Sheet, check_ending, check_side

__all__ = ["Animation", "animated", "check_animated", "is_animated"]

_ENDINGS = (".gif", ".webp")


@dataclass(frozen=True, eq=False)
class Animation(Picture):
    """Sheets of equal size, played forward and backward in a loop."""

    frames: tuple[Sheet, ...]
    seconds: float = 0.12  #: duration of a frame; the first and the last are shown four times as long

    def __post_init__(self) -> None:
        if len(self.frames) < 2:
            raise UserError(
                f"an animation needs 2 frames at least, here are {len(self.frames)}; give more {argument('steps')}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def image(self) -> Image.Image:
        """Return the first frame as a PIL image."""
        return self.frames[0].image()

    def _check(self, path: str | Path) -> Path:
        return check_animated(path)

    def _bytes(self, suffix: str) -> bytes:
        if suffix == ".png":  # for notebooks that cannot show animations
            return super()._bytes(suffix)
        forward = [frame.image() for frame in self.frames]
        check_side(forward[0], suffix)
        images = forward + forward[-2:0:-1]
        short = round(1000 * self.seconds)
        times = [short * (4 if i in (0, len(forward) - 1) else 1) for i in range(len(images))]
        buffer = io.BytesIO()
        if suffix == ".gif":  # one palette for all frames avoids flicker
            palette = _side_by_side(forward).convert("RGB").quantize(256, dither=Image.Dither.NONE)
            images = [
                image.convert("RGB").quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images
            ]
            images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
        else:
            images[0].save(
                buffer, "WEBP", save_all=True, append_images=images[1:], duration=times, loop=0, lossless=True
            )
        return buffer.getvalue()


def animated(sheet: Sheet) -> Animation:
    """Animate a walk image by image, or the columns of a sheet whose rows have labels.

    If a walk starts with the last image of the previous walk, that image is shown only once.
    """
    if sheet.row_labels:
        columns = sheet.pixels.unflatten(0, (-1, sheet.columns)).unbind(1)
        return Animation(tuple(Sheet(frame, 1, row_labels=sheet.row_labels) for frame in columns))
    walks = sheet.pixels.split(sheet.walk or sheet.columns)
    steps = [walk[1:] if number else walk for number, walk in enumerate(walks)]
    return Animation(tuple(Sheet(image[None], 1, gap=0) for walk in steps for image in walk))


def check_animated(path: str | Path) -> Path:
    """Return ``path``; raises :class:`UserError` if its extension is not that of an animation."""
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"{path}: animations are written as {' or '.join(_ENDINGS)}; use a name that ends so")
    return path


def is_animated(path: Path | None, animate: bool) -> bool:
    """Whether an output is an animation: on request, or a .gif; checks the extension before anything is drawn."""
    if path is not None and (animate or path.suffix.lower() == ".gif"):
        check_animated(path)
        return True
    if path is not None:
        check_ending(path, *_ENDINGS[:1])
    return animate


def _side_by_side(images: list[Image.Image]) -> Image.Image:
    width, height = images[0].size
    whole = Image.new("RGB", (width * len(images), height))
    for i, image in enumerate(images):
        whole.paste(image, (i * width, 0))
    return whole
