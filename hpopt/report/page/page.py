"""A page of HTML: text, and figures that a script draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .look import FONT, INK, MUTED

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        name: of the figure, letters and underscores; the place that links go to.
        title: plain text.
        caption: how to read it, plain text.
        figure: what is shown: a figure, or in a line why there is none.
        html: what else is shown, ready to be put in.
    """

    name: str
    title: str
    caption: str = ""
    figure: "Figure | str | None" = None
    html: str = ""


def figures_of(sections: Sequence[Section]) -> "dict[str, Figure]":
    """Return the figures that could be drawn, by name."""
    return {
        section.name: section.figure
        for section in sections
        if section.figure is not None and not isinstance(section.figure, str)
    }


def page(title: str, summary: str, sections: Sequence[Section], script: str) -> str:
    """Return a page.

    Args:
        title: plain text.
        summary: HTML that comes first.
        sections: in order.
        script: HTML that brings the script of the figures.
    """
    links = "".join(
        f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in sections
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # or the browser asks for one
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        script,
        f"<h1>{escape(title)}</h1>\n{summary}",
        f"<nav><ul>{links}</ul></nav>",
        *map(_section, sections),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def paragraphs(sentences: Sequence[str], kind: str = "") -> str:
    """Return plain sentences as HTML, a paragraph each; `kind` is their class."""
    opened = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{opened}{escape(sentence)}</p>" for sentence in sentences)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "wide") -> str:
    """Return a table of plain texts; a row's first cell is its head.

    Args:
        head: of the columns.
        rows: below it.
        kind: "wide" keeps lines as they are and scrolls, "texts" wraps; its second column is wide.
    """
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in others)}</tr>"
        for first, *others in rows
    ]
    body = "\n".join(lines)
    return f'<div class="{kind}"><table><thead><tr>{cells}</tr></thead>\n{body}</table></div>'


def _section(section: Section) -> str:
    figure = section.figure
    if isinstance(figure, str):
        shown = f'<p class="missing">Not drawn: {escape(figure)}.</p>'
    else:
        caption = f'<p class="caption">{escape(section.caption)}</p>' if section.caption else ""
        shown = caption + section.html + ("" if figure is None else _drawn(section.name, figure))
    return f'<section id="{section.name}"><h2>{escape(section.title)}</h2>\n{shown}</section>'


def _drawn(name: str, figure: "Figure") -> str:
    from plotly.io import to_html  # type: ignore[import-untyped]

    # Nothing on the page may send data anywhere, not even on a click.
    config = {"displaylogo": False, "responsive": True, "showSendToCloud": False}
    drawn: str = to_html(
        figure,
        config=config,
        include_plotlyjs=False,
        full_html=False,
        default_height=f"{figure.layout.height}px",
        div_id=f"figure-{name}",
    )
    return drawn


_STYLE = f"""
body {{ font: 16px/1.5 {FONT}; color: {INK}; max-width: 1060px; margin: 0 auto;
  padding: 24px 20px 60px; background: white; }}
h1 {{ font-size: 1.7em; line-height: 1.25; margin: 0.4em 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.25em; margin: 2.2em 0 0.3em; padding-top: 0.8em; border-top: 1px solid #ddd; }}
h3 {{ font-size: 1.05em; margin: 1.4em 0 0.2em; }}
p {{ margin: 0.5em 0; max-width: 54em; }}
ul {{ margin: 0.5em 0; padding-left: 1.3em; }}
nav ul {{ list-style: none; padding: 0.6em 0; display: flex; flex-wrap: wrap; gap: 0.3em 1.4em; }}
a {{ color: #0a5c96; }}
.caption, .missing {{ color: #555; font-size: 0.92em; }}
.missing {{ font-style: italic; }}
.warning {{ border-left: 4px solid #D55E00; background: #fdf3ec; padding: 0.5em 0.8em; }}
.verdict, .warning {{ margin: 0.25em 0; }}
.verdict {{ border-left: 4px solid #0072B2; background: #eef5fa; padding: 0.5em 0.8em; }}
summary {{ cursor: pointer; }}
.wide {{ overflow-x: auto; margin: 0.8em 0; }}
table {{ border-collapse: collapse; font-size: 0.92em; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 0.3em 1.1em 0.3em 0; border-bottom: 1px solid #e4e4e4;
  vertical-align: top; white-space: pre; }}
.texts {{ margin: 0.8em 0 1.6em; }}
.texts table {{ width: 100%; table-layout: fixed; }}
.texts :is(th, td) {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.texts thead th:not(:nth-child(2)) {{ width: 5.5em; }}
thead th {{ color: {MUTED}; font-weight: 600; }}
tr > th:first-child {{ font-weight: 600; }}
"""
