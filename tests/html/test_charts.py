"""The positions in charts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.html.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, bar, confusion_matrix, line_chart

numbers = st.floats(-1e6, 1e6).map(lambda number: round(number, 3))


@given(st.lists(st.tuples(numbers, numbers), max_size=30))
def test_lines_and_ticks_lie_inside_the_chart(points):
    chart = line_chart("loss", {"loss": points}, x_label="step")
    places = [tuple(map(float, pair.split(","))) for pair in chart.lines[0].points.split()]
    assert len(places) == len(points)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in chart.x_ticks)
    assert 2 <= len(chart.y_ticks) <= 11


def test_higher_values_lie_higher_and_later_steps_further_right():
    chart = line_chart("accuracy", {"a": [(0, 0.0), (10, 1.0)]}, x_label="step", unit_range=True)
    first, last = (tuple(map(float, pair.split(","))) for pair in chart.lines[0].points.split())
    assert first == (LEFT, HEIGHT - BOTTOM)
    assert last == (WIDTH - RIGHT, TOP)


def test_values_that_are_not_finite_leave_a_line_without_them():
    chart = line_chart("loss", {"loss": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]}, x_label="step")
    assert len(chart.lines[0].points.split()) == 2


@pytest.mark.parametrize("number", [0.005, 1e17, -1e-20, 1e29])
def test_a_number_that_never_changes_lies_between_ticks_around_it(number):
    chart = line_chart("a", {"a": [(0, number), (1, number)]}, x_label="step")
    assert len(chart.y_ticks) >= 2
    low, high = (float(text) for text in (chart.y_ticks[0][1], chart.y_ticks[-1][1]))
    assert low <= number <= high
    assert high - low <= abs(number)


def test_numbers_of_a_run_that_has_diverged_are_left_out():
    chart = line_chart("a", {"a": [(0, 1.0), (1, 1.7e308), (2, -1.7e308), (3, 2.0)]}, x_label="step")
    assert len(chart.lines[0].points.split()) == 2


def test_a_long_line_keeps_its_end():
    chart = line_chart("loss", {"loss": [(i, 1 / (i + 1)) for i in range(5001)]}, x_label="step")
    places = chart.lines[0].points.split()
    assert len(places) < 900
    assert places[-1].startswith(f"{WIDTH - RIGHT}")


def test_marked_points_and_single_points_say_what_they_are():
    chart = line_chart("a", {"test": [(600, 0.5)], "train": [(0, 1.0), (600, 2.0)]}, x_label="step")
    assert [text for *_, text in chart.lines[0].dots] == ["test 0.5 at 600"]
    assert chart.lines[1].dots == ()
    assert len(line_chart("a", {"t": [(0, 1.0), (1, 2.0)]}, x_label="s", marked=["t"]).lines[0].dots) == 2


def test_a_class_without_videos_has_a_bar_without_length():
    found = bar("walk", None)
    assert (found.value, found.low, found.text) == (0.0, None, "no videos")


def test_the_matrix_has_the_cells_with_videos_and_orders_of_the_classes():
    found = confusion_matrix([[1, 3, 0], [0, 2, 0], [0, 0, 5]], ["run", "walk", "wave"])
    assert {cell[:3] for cell in found.cells} == {(0, 0, 0.25), (0, 1, 0.75), (1, 1, 1.0), (2, 2, 1.0)}
    assert "run taken for walk: 3 of 4 videos" in {cell[3] for cell in found.cells}
    assert found.orders["hardest first"][0] == 0
    assert found.orders["most videos first"] == [2, 0, 1]
    assert found.left_out == 0


def test_a_matrix_of_many_classes_keeps_the_cells_with_most_videos():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (200, 200)) + 100 * np.eye(200, dtype=int)
    found = confusion_matrix(counts, [str(i) for i in range(200)])
    assert found.left_out > 0
    assert len(found.cells) + found.left_out == np.count_nonzero(counts)
    assert sum(label == predicted for label, predicted, *_ in found.cells) == 200


@pytest.mark.parametrize("unit", [True, False])
def test_a_chart_of_nothing_can_be_drawn(unit):
    chart = line_chart("loss", {}, x_label="step", unit_range=unit)
    assert chart.lines == ()
    assert chart.y_ticks
