"""Contact sheets: which images are shown, in which rows, under which names."""

from __future__ import annotations

import pytest
import torch

from vaekit.data import Images
from vaekit.errors import UserError
from vaekit.figures.contact_sheet import overview


def numbered(count: int, labels: list[int] | None = None, classes: tuple[str, ...] = ()) -> Images:
    """Return images whose pixels equal their index."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    marks = None if labels is None else torch.tensor(labels)
    return Images(pixels, tuple(map(str, range(count))), labels=marks, classes=classes)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (7, 7), (10, 10), (12, 6), (25, 9), (60, 10)])
def test_a_few_are_all_shown_in_even_rows(count: int, columns: int) -> None:
    sheet = overview(numbered(count))
    assert sheet.pixels[:, 0, 0, 0].tolist() == list(range(count)) and sheet.columns == columns
    assert sheet.row_labels == ()


def test_many_are_shown_from_end_to_end() -> None:
    shown = overview(numbered(200)).pixels[:, 0, 0, 0].int()
    assert len(shown) == 60 and (shown[0], shown[-1]) == (0, 199)
    assert set(shown.diff().tolist()) == {3, 4}


def test_a_row_per_class() -> None:
    sheet = overview(numbered(16, [0] * 12 + [1] * 3 + [3], ("cat", "dog", "none", "a class of a very long name")))
    assert sheet.row_labels == ("cat: 12", "dog: 3", "a class of a very l…: 1") and sheet.columns == 10
    rows = sheet.pixels[:, 0, 0, 0].view(3, 10).tolist()
    assert rows[0][0] == 0 and rows[0][-1] == 11 and len(set(rows[0])) == 10
    assert rows[1] == [12, 13, 14] + [255] * 7 and rows[2] == [15] + [255] * 9


def test_twelve_classes_at_most() -> None:
    sheet = overview(numbered(40, [i % 20 for i in range(40)], tuple(map(str, range(20)))))
    assert len(sheet.row_labels) == 12 and sheet.columns == 2 and len(sheet) == 24


def test_large_images_are_made_smaller() -> None:
    pixels = torch.full((2, 3, 300, 600), 77, dtype=torch.uint8)
    sheet = overview(Images(pixels, ("a", "b")))
    assert sheet.pixels.shape == (2, 3, 128, 256) and (sheet.pixels == 77).all()


def test_nothing_is_no_overview() -> None:
    with pytest.raises(UserError, match="no images to draw"):
        overview(numbered(0))
