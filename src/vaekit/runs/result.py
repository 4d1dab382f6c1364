"""What a verb of a run returns: a figure, numbers, or both."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from vaekit.data.csv_table import check_place, write_table
from vaekit.errors import UserError, printable
from vaekit.figures.grid import Picture, Sheet
from vaekit.figures.mosaic import Atlas
from vaekit.system.arguments import checked
from vaekit.system.files import atomic_write_text
from vaekit.system.number_text import plain, text_lines

__all__ = ["Result"]


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a verb of a run returns: a figure, numbers, or both.

    A notebook shows it, and ``print`` writes its numbers. Numbers are read by name, as from a dict. A result with a
    figure unpacks into figure and numbers; one without a figure iterates over the names.

    Attributes:
        figure: The picture, or None.
        numbers: Numbers by name; may be empty.
        table: Columns by name with an entry per image, for verbs that measure every image; otherwise empty.
        text: The printed text, if it is not one line per name.

    >>> result = Result(numbers={"images": 186, "psnr_db": 21.5})
    >>> result["psnr_db"], "elbo_nats" in result
    (21.5, False)
    >>> list(result)
    ['images', 'psnr_db']
    >>> print(result)
    images   186
    psnr_db  21.50
    """

    figure: Picture | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    table: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    text: str = ""

    def save(self, path: str | Path) -> Path:
        """Write the figure, the numbers or the table to a file, depending on its extension.

        Replaces a file that exists.

        Args:
            path: ``.png``, ``.webp`` (both lossless) or ``.jpg`` for the figure, whose folder is created if necessary;
                ``.json`` for the numbers; ``.csv`` for the table.

        Returns:
            The path.

        Raises:
            UserError: If the result has no such content, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            check_place(path)
            atomic_write_text(path, json.dumps(plain(self.numbers), indent=2, allow_nan=False) + "\n")
            return path
        if path.suffix.lower() == ".csv":
            if not self.table:
                raise UserError(f"{path}: this result has no table of images; save its numbers as .json")
            check_place(path)
            write_table(path, self.table)
            return path
        if self.figure is None:
            raise UserError(f"{path}: this result has no figure; save its numbers as .json")
        return self.figure.save(path)

    def image(self) -> Image.Image:
        """The figure as a PIL image; raises :class:`UserError` if there is none."""
        return self._figure().image()

    @property
    def pixels(self) -> Tensor:
        """The images of the figure, uint8 ``[N, C, H, W]``; raises :class:`UserError` if there is no figure."""
        figure = self._figure()
        assert isinstance(figure, Sheet | Atlas), "verbs draw sheets and maps"
        return figure.pixels

    def keys(self) -> KeysView[str]:
        """Return the names of the numbers."""
        return self.numbers.keys()

    def values(self) -> ValuesView[Any]:
        """Return the numbers."""
        return self.numbers.values()

    def items(self) -> ItemsView[str, Any]:
        """Return pairs of names and numbers."""
        return self.numbers.items()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a number, or ``default`` if there is none of that name."""
        return self.numbers.get(name, default)

    def __getitem__(self, name: str | int) -> Any:
        """Return a number by name; 0 is the figure and 1 the numbers, as in the pair that it unpacks into."""
        return self.numbers[name] if isinstance(name, str) else (self.figure, self.numbers)[name]

    def __contains__(self, name: object) -> bool:
        return name in self.numbers

    def __iter__(self) -> Iterator[Any]:
        return iter(self.numbers) if self.figure is None else iter((self.figure, self.numbers))

    def __len__(self) -> int:
        """The number of images in the figure, or without a figure the number of numbers."""
        return len(self.numbers) if self.figure is None else len(self.pixels)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        """Whether numbers and figure are equal; a result without a figure also equals the dict of its numbers."""
        if isinstance(other, Result):
            return self.numbers == other.numbers and self._repr_png_() == other._repr_png_()
        return self.figure is None and self.numbers == other

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        figure = [] if self.figure is None else [repr(self.figure)]
        return "\n".join([*figure, *self._lines()])

    __repr__ = __str__

    def _repr_png_(self) -> bytes | None:
        return None if self.figure is None else self.figure._repr_png_()

    def _repr_html_(self) -> str:
        picture = self._repr_png_()
        data = "" if picture is None else base64.b64encode(picture).decode()
        image = f'<img alt="{html.escape(repr(self.figure))}" src="data:image/png;base64,{data}">' if data else ""
        text = html.escape("\n".join(self._lines()))
        return image + (f"<pre>{text}</pre>" if text else "")

    def _lines(self) -> list[str]:
        """Return the numbers as text."""
        return list(map(printable, self.text.split("\n") if self.text else text_lines(self.numbers)))

    def _figure(self) -> Picture:
        if self.figure is None:
            raise UserError("this result has no figure; read .numbers")
        return self.figure
