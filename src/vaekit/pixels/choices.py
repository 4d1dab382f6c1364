"""How an image file may become pixels, by name. Imports nothing, so that the command line can list the names."""

from __future__ import annotations

__all__ = ["COLORS", "FITS", "FRAMES"]

FITS = ("crop", "pad", "stretch")  #: of an image of another shape
FRAMES = ("first", "all")  #: of an animation or a file of several pages
COLORS = {1: "gray", 3: "color", 4: "partially transparent color"}  #: descriptions of numbers of channels
