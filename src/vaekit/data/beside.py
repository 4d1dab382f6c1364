"""Files that lie beside images and are not used, named in one note."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["unused"]

_MOST_NAMED = 4
_LARGE_GROUP = 4  # files of one ending, from which one of them stands for all
_MENTIONED_NOWHERE = re.compile(
    r"(readme|licen[cs]e|copying|citation|authors|notice|changelog)\b.*|thumbs\.db|desktop\.ini"
    r"|.*\.(md|md5|sha1|sha256)|(md5|sha1|sha256)sums?(\.txt)?"
)
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xml", ".xlsx", ".parquet", ".yaml", ".yml", ".mat", ".db")
_REMEDY = "labels come from class folders, parts and attributes from metadata.csv (file_name, split, …)"


def unused(names: Iterable[str]) -> list[str]:
    """A note about files that are left aside, at most one; README, LICENSE and the like are not worth one.

    >>> unused(["README.md", "labels.csv"])[0].partition(";")[0]
    'not used: labels.csv'
    >>> unused(f"clips/{i}.mp4" for i in range(1000))
    ['not used: 1,000 .mp4 files such as clips/0.mp4']
    """
    left = [name for name in names if not _MENTIONED_NOWHERE.fullmatch(posixpath.basename(name).lower())]
    if not left:
        return []
    groups: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name in sorted(left, key=lambda name: (name.count("/"), name)):
        groups["/" in name, posixpath.splitext(name)[1].lower()].append(name)
    said: list[tuple[int, str]] = []
    for (_, ending), group in groups.items():
        if len(group) < _LARGE_GROUP:
            said += [(1, name) for name in group]
        else:
            said.append((len(group), f"{len(group):,} {ending or 'other'} files such as {group[0]}"))
    more = sum(count for count, _ in said[_MOST_NAMED:])
    listed = ", ".join(text for _, text in said[:_MOST_NAMED]) + (f" and {more:,} more" if more else "")
    remedy = f"; {_REMEDY}" if any(name.lower().endswith(_TABLES) for name in left) else ""
    return [f"not used: {listed}{remedy}"]
