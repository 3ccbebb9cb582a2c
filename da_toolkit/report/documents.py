"""Comparisons as whole documents: Markdown, CSV, LaTeX and HTML."""

from collections.abc import Callable, Sequence

from da_toolkit.report.comparison import Comparison, to_csv
from da_toolkit.report.grid import latex_text, to_latex, to_markdown
from da_toolkit.report.html import to_page


def to_markdown_document(comparisons: Sequence[Comparison]) -> str:
    """A section a protocol: scores, classes, choosing, notes."""
    parts = []
    for comparison in comparisons:
        grids = [
            *(comparison.scores(), comparison.classes(), comparison.failing()),
            *(comparison.choosing(), comparison.choices()),
        ]
        parts.append(f"## {comparison.protocol}\n")
        parts += [to_markdown(grid) for grid in grids if grid]
        if comparison.notes:
            parts.append("".join(f"- {note}\n" for note in comparison.notes))
    return "\n".join(parts)


def to_latex_document(comparisons: Sequence[Comparison]) -> str:
    r"""Tables to \input into a paper: scores and classes of each protocol, and how choices without labels do."""
    parts = ["% \\usepackage{booktabs,graphicx}\n"]
    for comparison in comparisons:
        parts.append(_table(to_latex(comparison.scores()), f"{comparison.protocol}: mIoU, percent"))
        upright = to_latex(comparison.classes(), upright_heads=True)
        parts.append(_table(upright, f"{comparison.protocol}: IoU of each class, percent"))
        for grid in (comparison.failing(), comparison.choosing()):
            if grid:
                parts.append(_table(to_latex(grid), grid.title))
        parts += ["".join(f"% {note}\n" for note in comparison.notes)] if comparison.notes else []
    return "\n".join(parts)


def _table(tabular: str, caption: str) -> str:
    """The table in a float, shrunk to the text's width if it is wider."""
    width = "\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi"
    return (
        "\\begin{table}\n\\centering\\small\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{latex_text(caption)}}}\n\\resizebox{{{width}}}{{!}}{{%\n{tabular}}}\n\\end{{table}}\n"
    )


DOCUMENTS: dict[str, Callable[[Sequence[Comparison]], str]] = {
    "markdown": to_markdown_document,
    "csv": to_csv,
    "latex": to_latex_document,
    "html": to_page,
}
FILES = {"markdown": "table.md", "csv": "table.csv", "latex": "table.tex", "html": "index.html"}
