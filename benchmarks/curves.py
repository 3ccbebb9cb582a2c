"""Learning curves of an accuracy matrix as a picture, which `tables.py` draws."""

import html
from pathlib import Path
from typing import Any

from da_toolkit.report.curves import curve_of, curve_svg, style
from da_toolkit.report.runs import Run

_STYLE = (
    "text{font:12px sans-serif}.rule{stroke:#ddd}.seed{stroke-width:.6;opacity:.35}.mean{stroke-width:1.8}"
    ".curves circle{stroke:none}"
)


def svg(results: list[dict[str, Any]], protocol: str) -> str:
    """mIoU of a matrix's recipes against steps, mean and seeds, with a legend in order of the end."""
    runs: dict[str, list[Run]] = {}
    for result in results:
        runs.setdefault(result["recipe"], []).append(Run(Path(), result))
    curves = [curve_of(name, own, protocol) for name, own in runs.items()]
    curves.sort(key=lambda curve: -curve.mean()[-1][1])
    lines = []
    for number, curve in enumerate(curves):
        (color, dash), y = style(number), 26 + 18 * number
        lines.append(
            f'<line x1="0" x2="26" y1="{y}" y2="{y}" stroke="{color}" stroke-dasharray="{dash}" stroke-width="2"/>'
            f'<text x="32" y="{y + 4}">{html.escape(curve.name)} {curve.mean()[-1][1]:.1f}</text>'
        )
    width, height = 1080, max(430, 40 + 18 * len(curves))
    drawn = curve_svg(curves).replace("<svg ", '<svg width="860" height="400" y="24" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/><text x="52" y="16">mIoU, {html.escape(protocol)}</text>'
        f'{drawn}<g transform="translate(866,0)">{"".join(lines)}</g></svg>\n'
    )
