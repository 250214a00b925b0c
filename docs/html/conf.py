"""How Sphinx makes the site of docs/: `make site`.

Pages stay plain Markdown, for forges to show as they are. What only the site has is added when a page is read: where it
stands in the navigation, and what becomes of links to files that are no pages. Not the business of this module: what is
made from the code before (`docs.generate`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
REPOSITORY = os.environ.get("REPOSITORY", "").rstrip("/")
"""Where files of the repository that are no pages can be read; without it, only their paths are shown."""

NAVIGATION = {
    "Learn": ("tutorial",),
    "Do": (
        "install",
        "how-to/guard-a-service",
        "how-to/look-before-you-switch-it-on",
        "how-to/move-an-ipblock-policy",
        "how-to/*",
        "gitops",
        "monitoring",
        "high-availability",
        "lock-down",
        "upgrade",
        "uninstall",
    ),
    "When an alert fires": ("runbooks/*",),
    "Look up": (
        "reference/*",
        "conditions",
        "metrics",
        "explain",
        "audit",
        "probe",
        "supported-versions",
    ),
    "Understand": (
        "packet-path",
        "faq",
        "lab",
        "limits",
        "threat-model",
        "comparison",
        "evaluator",
        "oracles",
        "benchmarks",
    ),
    "The project": ("releasing", "licenses", "decisions/README"),
}
"""Pages by what a reader is after, in order. Those that are absent are passed over; all others stand under "More"."""

# --- Sphinx -----------------------------------------------------------------------------------------------------------

project = "NodePort Access Operator"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
copyright = "the authors of the NodePort Access Operator, Apache-2.0"
extensions = ["myst_parser"]
root_doc = "index"
source_suffix = {".md": "markdown"}
exclude_patterns = ["html"]

myst_enable_extensions = ["alert"]
myst_heading_anchors = 4
myst_heading_anchors_html_ids = True

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["../sample-audit.html"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False

linkcheck_ignore = [r"https?://(.*\.)?example(\.(com|net|org))?(/|$)", r"https?://127\.0\.0\.1"]
linkcheck_retries = 3


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_contents)
    app.connect("doctree-read", _with_files_linked)


# --- navigation -------------------------------------------------------------------------------------------------------


def _with_contents(app: Sphinx, page: str, source: list[str]) -> None:
    every = sorted(app.env.found_docs)
    if page == root_doc:
        source[0] += "".join(_contents(caption, pages) for caption, pages in _sections(every) if pages)
    elif page == "decisions/README":
        source[0] += _contents("", [each for each in every if _is_decision(each)])


def _is_decision(page: str) -> bool:
    return page.startswith("decisions/") and page != "decisions/README"


def _sections(every: list[str]) -> Iterator[tuple[str, list[str]]]:
    left = [page for page in every if page != root_doc and not _is_decision(page)]
    for caption, wanted in NAVIGATION.items():
        found: list[str] = []
        for name in wanted:
            found += [page for page in left if page not in found and fnmatch(page, name)]
        left = [page for page in left if page not in found]
        yield caption, found
    yield "More", left


def _contents(caption: str, pages: list[str]) -> str:
    options = f":caption: {caption}\n:hidden:\n" if caption else ""
    lines = "".join(f"/{page}\n" for page in pages)
    return f"\n```{{toctree}}\n:maxdepth: 1\n{options}\n{lines}```\n"


# --- links to files that are no pages ---------------------------------------------------------------------------------


def _with_files_linked(app: Sphinx, doctree: nodes.document) -> None:
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for kind in (addnodes.pending_xref, addnodes.download_reference):
        for link in list(doctree.findall(kind)):
            file = _file(folder, link)
            if file is None or not file.exists():
                continue  # a page, or a link that leads nowhere: both are Sphinx' business
            page = f"{os.path.relpath(file, DOCS)}/README"
            if page in app.env.found_docs:
                link.attributes |= {"refdomain": "doc", "reftarget": page, "reftargetid": None}
                continue
            link.replace_self(_reference(folder, file, link))


def _file(folder: Path, link: nodes.Element) -> Path | None:
    """The file or folder that is linked; None for a page of the site."""
    path = str(link["reftarget"]).partition("#")[0]
    if link.get("refdomain") == "doc":  # without its suffix, and absolute where it is outside
        return Path(f"{path}.md") if path.startswith("/") else None
    return (folder / path).resolve() if path else None


def _reference(folder: Path, file: Path, link: nodes.Element) -> nodes.Element:
    words = link.children
    inside = [os.path.normpath(DOCS / "html" / extra) for extra in html_extra_path]
    if str(file) in inside:
        return nodes.reference("", "", *words, refuri=os.path.relpath(file, folder))
    if REPOSITORY:
        anchor = f"#{link['reftargetid']}" if link.get("reftargetid") else ""
        return nodes.reference("", "", *words, refuri=f"{REPOSITORY}/{file.relative_to(ROOT)}{anchor}")
    return nodes.inline(
        "", "", *words, nodes.Text(" ("), nodes.literal(text=str(file.relative_to(ROOT))), nodes.Text(")")
    )
