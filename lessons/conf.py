"""The lessons as a book of web pages: sphinx-build lessons results/pages."""

import hashlib
import os
import re
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
project = "tinyae"
extensions = ["myst_nb"]
exclude_patterns = ["[!0-9]*.py"]
html_theme = "sphinx_book_theme"
html_title = "tinyae: the lessons"
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "use_download_button": False,
    "navbar_persistent": [],
    "footer_content_items": [],
}
highlight_language = "none"  # of indented blocks: they are formulas
myst_heading_anchors = 2

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_timeout = -1
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress
nb_render_image_options = {"width": "100%"}  # a click then opens the full size
# Outputs are kept as long as neither the options nor the source have changed.
files = [file for pattern in ("[!0-9]*.py", "../*/*.py") for file in HERE.glob(pattern)]
made_from = [file.read_bytes() for file in sorted(files)]
made_from.append(os.environ.get("TINYAE_OPTIONS", "").encode())
nb_execution_mode = "cache"
nb_execution_cache_path = str(
    HERE.parent / "results/pages_cache" / hashlib.sha256(b"".join(made_from)).hexdigest()
)


def link_lessons(app, docname, source):
    """Turn "lesson 3" in a lesson's text into a link to that lesson."""

    def link(found):
        pages = [*HERE.glob(f"0{found[2]}_*.py"), *HERE.glob(f"{found[2]}_*.py")]
        if not pages or pages[0].stem == docname:
            return found[0]
        return f"[{found[0]}]({pages[0].name})"

    cells = re.split(r"(?m)^(?=# %%)", source[0])
    for i, cell in enumerate(cells):
        if cell.startswith("# %% [markdown]"):
            cells[i] = re.sub(r"(?<!# )\b([Ll]essons? )(0?\w)\b", link, cell)
    source[0] = "".join(cells)


def describe_images(app, doctree):
    """Give every figure the description that its file holds (figures.save)."""
    for image in doctree.findall(lambda node: node.tagname == "image"):
        path = Path(app.srcdir) / image["uri"]
        image["alt"] = Image.open(path).info.get("Description", "")


def setup(app):
    app.connect("source-read", link_lessons)
    app.connect("doctree-read", describe_images)
