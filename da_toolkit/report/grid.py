"""A table of texts, and the same table as terminal output, Markdown, LaTeX and HTML."""

import html
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.markup import escape as escape_markup
from rich.table import Table

UNKNOWN = "–"

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "–": "--",
    "\n": " ",
}


@dataclass(frozen=True)
class Grid:
    """Lines of cells under heads. The first column holds names, the others numbers; unknown is "–"."""

    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    title: str = ""
    bold: frozenset[tuple[int, int]] = frozenset()
    """(line, column) of cells that stand out."""

    def __post_init__(self) -> None:
        for line in self.lines:
            if len(line) != len(self.heads):
                raise ValueError(f"a line of {len(line)} cells stands under {len(self.heads)} heads")

    def without_empty_columns(self) -> "Grid":
        """The grid without columns in which no line knows anything."""
        kept = [c for c in range(len(self.heads)) if c == 0 or any(line[c] != UNKNOWN for line in self.lines)]
        return replace(
            self,
            heads=tuple(self.heads[c] for c in kept),
            lines=tuple(tuple(line[c] for c in kept) for line in self.lines),
            bold=frozenset((line, kept.index(c)) for line, c in self.bold if c in kept),
        )


def to_markdown(grid: Grid) -> str:
    """A GitHub table; empty without lines."""
    if not grid.lines:
        return ""
    rule = ("---", *["---:"] * (len(grid.heads) - 1))
    return "".join(_markdown_line(line) for line in (grid.heads, rule, *grid.lines))


def _markdown_line(cells: Sequence[str]) -> str:
    safe = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return "| " + " | ".join(safe) + " |\n"


def fitting(grid: Grid, width: int) -> list[Grid]:
    """The grid in as many parts as it takes for each to fit a terminal of `width` columns; all have the first column,
    and titles say which go on.

    Heads are broken between words. A column that is too wide on its own gets a part to itself.
    """
    cells = [[line[c] for line in grid.lines] for c in range(len(grid.heads))]
    widest = [max(map(len, [*texts, *head.split()]), default=0) for texts, head in zip(cells, grid.heads, strict=True)]
    heads = ["\n".join(textwrap.wrap(head, wide or 1)) for head, wide in zip(grid.heads, widest, strict=True)]
    parts: list[list[int]] = [[0]]
    for column in range(1, len(heads)):
        needed = sum(widest[c] + 3 for c in [*parts[-1], column]) + 1
        if needed > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(column)
    return [
        Grid(
            tuple(heads[c] for c in part),
            tuple(tuple(line[c] for c in part) for line in grid.lines),
            f"{grid.title} (continued)" if number and grid.title else grid.title,
            frozenset((line, part.index(c)) for line, c in grid.bold if c in part),
        )
        for number, part in enumerate(parts)
    ]


def to_rich(grid: Grid) -> Table:
    """A terminal table; markup in names is shown as it is written."""
    table = Table(title=escape_markup(grid.title) or None)
    for number, head in enumerate(grid.heads):
        table.add_column(
            escape_markup(head),
            justify="right" if number else "left",
            no_wrap=number == 0,
            overflow="fold",
        )
    for row, line in enumerate(grid.lines):
        cells = [escape_markup(cell) for cell in line]
        table.add_row(*(f"[bold]{cell}[/bold]" if (row, c) in grid.bold else cell for c, cell in enumerate(cells)))
    return table


def latex_text(text: str) -> str:
    """`text` as LaTeX prints it; a minus before a number becomes a minus sign."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def to_latex(grid: Grid, upright_heads: bool = False) -> str:
    r"""A `tabular` with booktabs rules; `upright_heads` turns the heads of numbers by 90° (needs graphicx)."""
    first, *others = (latex_text(head) for head in grid.heads)
    if upright_heads:
        others = [rf"\rotatebox{{90}}{{{head}}}" for head in others]
    lines = [
        r"\begin{tabular}{l" + "r" * len(others) + "}",
        r"\toprule",
        " & ".join([first, *others]) + r" \\",
        r"\midrule",
    ]
    for row, line in enumerate(grid.lines):
        cells = [latex_text(cell) for cell in line]
        cells = [rf"\textbf{{{cell}}}" if (row, c) in grid.bold else cell for c, cell in enumerate(cells)]
        # An opening bracket after \\ would be read as its optional argument.
        shield = "{}" if cells[0].startswith(("[", "*")) else ""
        lines.append(shield + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_html(
    grid: Grid,
    name: str = "",
    marks: Mapping[str, str] | None = None,
    paint: Callable[[int, int], str] | None = None,
) -> str:
    """A table element whose columns can be sorted by the page's script.

    Args:
        grid: the table; its title becomes the caption.
        name: its CSS class.
        marks: head -> a colour (#rrggbb) shown beside it.
        paint: (line, column) -> a CSS background for the cell, or "".
    """
    marks = marks or {}
    heads = []
    for head in grid.heads:
        mark = f'<i class="mark" style="background:{marks[head]}"></i>' if head in marks else ""
        heads.append(f'<th scope="col"><button type="button">{mark}<span>{html.escape(head)}</span></button></th>')
    body = []
    for row, (first, *others) in enumerate(grid.lines):
        cells = [f'<th scope="row">{html.escape(first)}</th>']
        for column, cell in enumerate(others, 1):
            best = ' class="best"' if (row, column) in grid.bold else ""
            background = paint(row, column) if paint else ""
            style = f' style="background:{background}"' if background else ""
            cells.append(f"<td{best}{style}>{html.escape(cell)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{html.escape(grid.title)}</caption>" if grid.title else ""
    return (
        f'<div class="scroll"><table class="{html.escape(name)}">{caption}<thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
