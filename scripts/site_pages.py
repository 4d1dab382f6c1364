"""The hooks of ``mkdocs.yml``: generated pages, links that work on the site, and checks of the result.

A page in ``docs/`` replaces a generated one. Links are written as they work in the repository. A link to a file that is
not on the site becomes its name, or a link to the repository if ``mkdocs.yml`` sets ``repo_url``.
"""

from __future__ import annotations

import posixpath
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["on_files", "on_page_markdown", "on_post_build"]

#: Pages whose files are elsewhere in the repository.
SOURCES = {"index.md": "README.md", "measuring.md": "bench/README.md", "contributing.md": "CONTRIBUTING.md"}
PAGES = {source: page for page, source in SOURCES.items()}
#: Links to pages that exist on the site only.
MADE = ("docs/commands.md", "docs/python.md", "docs/index.md")

_CODE = r"^```.*?^```[^\n]*$|`[^`\n]+`"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'(<img [^>]*src=")([^"]+)(")')
_MARKUP = re.compile(f"{_LINK.pattern}|{_IMAGE.pattern}|{_CODE}", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r"(?<!\w):[a-z]+(?::[a-z]+)?:(?:`|<code>)")
_LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\brel=[\"']?"
                     r"(?:stylesheet|preconnect|preload|icon)[^>]*\bhref=[\"']?(?:https?:)?//")  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "src")]  # mkdocs resets the path after loading a hook
    from commands import commands_page

    made = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in SOURCES.items()}
    made |= {"commands.md": commands_page(), "python.md": python_page()}
    for name, text in made.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    made = page.file.abs_src_path is None
    source = SOURCES.get(page.file.src_uri, "") if made else f"docs/{page.file.src_uri}"
    if not source:
        return markdown
    place = _Place(posixpath.dirname(source), posixpath.dirname(page.file.src_uri), page.url, config.repo_url, files)

    def rewritten(found: re.Match[str]) -> str:
        if link := _LINK.fullmatch(found[0]):
            return place.link(*link.groups())
        if image := _IMAGE.fullmatch(found[0]):
            return image[1] + place.image(image[2]) + image[3]
        return found[0]

    return _MARKUP.sub(rewritten, markdown)


@dataclass(frozen=True)
class _Place:
    """The location of a page: ``folder`` in the repository, ``docs`` below ``docs/``, ``url`` on the site."""

    folder: str
    docs: str
    url: str
    repo_url: str | None
    files: Files

    def link(self, mark: str, text: str, target: str) -> str:
        if re.match(r"[a-z]+:|#|/", target):
            return f"{mark}[{text}]({target})"
        name, hash_mark, anchor = target.partition("#")
        path = self._checked(name)
        if inside := self._on_site(path):
            return f"{mark}[{text}]({posixpath.relpath(inside, self.docs or '.')}{hash_mark}{anchor})"
        if self.repo_url:
            return f"[{text}]({self.repo_url.rstrip('/')}/blob/main/{path})"
        plain = text.strip("`/")
        return f"`{plain}`" if path.endswith(plain) else f"{text} (`{path}`)"

    def image(self, target: str) -> str:
        """Return the address of a picture in HTML, which MkDocs does not change."""
        if re.match(r"[a-z]+:|/", target):
            return target
        inside = self._on_site(self._checked(target))
        return posixpath.relpath(inside, self.url or ".") if inside else target

    def _checked(self, name: str) -> str:
        path = posixpath.normpath(posixpath.join(self.folder, name))
        if path not in MADE and not (ROOT / path).exists():
            raise PluginError(f"a link to {name} from {self.folder or 'README.md'}: there is no {path}")
        return path

    def _on_site(self, path: str) -> str | None:
        """Return the path of a page or file of the site below ``docs/``."""
        inside = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return inside if inside and self.files.get_file_from_path(inside) else None


def python_page() -> str:
    """Return Markdown that makes mkdocstrings document every public name."""
    import vaekit

    names = sorted(vaekit.__all__, key=lambda name: (not name.islower(), name))
    sections = [f"::: vaekit.{name}" for name in names if name != "recipes"]
    return "\n\n".join([_PYTHON, *sections, *(["::: vaekit.recipes"] if "recipes" in names else [])]) + "\n"


_PYTHON = """# Python

`import vaekit` offers the names on this page. They are loaded when they are first used, because importing PyTorch takes
seconds."""


def on_post_build(config: Any) -> None:
    """Fail if a page shows an unrendered role, or loads anything from another host."""
    faults = []
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*.html")):
        html = path.read_text(encoding="utf-8")
        shown = path.relative_to(site)
        faults += [f"{shown}: {found[0]}… is not rendered" for found in _ROLE.finditer(html)]
        faults += [f"{shown}: {found[0]}… loads from another host" for found in _LOADED.finditer(html)]
    if faults:
        raise PluginError("\n".join(faults))
