"""One table in four languages, with names that would break each of them."""

import dataclasses
from xml.etree import ElementTree

import pytest
from rich.console import Console

from da_toolkit.report.grid import Grid, fitting, latex_text, to_html, to_latex, to_markdown, to_rich

ODD = r'a_b&c%d$e#f{g}~h^i\j|k<b>"l"</script>[bold]m'
GRID = Grid(("recipe", "mIoU", "gain"), ((ODD, "43.0 ± 2.6", "-1.5"), ("[x] y", "–", "–")), "t_1", frozenset({(0, 1)}))


def printed(table: object, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_lines_must_fit_the_heads() -> None:
    with pytest.raises(ValueError, match="a line of 1 cells stands under 2 heads"):
        Grid(("a", "b"), (("x",),))


def test_empty_columns_go_and_bold_cells_move_along() -> None:
    grid = Grid(("n", "a", "b"), (("x", "–", "1"), ("y", "–", "–")), bold=frozenset({(0, 2)}))
    kept = grid.without_empty_columns()
    assert kept.heads == ("n", "b") and kept.lines == (("x", "1"), ("y", "–")) and kept.bold == {(0, 1)}


def test_markdown_keeps_its_columns() -> None:
    head, rule, first, _ = to_markdown(GRID).splitlines()
    assert head == "| recipe | mIoU | gain |" and rule == "| --- | ---: | ---: |"
    assert first.replace(r"\|", "").count("|") == 4 and "<" not in first
    assert to_markdown(Grid(("a",), ())) == ""


def test_latex_escapes_every_special_sign() -> None:
    assert latex_text(r"a_b&c%d$e#f{g}") == r"a\_b\&c\%d\$e\#f\{g\}"
    assert latex_text("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert latex_text("43.0 ± 2.6 – [-1.5, +2.0] a-1") == r"43.0 $\pm$ 2.6 -- [$-$1.5, +2.0] a-1"
    text = to_latex(GRID)
    assert text.startswith("\\begin{tabular}{lrr}\n\\toprule\nrecipe & mIoU & gain \\\\\n\\midrule\n")
    assert r"\textbf{43.0 $\pm$ 2.6} & $-$1.5 \\" in text
    assert "{}[x] y & -- & -- \\\\\n\\bottomrule\n\\end{tabular}\n" in text
    assert r"\rotatebox{90}{mIoU}" in to_latex(GRID, upright_heads=True)


def test_html_shows_names_as_they_are_written() -> None:
    page = ElementTree.fromstring(to_html(GRID, "scores", {"mIoU": "#010203"}, lambda line, column: "red" * line))
    first = page.findall(".//tbody/tr")[0]
    assert "".join(first.find("th").itertext()) == ODD
    assert [cell.text for cell in first.findall("td")] == ["43.0 ± 2.6", "-1.5"]
    assert [cell.get("class") for cell in first.findall("td")] == ["best", None]
    assert [cell.get("style") for cell in page.iter("td")] == [None, None, "background:red", "background:red"]
    assert page.find(".//thead//i").get("style") == "background:#010203"
    assert page.find(".//caption").text == "t_1"


def test_terminal_shows_markup_as_text() -> None:
    text = printed(to_rich(GRID))
    assert "[bold]m" in text and "[x] y" in text and "43.0 ± 2.6" in text


def test_wide_tables_come_in_parts_that_fit() -> None:
    heads = ("class", *(f"method number {n} gta" for n in range(9)))
    grid = Grid(heads, (("road", *(str(n) for n in range(9))),), bold=frozenset({(0, 8)}))
    parts = fitting(grid, 40)
    assert len(parts) > 1 and all(part.heads[0] == "class" and part.lines[0][0] == "road" for part in parts)
    assert [cell for part in parts for cell in part.lines[0][1:]] == [str(n) for n in range(9)]
    assert [part.lines[line][c] for part in parts for line, c in part.bold] == ["7"]
    titled = fitting(dataclasses.replace(grid, title="scores"), 40)
    assert [part.title for part in titled] == ["scores", *["scores (continued)"] * (len(parts) - 1)]
    assert {part.title for part in parts} == {""}
    for part in parts:
        lines = printed(to_rich(part), width=40).splitlines()
        assert max(map(len, lines)) <= 40 and "…" not in "".join(lines)
    assert len(fitting(grid, 400)) == 1
