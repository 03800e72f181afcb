"""Tables: two twins with the same digits, aligned by kind, and one clear error for bad rows."""

import pytest
import torch
from bs4 import BeautifulSoup

from gptlib.course.tables import Table
from gptlib.errors import ConfigError


def html(table: Table) -> BeautifulSoup:
    return BeautifulSoup(table._repr_html_(), "html.parser")


def cells(table: Table) -> list[list[str]]:
    rows = html(table).select("tr")
    texts = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]
    return [[text.replace("\u2007", " ").replace("\u00a0", " ") for text in row] for row in texts]


def test_a_dict_of_columns_is_a_table():
    table = Table({"steps": [100, 2000], "loss, nats": [2.4713, 12.1042]})
    assert repr(table) == (
        "steps  loss, nats\n"
        "-----  ----------\n"
        "  100       2.471\n"
        "2,000      12.104"
    )  # fmt: skip
    assert cells(table) == [["steps", "loss, nats"], ["100", "2.471"], ["2,000", "12.104"]]


def test_rows_may_be_dicts_or_tuples_or_tensors():
    named = Table([{"a": "x", "b": 1}, {"b": 2}])
    assert cells(named) == [["a", "b"], ["x", "1"], ["–", "2"]]
    assert cells(Table([("x", 1), (None, 2)], ["a", "b"])) == cells(named)
    assert cells(Table([{"a": 0, "b": 1, "c": 2}], ["c", "b"])) == [["c", "b"], ["2", "1"]]
    columns = {"n": torch.arange(2), "loss": torch.tensor([0.5, 0.25])}
    assert cells(Table(columns, digits=2)) == [["n", "loss"], ["0", "0.50"], ["1", "0.25"]]


def test_a_column_is_written_as_it_was_asked_for():
    row = {"name": "x", "loss": 1.23456, "share": 0.1234, "size": 1234567, "how": 3, "fits": True}
    digits = {"loss": 1, "share": "{:.1%}", "how": lambda n: "#" * n, "size": "{:.1e}"}
    assert cells(Table([row], digits=digits))[1] == ["x", "1.2", "12.3%", "1.2e+06", "###", "yes"]


def test_what_is_missing_negative_or_without_end_is_told_apart():
    values = [None, -0.5, float("inf"), float("nan")]
    assert [row[0] for row in cells(Table({"x": values}, digits=1))[1:]] == [
        "–",
        "−0.5",
        "∞",
        "nan",
    ]
    assert cells(Table({"name": ["in-between", "info"]}))[1:] == [["in-between"], ["info"]]


def test_what_rounds_to_zero_has_no_sign():
    """It is a matter of the last digits on which side of zero a sum ends."""
    table = Table({"x": [-4e-16, -0.004, -0.006, (-1e-9, 0.1)]}, digits=2)
    assert [row[0].split()[0] for row in cells(table)[1:]] == ["0.00", "0.00", "−0.01", "0.00"]


def test_spreads_stand_under_one_another():
    table = Table({"loss": [(0.5, 0.01), (10.25, None), 1.0, (2.0, 10.5)]}, digits=2)
    plain = repr(table).splitlines()[2:]
    assert plain == [" 0.50 ±  0.01", "10.25", " 1.00", " 2.00 ± 10.50"]
    shown = [row[0] for row in cells(table)[1:]]
    assert shown == ["0.50 ±  0.01", "10.25        ", "1.00        ", "2.00 ± 10.50"]
    assert {text.index(".") - len(text) for text in shown} == {-11}
    assert "\u2007" in table._repr_html_() and "\u2007" not in repr(table)


def test_numbers_stand_right_and_text_left_in_both():
    table = Table({"run": ["a", "longer"], "n": [1, 22]})
    assert repr(table).splitlines()[2] == "a        1"
    for row in html(table).select("tr"):
        sides = [cell["style"] for cell in row.find_all(["th", "td"])]
        assert sides == ["text-align: left", "text-align: right"]


def test_heads_name_columns_and_rows_for_a_screen_reader():
    table = Table({"run": ["a"], "seed": [1], "loss, nats": [2.0]}, heads=2, caption="Two & more")
    page = html(table)
    assert [head["scope"] for head in page.find_all("th")] == ["col"] * 3 + ["row"] * 2
    assert page.caption.get_text() == "Two & more"
    assert page.select_one("th .unit").get_text() == ", nats"

    frame = page.select_one(".table-frame[tabindex='0'][role=region]")
    assert frame["aria-label"] == "Two & more"
    assert html(Table({"a": [1]}, alt="One number")).div["aria-label"] == "One number"
    assert html(Table({"a": [1], "b, s": [2]})).div["aria-label"] == "Table: a; b, s"
    assert repr(table).startswith("Two & more\nrun  seed")


def test_text_is_text_and_not_html():
    table = Table({"<b>": ["<script>&"], "n": ['"']}, alt='a "quoted" <word>')
    assert cells(table) == [["<b>", "n"], ["<script>&", '"']]
    assert html(table).div["aria-label"] == 'a "quoted" <word>'


@pytest.mark.parametrize("highlight", [-1, 1, [1], [-1, 1]])
def test_a_row_stands_out_in_both(highlight):
    table = Table({"n": [1, 2], "loss": [0.5, 0.25]}, highlight=highlight)
    assert [row.get("class") for row in html(table).select("tbody tr")] == [None, ["picked"]]
    assert len(html(table).select("strong")) == 2
    assert [line.endswith(" *") for line in repr(table).splitlines()[2:]] == [False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Table({"a": [1], "b": [1, 2]}), "'a' has 1, 'b' has 2"),
        (lambda: Table([]), "found no row"),
        (lambda: Table({}), "found no row"),
        (lambda: Table([(1, 2)]), "columns="),
        (lambda: Table([(1, 2)], ["a"]), "row 0 has 2 values"),
        (lambda: Table([{"loss": 1}], ["los"]), "did you mean loss"),
        (lambda: Table({"loss": [1]}, digits={"los": 2}), "did you mean loss"),
        (lambda: Table({"loss": [1]}, highlight=1), "has 1 rows"),
    ],
)
def test_a_table_that_cannot_be_is_one_error(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_only_a_unit_is_set_as_one():
    heads = ["windows, seen", "20, 40", "time, ms a step", "steps, as published", "work, TFLOP/s"]
    heads += ["steps that read as much", "s"]  # nothing stands before the unit
    page = html(Table([tuple(range(7))], heads))
    assert [unit.get_text() for unit in page.select("th .unit")] == [", ms a step", ", TFLOP/s"]
