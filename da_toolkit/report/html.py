"""The comparison as one HTML page that needs nothing but itself."""

import html
import json
from collections.abc import Sequence

from da_toolkit.data.labels import LABEL_SPACES
from da_toolkit.report.comparison import Comparison
from da_toolkit.report.curves import curve_of, curve_svg, style
from da_toolkit.report.grid import UNKNOWN, Grid, to_html
from da_toolkit.report.page_assets import SCRIPT, STYLE, VIEWER
from da_toolkit.report.pictures import Album, collect
from da_toolkit.report.runs import Run
from da_toolkit.report.table import ORACLE, classes_of
from da_toolkit.shareable import short_commit

# The browser itself then refuses every request.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def to_page(comparisons: Sequence[Comparison], title: str = "Comparison of runs") -> str:
    """The whole page.

    Args:
        comparisons: at least one; they may share runs.
        title: of the page.

    Raises:
        UserError: a run's picture cannot be read.
    """
    runs = _by_label(comparisons)
    album = collect(runs)
    sections = [_section(comparison, number) for number, comparison in enumerate(comparisons)]
    links = [f'<a href="#p{number}">{_text(c.protocol)}</a>' for number, c in enumerate(comparisons)]
    links += ['<a href="#pictures">pictures</a>'] if album.scenes else []
    recipes = len({run.result["recipe"] for run in runs.values()})
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p class="soft">{recipes} recipes, {len(runs)} runs. The last checkpoint is the result. ± is the sample standard
deviation over seeds; {UNKNOWN} is unknown. The paper's mIoU was measured by its authors and enters no mean, gain or
interval.</p>
<nav>{"".join(links)}<a href="#runs">runs</a></nav>
</header>
<main>
{"".join(sections)}
{_viewer(album, comparisons, runs)}
<h2 id="runs">Runs</h2>
{_details("Where each run came from", to_html(_run_grid(runs), "runs"))}
</main>
<footer>Made by python -m da_toolkit.compare.</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _text(value: object) -> str:
    return html.escape(str(value))


def _by_label(comparisons: Sequence[Comparison]) -> dict[str, Run]:
    """Every run once, by the title it has in lists."""
    return {run.label: run for c in comparisons for row in c.rows for run in c.of(row.recipe)}


def palette_of(classes: Sequence[str]) -> dict[str, str]:
    """Class -> #rrggbb, from the first label space that has all of them; empty for a space of the user's own."""
    for space in LABEL_SPACES.values():
        if set(classes) <= set(space.classes):
            return {name: "#{:02x}{:02x}{:02x}".format(*space.palette[space.index(name)]) for name in classes}
    return {}


def _section(comparison: Comparison, number: int) -> str:
    notes = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
    parts = [
        f'<h2 id="p{number}">{_text(comparison.protocol)}</h2>',
        _scores(comparison),
        f'<ul class="notes">{notes}</ul>' if notes else "",
        "<h3>Classes</h3>",
        _classes(comparison),
        to_html(failing) if (failing := comparison.failing()) else "",
        "<h3>Learning curves</h3>",
        _curves(comparison),
    ]
    choosing, choices = comparison.choosing(), comparison.choices()
    if choosing:
        parts += ["<h3>Choosing without target labels</h3>", to_html(choosing, "choosing")]
    if choices:
        parts.append(_details("What each run would have picked", to_html(choices, "choices")))
    return "\n".join(parts)


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"


def _scores(comparison: Comparison) -> str:
    """The scores, with a bar behind each mIoU."""

    def bar(line: int, column: int) -> str:
        miou = comparison.rows[line].miou
        if grid.heads[column] != "mIoU" or miou is None:
            return ""
        return f"linear-gradient(90deg,var(--bar) {miou:.1f}%,transparent {miou:.1f}%)"

    grid = comparison.scores()
    return to_html(grid, "scores", paint=bar)


def _classes(comparison: Comparison) -> str:
    """The classes; a cell is filled with its class's colour, the stronger the higher its IoU."""

    def fill(line: int, column: int) -> str:
        iou = comparison.rows[line].per_class.get(grid.heads[column])
        color = palette.get(grid.heads[column])
        return f"{color}{round(1.1 * iou):02x}" if color and iou is not None else ""

    grid, palette = comparison.classes(), palette_of(classes_of(comparison.rows))
    return to_html(grid, "classes", palette, fill)


def _curves(comparison: Comparison) -> str:
    rows, protocol = comparison.rows, comparison.protocol
    curves = [curve_of(row.recipe, comparison.of(row.recipe), protocol) for row in rows]
    picture = curve_svg(curves)
    if not picture:
        return '<p class="soft">Not known: no run was scored on its way (--evaluation.every).</p>'
    entries = []
    for number, curve in enumerate(curves):
        color, dash = style(number)
        line = f'<line x1="0" x2="26" y1="5" y2="5" stroke="{color}" stroke-width="3" stroke-dasharray="{dash}"/>'
        entries.append(
            f'<label><input type="checkbox" value="{number}" checked><svg aria-hidden="true">{line}</svg>'
            f"{_text(curve.name)}</label>"
        )
    told = '<p class="soft">Thick: mean over seeds at the steps all of them share. Thin: single seeds.</p>'
    return f'{picture}<div class="legend">{"".join(entries)}</div>{told}'


def _viewer(album: Album, comparisons: Sequence[Comparison], runs: dict[str, Run]) -> str:
    if not album.scenes:
        return '<h2 id="pictures">Pictures</h2><p class="soft">No run kept pictures of its predictions.</p>'
    left, right = _first_pair(comparisons[0])
    data = {"files": album.files, "scenes": album.scenes, "left": left, "right": right}
    classes = dict.fromkeys(name for c in comparisons for name in classes_of(c.rows))
    palette = "".join(
        f'<span><i class="mark" style="background:{color}"></i>{_text(name)}</span>'
        for name, color in palette_of(list(classes)).items()
    )
    content = json.dumps(data).replace("<", "\\u003c")  # so that no name can end the script element
    return f"""<h2 id="pictures">Pictures</h2>
{VIEWER}<div class="palette">{palette}</div>
<script type="application/json" id="album">{content}</script>
"""


def _first_pair(comparison: Comparison) -> tuple[str, str]:
    """What the viewer opens with: the baseline or else the image, and the best other recipe but the oracle."""
    others = [row for row in comparison.rows if row.recipe != comparison.baseline and row.method != ORACLE]
    best = max(others, key=lambda row: row.miou or 0.0, default=None)
    left = comparison.of(comparison.baseline)[0].label if comparison.baseline else "image"
    return left, comparison.of(best.recipe)[0].label if best else "label"


def _run_grid(runs: dict[str, Run]) -> Grid:
    heads = ("run", "method", "precision", "device", "commit", "folder", "command")
    lines = []
    for label, run in runs.items():
        known = {key: str(run.result.get(key) or UNKNOWN) for key in heads}
        known |= {"run": label, "folder": str(run.folder), "commit": short_commit(known["commit"])}
        lines.append(tuple(known[head] for head in heads))
    return Grid(heads, tuple(lines))
