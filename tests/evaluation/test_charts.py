from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_maral.evaluation.report.charts import (
    Curve,
    Points,
    Series,
    bar_chart,
    heat_map,
    histogram,
    line_chart,
    scatter,
)
from spacy_maral.evaluation.report.svg import (
    LINE_HEIGHT,
    N_COLOURS,
    clean,
    colour_class,
    short,
    spread,
    ticks,
)

NASTY = "<script>alert('1 & 2')</script>\"\x00\x1b\ud800"


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.attrib["role"] == "img"
    assert root.find("title").text and root.find("desc") is not None
    return root


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


def points_of(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]


def of_class(root: ElementTree.Element, css: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if css in e.attrib.get("class", "").split()]


# lines


def test_a_line_goes_through_its_values():
    root = parsed(line_chart("T", [1, 2, 3], [Series("a", [0, 5, 10], 2)], y_range=(0, 10)))
    (line,) = of_class(root, "line")
    assert "s2" in line.attrib["class"].split()
    (x1, y1), (x2, y2), (x3, y3) = points_of(line.find("polyline"))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert (y1, y2, y3) == (height - 26, (height - 26 + 12) / 2, 12)
    assert x1 == 46 and x2 == pytest.approx((x1 + x3) / 2, abs=0.01) and x2 < x3 < width
    marks = [numbers(c, "cx", "cy") for c in line.iter("circle")]
    assert marks == [[x1, y1], [x2, y2], [x3, y3]]
    assert line.find("circle/title").text == "a, epoch 1: 0"


def test_missing_values_break_a_line():
    values = [1, 2, None, 4, None, 6, 7]
    root = parsed(line_chart("T", range(1, 8), [Series("a", values)]))
    assert [len(points_of(p)) for p in of_class(root, "line")[0].iter("polyline")] == [2, 2]
    assert len(list(root.iter("circle"))) == 5
    nothing = parsed(line_chart("T", [1, 2], [Series("a", [None, None])]))
    assert not list(nothing.iter("circle")) and not of_class(nothing, "label")


def test_one_epoch_is_a_point():
    root = parsed(line_chart("T", [7], [Series("a", [0.5]), Series("b", [0.5])], marked=7))
    assert len(list(root.iter("circle"))) == 2 and not list(root.iter("polyline"))
    assert not of_class(root, "marked")
    assert "7" in [t.text for t in of_class(root, "tick")]


def test_reference_and_marked_epoch():
    chart = line_chart(
        "T", [1, 2, 3], [Series("a", [1, 2, 3])], reference=(2.0, "optimum"), marked=2
    )
    root = parsed(chart)
    (line,), (marked,) = of_class(root, "ref"), of_class(root, "marked")
    _, middle, _ = points_of(root.find("g/polyline"))
    assert numbers(line, "y1", "y2") == [middle[1]] * 2
    assert numbers(marked, "x1", "x2") == [middle[0]] * 2
    assert "optimum" in [t.text for t in of_class(root, "note")]
    far = parsed(line_chart("T", [1, 2], [Series("a", [1, 2])], reference=(-9.0, "far")))
    (y,) = numbers(of_class(far, "ref")[0], "y1")
    assert 0 < y < 210


def test_names_at_the_ends_do_not_overlap():
    series = [Series(f"name {i}", [0.0, 1 + i / 1000]) for i in range(7)]
    root = parsed(line_chart("T", [1, 2], series))
    labels = of_class(root, "label")
    assert [label.text for label in labels] == [f"name {i}" for i in reversed(range(7))]
    heights = [float(label.attrib["y"]) for label in labels]
    assert all(b - a >= LINE_HEIGHT - 0.11 for a, b in itertools.pairwise(heights))


@given(st.lists(st.floats(0, 200), max_size=12).map(sorted))
def test_spread_keeps_order_distance_and_borders(heights):
    placed = spread(heights, 0.0, 200.0)
    assert len(placed) == len(heights)
    for a, b in itertools.pairwise(placed):
        assert b - a >= LINE_HEIGHT - 1e-6
    assert all(-1e-6 <= height <= 200 + 1e-6 for height in placed)
    if all(b - a >= LINE_HEIGHT for a, b in itertools.pairwise(heights)):
        assert placed == heights


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_round_and_within(low, span, wanted):
    places = ticks(low, low + span, wanted)
    assert 1 <= len(places) <= wanted + 2
    tolerance = 1e-6 * max(1.0, abs(low), span)
    assert all(low - tolerance <= place <= low + span + tolerance for place in places)
    if len(places) > 1:
        step = places[1] - places[0]
        lead = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(lead - round_) for round_ in (1, 2, 5, 10)) < 1e-3


def test_numbers_in_few_characters():
    shown = [short(x) for x in (0, 3, 12_345, 2.5e6, -0.25, 0.041234)]
    assert shown == ["0", "3", "12.3k", "2.5M", "−0.25", "0.0412"]
    assert ticks(3, 3) == [3]
    assert [colour_class(c) for c in (0, 1, N_COLOURS, N_COLOURS + 1)] == ["s0", "s1", "s7", "s1"]


# the other charts


def test_bars_of_a_histogram_stand_on_each_other():
    root = parsed(
        histogram(
            "T", [0.0, 1.0, 2.0, 4.0], [("right", [1, 0, 4], "s1"), ("wrong", [2, 1, 0], "wrong")],
            curves=[Curve([(0.0, 0.0), (4.0, 4.0)], "low")], cut=2.0,
        )
    )  # fmt: skip
    right, wrong = of_class(root, "s1"), of_class(root, "wrong")
    assert (len(right), len(wrong)) == (2, 2)  # empty bins have no bar
    unit = float(right[0].attrib["height"])
    heights = [float(bar.attrib["height"]) for bar in (*right, *wrong)]
    assert [h / unit for h in heights] == pytest.approx([1, 4, 2, 1], abs=0.01)
    y, height, below = *numbers(wrong[0], "y", "height"), float(right[0].attrib["y"])
    assert y + height == pytest.approx(below, abs=0.02)
    widths = [float(bar.attrib["width"]) + 0.6 for bar in right]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)
    (start, end) = points_of(of_class(root, "low")[0])
    assert start[0] == float(right[0].attrib["x"])
    assert end[1] == pytest.approx(float(right[1].attrib["y"]), abs=0.02)
    (cut,) = of_class(root, "cut")
    assert float(cut.attrib["x1"]) == float(right[1].attrib["x"])
    assert right[1].find("title").text == "right: 4 from 2 to 4"
    assert not of_class(parsed(histogram("T", [0, 1], [("n", [1], "s0")], cut=5.0)), "cut")


def test_cells_are_as_strong_as_their_values():
    table = [[1.0, -0.5], [None, 9.0]]
    root = parsed(heat_map("T", ["a", "b"], table, strengths=table, axes=("gold", "found")))
    cells = of_class(root, "cell")
    assert [("neg" in c.attrib["class"]) for c in cells] == [False, True, False, False]
    opacity = [float(c.attrib["fill-opacity"]) for c in cells]
    assert opacity == pytest.approx([0.6, 0.33, 0.06, 0.6])
    assert [t.text for t in of_class(root, "value")] == ["1", "−0.5", "–", "9"]
    assert cells[1].find("title").text == "a, b: −0.5"
    x, y = zip(*(numbers(c, "x", "y") for c in cells), strict=True)
    assert x[:2] == x[2:] and x[0] < x[1] and y[0] == y[1] < y[2] == y[3]
    assert {"gold ↓", "found →"} <= {t.text for t in of_class(root, "note")}


def test_points_lie_where_they_should():
    groups = [
        Points("source A", [(-2.0, 0.0), (2.0, 4.0)], ["p", NASTY], 1, "circle"),
        Points("target A", [(0.0, 2.0)], ["q"], 1, "diamond"),
    ]
    root = parsed(scatter("T", groups))
    circles = [numbers(c, "cx", "cy") for c in root.iter("circle")]
    assert circles == [[12, 508], [748, 12]]
    (path,) = root.iter("path")
    assert path.attrib["d"].startswith("M380.0 256.0l")  # four above the middle, 260
    assert root.find("desc").text == "2 source A, 1 target A"
    assert parsed(scatter("T", [])) is not None


def test_bars_are_as_long_as_their_values():
    root = parsed(bar_chart("T", [("one", 1, 1), ("three", 3, 9)]))
    widths = [float(bar.attrib["width"]) for bar in of_class(root, "solid")]
    assert widths[1] == pytest.approx(3 * widths[0], rel=1e-3)
    assert "s2" in of_class(root, "solid")[1].attrib["class"]
    assert [t.text for t in of_class(root, "value")] == ["1", "3"]
    empty = parsed(bar_chart("T", [("none", 0, 1)]))
    assert float(of_class(empty, "solid")[0].attrib["width"]) == 1


# text from data


def test_text_is_escaped_and_kept():
    expected = "<script>alert('1 & 2')</script>\"  ?"
    charts = [
        line_chart(NASTY, [1, 2], [Series(NASTY, [1, 2])], reference=(1, NASTY)),
        histogram(NASTY, [0, 1], [(NASTY, [3], "s1")]),
        heat_map(NASTY, [NASTY], [[1.0]], strengths=[[1.0]], axes=(NASTY, NASTY)),
        scatter(NASTY, [Points(NASTY, [(0, 0)], [NASTY], 1, "circle")]),
        bar_chart(NASTY, [(NASTY, 1, 1)]),
    ]
    for chart in charts:
        assert "<script" not in chart
        assert parsed(chart).find("title").text == expected
    assert clean(NASTY).isprintable()
