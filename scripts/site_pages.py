"""The hooks of ``mkdocs.yml``: pages made from the code, links that work on the site, and checks of what was built.

A page in ``docs/`` replaces the one that is made here. Links are written as they work in the repository. A link to a
file that is not on the site becomes its path, or a link to the repository if ``mkdocs.yml`` sets ``repo_url``.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["on_files", "on_page_markdown", "on_post_build"]

#: Pages that are files elsewhere in the repository.
SOURCES = {"index.md": "README.md", "benchmarks.md": "bench/README.md"}
PAGES = {source: page for page, source in SOURCES.items()}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'(<img [^>]*src=")([^"]+)(")')
_CODE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj|ref|doc|math):(?:`|<code>)")
_LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\brel=[\"']?"
                     r"(?:stylesheet|preconnect|preload|icon)[^>]*\bhref=[\"']?(?:https?:)?//")  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "src")]  # mkdocs resets the path once a hook is loaded
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
    folder = posixpath.dirname(source)

    def image(found: re.Match[str]) -> str:
        return found[1] + _target(found[2], folder, page.url, files, as_url=True) + found[3]

    def link(found: re.Match[str]) -> str:
        return _link(found, folder, config, files)

    pieces = _CODE.split(markdown)  # every second one is code
    pieces[::2] = [_IMAGE.sub(image, _LINK.sub(link, piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _link(found: re.Match[str], folder: str, config: Any, files: Files) -> str:
    mark, text, target = found.groups()
    if re.match(r"[a-z]+:|#|/", target):
        return found[0]
    moved = _target(target, folder, "", files)
    if moved is not None:
        return f"{mark}[{text}]({moved})"
    path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
    if not (ROOT / path).exists():
        raise PluginError(f"a link to {target} in {folder or '.'}: there is no {path}")
    if config.repo_url:
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})"
    plain = text.strip("`")
    return f"`{path}`" if plain == path or path.endswith(plain) else f"{text} (`{path}`)"


def _target(target: str, folder: str, url: str, files: Files, as_url: bool = False) -> Any:
    """The target relative to ``docs/``; None if it is not on the site."""
    name, mark, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(folder, name))
    inside = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if inside is None or files.get_file_from_path(inside) is None:
        return target if as_url else None
    return (posixpath.relpath(inside, url or ".") if as_url else inside) + mark + anchor


def python_page() -> str:
    """Markdown that asks mkdocstrings for every public name."""
    import vaekit

    names = sorted(vaekit.__all__, key=lambda name: (not name.islower(), name))
    sections = [f"::: vaekit.{name}" for name in names if name != "recipes"]
    return "\n\n".join([_PYTHON, *sections, *(["::: vaekit.recipes"] if "recipes" in names else [])]) + "\n"


_PYTHON = """# Python

`import vaekit` offers the names on this page. They are loaded when they are first used, because importing PyTorch takes
seconds."""


def on_post_build(config: Any) -> None:
    """Fails if a page shows an unrendered role, or loads anything from another host."""
    faults = []
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*.html")):
        html = path.read_text(encoding="utf-8")
        shown = path.relative_to(site)
        faults += [f"{shown}: {found[0]}… is not rendered" for found in _ROLE.finditer(html)]
        faults += [f"{shown}: {found[0]}… loads from another host" for found in _LOADED.finditer(html)]
    if faults:
        raise PluginError("\n".join(faults))
