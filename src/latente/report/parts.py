"""What every section of the page is put together from: a heading, a paragraph, a picture, something to unfold."""

from html import escape

from latente.messages import language
from latente.report.sheets import Shown
from latente.report.words import Text, attribute, html, text


def section(heading: str, *parts: str) -> str:
    """A part of the page under the heading `report.heading`; empty parts are passed over."""
    return f"<section>\n<h2>{html(text(heading))}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def p(what: Text, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{html(what)}</p>' if kind else f"<p>{html(what)}</p>"


def image(shown: Shown, alt: Text, hidden: bool = False) -> str:
    """A picture with its words for those who cannot see it."""
    size = ' width="{}" height="{}"'.format(*shown.picture.size)
    return f'<img src="{shown.url}"{size}{attribute("alt", alt, language())}{" hidden" if hidden else ""}>'


def scrolling(name: str, content: str) -> str:
    """Something that may be wider than a phone: it scrolls by itself, with the keyboard too."""
    label = attribute("aria-label", text(name), language())
    return f'<div class="wide" tabindex="0" role="group"{label}>{content}</div>'


def fold(summary: Text, *parts: str) -> str:
    """What is secondary: one line until it is opened."""
    return f"<details><summary>{html(summary)}</summary>{''.join(parts)}</details>"


def typed(command: str) -> str:
    """A line to be typed."""
    return f"<pre><code>{escape(command)}</code></pre>"


def table(head: list[tuple[str, str]], rows: list[str]) -> str:
    """A table from its headings (key, class) and its rows in HTML."""
    classes = {kind: f' class="{kind}"' if kind else "" for _, kind in head}
    cells = "".join(f'<th scope="col"{classes[kind]}>{html(text(key))}</th>' for key, kind in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
