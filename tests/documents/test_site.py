"""The documentation as a site: it builds without a warning, every page is near, nothing comes from elsewhere."""

import logging
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

pytest.importorskip("mkdocs")

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site. The build fails on any warning, such as of a broken link or a page in no menu."""
    folder = tmp_path_factory.mktemp("site")
    logging.getLogger("mkdocs").setLevel(logging.INFO)
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


class Reader(HTMLParser):
    """The links of a page, and what a browser fetches to show it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes.get("href") or "")
        else:
            self.fetched += [attributes[name] for name in ("src", "href", "data") if attributes.get(name)]


def pages_linked_from(page: Path) -> set[Path]:
    """The pages of the site that a page links to."""
    local = [urldefrag(link).url for link in Reader(page).links if not urlsplit(link).scheme]
    return {Path(os.path.normpath(page.parent / unquote(link))) for link in local if link.endswith(".html")}


def test_every_page_is_two_clicks_from_the_first(site):
    pages = set(site.rglob("*.html")) - {site / "404.html"}
    one = pages_linked_from(site / "index.html")
    two = set().union(*(pages_linked_from(page) for page in one))
    assert len(pages) > 20
    assert pages <= {site / "index.html"} | one | two


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = Reader(page).fetched
        assert fetched
        for address in fetched:
            assert not urlsplit(address).scheme and not address.startswith("//"), f"{page.name} fetches {address}"
            assert (page.parent / unquote(urldefrag(address).url)).exists() or page.name == "404.html", address
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_what_is_public_is_in_the_reference(site):
    import r2id

    shown = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in r2id.__all__:
        assert f'id="r2id.{name}"' in shown, name


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    local = [urldefrag(link).url for link in links if not urlsplit(link).scheme]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []
