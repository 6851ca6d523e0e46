"""Makes the site's links work as written: as paths in the repository, so that they work in a browser of that too.

What lies outside docs/ gets a place under repository/. Markdown files that the navigation names become pages; any other
file that a page links to becomes a page with its text. The sources that docstrings name, as "design §1.2" and
"arXiv:2006.16236", become links.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository/"
LINK = re.compile(r"(?<=]\()(?![a-z]+:|#)([^\s)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that the navigation names, and those that a page links to."""
    for uri in _names(config.nav):
        if uri.startswith(OUTSIDE):
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / _path_of(uri))))
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            path = _target(page.src_uri, link)
            uri = _uri_of(path)
            shown = uri.startswith(OUTSIDE) and not path.endswith(".md")
            if shown and (ROOT / path).is_file() and uri not in files.src_uris:
                files.append(File.generated(config, uri, content=_as_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point every link to where its target is on the site."""
    here = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        uri = _uri_of(_target(here, link[1]))
        return posixpath.relpath(uri, posixpath.dirname(here)) if uri in files.src_uris else link[1]

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the sources that docstrings name."""
    design = files.src_uris["design.md"].url_relative_to(page.file)
    html = re.sub(r"\bdesign §[\d.]*\d", rf'<a href="{design}">\g<0></a>', html)
    return re.sub(r"\barXiv:(\d{4}\.\d{5})\b", r'<a href="https://arxiv.org/abs/\1">\g<0></a>', html)


def _names(nav: Any) -> Iterator[str]:
    """Every file in the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _names(entry)


def _path_of(uri: str) -> str:
    """The path in the repository of what has this place on the site."""
    return uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else f"docs/{uri}"


def _uri_of(path: str) -> str:
    """The place on the site of a path in the repository."""
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    return OUTSIDE + (path if path.endswith(".md") else f"{path}.md")


def _target(uri: str, link: str) -> str:
    """The path in the repository that a link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_path_of(uri)), link))


def _as_page(path: str) -> str:
    """A page with the text of a file, highlighted by its suffix."""
    language = posixpath.splitext(path)[1].removeprefix(".") or "text"
    return f"# {path}\n\n````{language}\n{(ROOT / path).read_text(encoding='utf-8')}\n````\n"
