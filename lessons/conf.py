"""The lessons as a book of web pages: sphinx-build lessons results/pages."""

import hashlib
import os
import re
from pathlib import Path

from docutils.nodes import image
from PIL import Image

HERE = Path(__file__).parent
project = "tinyae"
html_title = "tinyae: the lessons"
extensions = ["myst_nb"]
exclude_patterns = ["[!0-9]*.py"]
html_theme = "sphinx_book_theme"
html_theme_options = {
    "use_download_button": False,
    "navbar_persistent": [],  # the side bar has the search field
    "footer_content_items": [],
}
html_static_path = html_css_files = ["book.css"]
highlight_language = "none"  # indented blocks are formulas

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_timeout = -1
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress
nb_render_image_options = {"width": "100%"}  # a click then opens the full size
# Outputs are kept until the options or the source change.
patterns = ["[!0-9]*.py", "../tinyae/*.py", "../data_tools/*.py"]
made_from = [os.environ.get("TINYAE_OPTIONS", "").encode()]
for pattern in patterns:
    made_from += [file.read_bytes() for file in sorted(HERE.glob(pattern))]
key = hashlib.sha256(b"".join(made_from)).hexdigest()
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "results" / "pages_cache" / key)


def link_lessons(app, docname, source):
    """Turn "lesson 3" in a lesson's text into a link to that lesson."""

    def link(found):
        pages = [file.name for file in HERE.glob(f"*{found[1]}_*.py")]
        other = pages and not pages[0].startswith(docname)
        return f"[{found[0]}]({pages[0]})" if other else found[0]

    cells = re.split(r"(?m)^(?=# %%)", source[0])
    for i, cell in enumerate(cells):
        if cell.startswith("# %% [markdown]"):
            cells[i] = re.sub(r"\b[Ll]essons? (0?\w)\b", link, cell)
    source[0] = "".join(cells)


def describe_images(app, doctree):
    """Give every figure the description that its file holds."""
    for node in doctree.findall(image):
        path = Path(app.srcdir) / node["uri"]
        node["alt"] = Image.open(path).info["Description"]


def setup(app):
    app.connect("source-read", link_lessons)
    app.connect("doctree-read", describe_images)
