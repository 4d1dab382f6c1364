"""Print the result of a command: one JSON object, or lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vaekit.system.number_text import plain, text_lines

__all__ = ["say"]


def say(values: Mapping[str, Any], as_json: bool = False) -> None:
    """Print plain values (numbers, text, lists and mappings of them).

    >>> say({"images": 1797, "alike": {"images": 1, "alike": [["a.png", "b.png"]]}})
    images  1,797
    alike   images 1
      a.png, b.png
    >>> say({"psnr_db": float("inf")}, as_json=True)
    {"psnr_db": null}
    """
    if as_json:
        print(json.dumps(plain(values), allow_nan=False))
        return
    for line in text_lines(values, more="see --json"):
        print(line)
