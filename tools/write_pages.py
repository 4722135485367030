"""Write the executed notebooks of a folder as HTML pages that ask no network, glossary and index.

    python tools/write_pages.py FOLDER

Formulas become MathML, which browsers typeset by themselves; pictures are embedded; links between
notebooks lead to the pages. The index begins with the pad that reads, and shows the map of the
README, with each notebook's last figure.
"""

import re
import sys
from html import escape
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from suite import ROOT
from traitlets.config import Config
from write_pad import reader

README = (ROOT / "README.md").read_text(encoding="utf-8")

# nbconvert's own page without the scripts that it would load: MathJax, require.js and mermaid. A
# figure gets the text that its cell has in its metadata, as ``alt``, and code that is folded in
# JupyterLab is folded here too.
PAGE = """{% extends "lab/index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}<style>
  math { font-size: 1.15em }
  pre { font-family: monospace !important }  /* code that a cell shows as Markdown, too */
  .jp-CodeCell summary { margin-left: 4.5rem; font: 0.85rem sans-serif; color: #666 }
</style>{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block data_png scoped -%}
{% if cell.metadata.alt -%}
{{ super() | replace("<img", '<img alt="' ~ (cell.metadata.alt | escape_html) ~ '"', 1) }}
{%- else -%}
{{ super() }}
{%- endif %}
{%- endblock %}
{% block codecell -%}
{% if cell.source.startswith("# For the automatic tests") -%}
<details><summary>For the automatic tests</summary>{{ super() }}</details>
{%- else -%}
{{ super() }}
{%- endif %}
{%- endblock codecell %}
{% block input_group -%}
{% if cell.source.startswith("# You may skip this code") -%}
<details><summary>Code that you may skip</summary>{{ super() }}</details>
{%- else -%}
{{ super() }}
{%- endif %}
{%- endblock input_group %}"""

# A page of words, without pictures.
TEXT = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif }}
  td, th {{ padding: 0.2rem 0.6rem; text-align: left; vertical-align: top }}
  .anchor-link {{ display: none }}
</style>
{body}
</html>
"""

INDEX = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MNIST notebooks</title>
<style>
  body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif }}
  ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem;
       padding: 0; list-style: none }}
  li a {{ display: block; height: 100%; box-sizing: border-box; padding: 1rem;
      border: 1px solid #ccc; border-radius: 4px; color: inherit; text-decoration: none }}
  li a:hover, li a:focus {{ border-color: #0072b2 }}
  img {{ width: 100%; height: 10rem; object-fit: contain }}
  h2 {{ margin: 0.5rem 0 0; font-size: 1.1rem; color: #0072b2 }}
  p {{ margin: 0.3rem 0 0 }}
</style>
<h1>MNIST notebooks</h1>
<p>From raw pixels to a tested classifier of handwritten digits. Begin by drawing one, with a mouse,
a pen or a finger: the network of notebook 08, with the weights of 09, reads it, in
this page. Or begin with {first}.</p>
{reader}
<p>The notebooks in their order, as executed on this computer, and <a href="glossary.html">their
words</a>:</p>
<ol>
{cards}
</ol>
</html>
"""

CARD = """<li><a href="{page}">{picture}<h2>{title}</h2><p>{question}</p></a></li>"""


class Renderer(IPythonRenderer):
    """Markdown to HTML, with formulas as MathML and links between the pages."""

    pages = frozenset()  # the names of those that are written

    def block_math(self, body):
        return convert(space_after_log(body), display="block")

    def inline_math(self, body):
        return convert(space_after_log(body))

    def image(self, text, url, title=None):
        return super().image(text, url.removeprefix("../"), title)  # from notebooks/ to the top

    def _html_embed_images(self, html):
        return html  # nbconvert's would close each <details> before the solution that it folds

    def link(self, text, url, title=None):
        url = re.sub(r"^\.\./(README\.md|pad\.html)(#.*)?$", "index.html", url)
        url = re.sub(r"^glossary\.md$", "glossary.html", url)
        url = re.sub(r"\.ipynb(?=$|#)", ".html", url)
        file, _, _ = url.partition("#")
        if file.endswith(".html") and "/" not in file and file not in self.pages:
            return text  # of a notebook that was not executed here
        return super().link(text, url, title)


def space_after_log(formula: str) -> str:
    r"""Add the space that latex2mathml leaves out after \log and \log_2."""
    return re.sub(r"\\log(_\w)?", lambda log: log[0] + r"\,", formula)


def make_renderer(pages: set[str]) -> MarkdownWithMath:
    renderer = Renderer(escape=False, embed_images=True, path=str(ROOT))
    renderer.pages = pages | {"index.html", "glossary.html"}
    return MarkdownWithMath(renderer=renderer)


def make_exporter(markdown: MarkdownWithMath) -> HTMLExporter:
    last_state_of_bars = Config(CoalesceStreamsPreprocessor={"enabled": True})
    return HTMLExporter(
        config=last_state_of_bars,
        extra_loaders=[DictLoader({"page": PAGE})],
        template_file="page",
        filters={"markdown2html": markdown.render},
    )


def title_of(notebook: NotebookNode, name: str) -> str:
    """Return the notebook's first line, or the file's name if there is none."""
    first_cell = notebook.cells[0].source if notebook.cells else ""
    first_line, _, _ = first_cell.partition("\n")
    return first_line.strip("# ") or name


def question_of(name: str) -> str:
    """Return what the README's map says of a notebook; nothing, if it is not in the map."""
    row = re.search(rf"\(notebooks/{re.escape(name)}\) \| (.*?) \|", README)
    return row[1] if row else ""


def last_figure(notebook: NotebookNode) -> str:
    """Return the last figure as an HTML image; nothing, if there is none."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    if not figures:
        return ""
    return f'<img src="data:image/png;base64,{figures[-1]}" alt="">'


def write(folder: Path) -> None:
    """Write a page beside each notebook of the folder, the glossary, and the index of all."""
    paths = sorted(folder.glob("*.ipynb"))
    markdown = make_renderer({path.with_suffix(".html").name for path in paths})
    exporter = make_exporter(markdown)
    words = markdown.render((ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8"))
    glossary = TEXT.format(title="Glossary", body=words)
    (folder / "glossary.html").write_text(glossary, encoding="utf-8")
    links, cards = [], []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        title = title_of(notebook, path.stem)
        html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
        page = path.with_suffix(".html")
        page.write_text(html, encoding="utf-8")
        links.append(f'<a href="{page.name}">{escape(title)}</a>')
        card = CARD.format(
            page=page.name,
            picture=last_figure(notebook),
            title=escape(title),
            question=escape(question_of(path.name)),
        )
        cards.append(card)
    # The first page is linked above the pad, too: on a phone its card stands far below.
    first = links[0] if links else "the notebooks"
    index = INDEX.format(first=first, reader=reader(), cards="\n".join(cards))
    (folder / "index.html").write_text(index, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
