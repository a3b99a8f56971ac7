"""Hold the built site against what is promised: links that resolve, and nothing from a network.

    python docs/check_site.py docs/_build/html

Prints what is wrong and ends with 1 if anything is.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself when it shows the page.
_LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
# Links that say where something is, and load nothing.
_NOT_LOADED = {"canonical", "next", "prev", "index", "search", "author", "top"}


class Page(HTMLParser):
    """The anchors, the links and the resources of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.unlabelled = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        named = dict(attrs)
        for key in ("id", "name"):
            if named.get(key):
                self.anchors.add(str(named[key]))
        if tag == "a" and named.get("href"):
            self.links.append(str(named["href"]))
        if tag == "img" and not named.get("alt"):
            self.unlabelled += 1
        target = named.get(_LOADED.get(tag, ""))
        if target and (tag != "link" or named.get("rel") not in _NOT_LOADED):
            self.loaded.append(target)


def problems(site: Path) -> list[str]:
    """What is wrong with a built site.

    Parameters
    ----------
    site : Path
        The folder with ``index.html``.

    Returns
    -------
    list of str
        One line a problem; empty if there is none.
    """
    site = site.resolve()
    pages = {
        path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    }
    found = [] if site / "index.html" in pages else [f"{site}: no index.html"]
    for path, page in pages.items():
        name = path.relative_to(site)
        if page.unlabelled:
            found.append(f"{name}: {page.unlabelled} pictures without a description")
        for target in page.links + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//"):
                if target in page.loaded and parts.scheme != "data":
                    found.append(f"{name}: loads {target} from a network")
                continue
            where = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if where.is_dir():
                where /= "index.html"
            if not where.exists():
                found.append(f"{name}: {target} leads nowhere")
            elif where in pages and unquote(parts.fragment) not in pages[where].anchors | {""}:
                found.append(f"{name}: {target} has no such anchor")
    return found


def main(folder: str) -> int:
    """Check a site and print what is wrong.

    Parameters
    ----------
    folder : str

    Returns
    -------
    int
        1 if anything is wrong.
    """
    found = problems(Path(folder))
    print("\n".join(found) or "all links resolve, nothing is loaded from a network")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
