"""Sphinx's configuration: ``sphinx-build -W -b html -c scripts/site . build/site`` makes the site.

The source folder is the checkout, so that every page keeps its place. Links between pages work as
on a code host, and links to modules give the file. Links to folders have no place on a site: they
keep their text alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes

from bert_export import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "bert-export"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "bert_export/**/README.md",
    "calibration/README.md",
    "graphs/*.md",
    "scripts/NUMBERS.md",
    "scripts/site/*.md",
    "tests/vectors/README.md",
]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
smartquotes = False  # "--int8" has two hyphens
html_theme = "furo"
html_title = f"bert-export {__version__}"
# Nothing on the site is fetched from elsewhere, and no page says when it was made.
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

CONTENTS = """
```{toctree}
:hidden:
:caption: References
scripts/site/python
scripts/site/command_line
```

```{toctree}
:hidden:
:caption: How it works
bert_export/checkpoints/README
bert_export/runtime/README
bert_export/serving/README
bert_export/bulk/README
bert_export/quantization/README
bert_export/targets/README
bert_export/targets/native/README
bert_export/bundle/README
bert_export/text_input/README
bert_export/datasets/README
bert_export/hand_over/README
bert_export/report/README
bert_export/demonstrations/README
bert_export/runtime/cpp/README
bert_export/runtime/cpp/src/native/README
calibration/README
```

```{toctree}
:hidden:
:caption: What was measured
scripts/NUMBERS
graphs/README
graphs/FORMS
graphs/PROFILE
tests/vectors/README
CHANGELOG
```
"""


def add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give the first page the table of contents, which README.md itself does not carry."""
    if page == root_doc:
        source[0] += CONTENTS


def drop_folder_links(app: Sphinx, document: nodes.document) -> None:
    """Replace links to folders of the checkout by their text; broken links stay, and warn."""
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(document.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and (folder / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def copy_first_page(app: Sphinx, error: Exception | None) -> None:
    """Let a web server find the first page under the name that it looks for."""
    if error is None and app.builder.name == "html":
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", drop_folder_links)
    app.connect("build-finished", copy_first_page)
