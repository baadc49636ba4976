"""Make web pages of the notebooks that need no network: formulas are MathML, which browsers render by themselves.

    python scripts/make_pages.py [notebooks/00_quickstart.ipynb ...] [--out outputs/html]

The template is docs/pages/.
"""

from __future__ import annotations

import argparse
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

ROOT = Path(__file__).resolve().parent.parent


class MathMLRenderer(IPythonRenderer):
    """Markdown to HTML, with LaTeX as MathML."""

    def inline_math(self, body: str) -> str:
        return convert(unescape(body), display="inline")

    def block_math(self, body: str) -> str:
        return convert(unescape(body), display="block")


class Pages(HTMLExporter):
    """nbconvert's exporter with our template and formulas."""

    def __init__(self) -> None:
        super().__init__(extra_template_basedirs=[str(ROOT / "docs")], template_name="pages")

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(renderer=MathMLRenderer(escape=False, attachments=attachments)).render(source)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all, if none is given")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "html")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        page, _ = Pages().from_notebook_node(notebook, {"metadata": {"name": path.stem}})
        (args.out / f"{path.stem}.html").write_text(page, encoding="utf-8")
    print(f"{args.out}: open 00_quickstart.html in a browser")
