"""The lessons as a book of web pages: sphinx-build lessons results/pages."""

import shutil

from docutils.nodes import image
from PIL import Image

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
html_sidebars = {"**": ["navbar-logo", "search-field", "sbt-sidebar-nav"]}
html_static_path = html_css_files = ["book.css"]
highlight_language = "none"  # indented blocks are formulas

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_timeout = -1
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress
nb_render_image_options = {"width": "100%"}  # a click then opens the full size


def all_pages(app, env, *changed):
    """Run every lesson again, whatever changed: any of them may use it."""
    return env.found_docs


def describe_images(app, doctree):
    """Give every figure the description that its file holds; mark the wide ones."""
    for node in doctree.findall(image):
        picture = Image.open(app.srcdir / node["uri"])
        node["alt"] = picture.info["Description"]
        if picture.width > 1200:
            node["classes"].append("wide")


def copy_page(app, error):
    """Copy the page with the sliders, which lesson 1 has written."""
    page = app.srcdir.parent / "results/01_objective1/four_numbers.html"
    if page.exists():
        shutil.copy(page, app.outdir)


def setup(app):
    app.connect("env-get-outdated", all_pages)
    app.connect("doctree-read", describe_images)
    app.connect("build-finished", copy_page)
