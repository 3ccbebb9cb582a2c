"""Learning curves: means, ticks, and what the picture holds."""

from xml.etree import ElementTree

import pytest

from da_toolkit.report.curves import COLORS, Curve, curve_svg, style, ticks

CURVE = Curve("a<b", (((10, 20.0), (20, 30.0), (30, 50.0)), ((10, 40.0), (30, 60.0))))


def test_means_are_over_steps_that_all_seeds_share() -> None:
    assert CURVE.mean() == [(10, 30.0), (30, 55.0)]
    assert Curve("x", ()).mean() == [] and Curve("x", ((), ((1, 2.0),))).mean() == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (23.3, 74.8, [20, 30, 40, 50, 60, 70, 80]),
        (5, 5, [5.0, 5.2]),
        (0, 0.31, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected) -> None:
    found = ticks(low, high)
    assert found[0] <= low + 1e-9 and found[-1] >= high - 1e-9
    assert found[: len(expected)] == pytest.approx(expected)


def test_the_picture_has_a_group_a_recipe_with_its_seeds_and_mean() -> None:
    svg = ElementTree.fromstring(curve_svg([CURVE, Curve("one", (((30, 10.0),),))]))
    groups = svg.findall("g")
    assert [group.get("data-curve") for group in groups] == ["0", "1"]
    assert [line.get("class") for line in groups[0].findall("polyline")] == ["seed", "seed", "mean"]
    assert [line.get("class") for line in groups[1].findall("polyline")] == ["mean"]
    told = [title.text for title in groups[0].iter("title")]
    assert told == ["a<b: 30.0 at step 10", "a<b: 55.0 at step 30"]
    (x1, y1), (x2, y2) = [(float(c.get("cx")), float(c.get("cy"))) for c in groups[0].findall("circle")]
    # Axes are linear: 0..30 steps over the width, 10..60 percent over the height, top down.
    assert x1 - 52 == pytest.approx((x2 - 52) / 3, abs=0.1) and y2 < y1


def test_steps_are_told_in_whole_numbers() -> None:
    svg = ElementTree.fromstring(curve_svg([Curve("a", (((1, 40.0), (2, 60.0)),))]))
    assert [text.text for text in svg.findall("text") if text.get("text-anchor") == "middle"] == [
        "0",
        "1",
        "2",
        "optimiser steps",
    ]


def test_without_evaluations_on_the_way_there_is_no_picture() -> None:
    assert curve_svg([]) == "" == curve_svg([Curve("a", (((10, 1.0),), ()))])


def test_every_line_looks_different() -> None:
    assert len({style(number) for number in range(4 * len(COLORS))}) == 4 * len(COLORS)
