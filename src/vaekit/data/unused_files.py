"""Report files next to the images that are not used."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["unused"]

_MOST_NAMED = 4
_LARGE_GROUP = 4  # from this many files of one extension, one is named as an example
_NOT_WORTH_A_NOTE = re.compile(
    r"(readme|licen[cs]e|copying|citation|authors|notice|changelog)\b.*|thumbs\.db|desktop\.ini"
    r"|.*\.(md|md5|sha1|sha256)|(md5|sha1|sha256)sums?(\.txt)?"
)
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xml", ".xlsx", ".parquet", ".yaml", ".yml", ".mat", ".db")
_REMEDY = "labels come from class folders, parts and attributes from metadata.csv (file_name, split, …)"


def unused(names: Iterable[str]) -> list[str]:
    """Return at most one note about unused files. README, LICENSE and similar files are not mentioned.

    >>> unused(["README.md", "labels.csv"])[0].partition(";")[0]
    'not used: labels.csv'
    >>> unused(f"clips/{i}.mp4" for i in range(1000))
    ['not used: 1,000 .mp4 files such as clips/0.mp4']
    """
    left = [name for name in names if not _NOT_WORTH_A_NOTE.fullmatch(posixpath.basename(name).lower())]
    if not left:
        return []
    groups: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name in sorted(left, key=lambda name: (name.count("/"), name)):
        groups["/" in name, posixpath.splitext(name)[1].lower()].append(name)
    entries: list[tuple[int, str]] = []
    for (_, extension), group in groups.items():
        if len(group) < _LARGE_GROUP:
            entries += [(1, name) for name in group]
        else:
            entries.append((len(group), f"{len(group):,} {extension or 'other'} files such as {group[0]}"))
    more = sum(count for count, _ in entries[_MOST_NAMED:])
    listed = ", ".join(text for _, text in entries[:_MOST_NAMED]) + (f" and {more:,} more" if more else "")
    remedy = f"; {_REMEDY}" if any(name.lower().endswith(_TABLES) for name in left) else ""
    return [f"not used: {listed}{remedy}"]
