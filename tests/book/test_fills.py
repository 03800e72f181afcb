"""What pages take from records: the right samples, and a sentence where nothing is recorded."""

import json

import pytest
from repository import ROOT

from book.fills import fill
from gptlib.errors import DataError


@pytest.fixture
def recorded(tmp_path):
    samples = [
        {"prompt": "How ", "text": "How <b>\n\n" + "tale " * 90, "step": step, "val": val}
        for step, val in [(0, 4.0), (10, 3.9), (50, 2.0), (100, 1.0), (200, 0.5), (300, 0.25)]
    ]
    about = {
        "name": "tales-cpu",
        "hardware": {"cpu": "A processor", "threads": 1, "gpu": None},
        "command": "make a tale",
        "result": {"seconds": 5400.0, "tokens_per_s": {"mean": 1234.5, "values": []}},
        "samples": samples,
    }
    folder = tmp_path / "data" / "runs" / "tales-cpu"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(about))
    (tmp_path / "chapters").mkdir()
    return tmp_path


def test_the_descent_shows_five_losses_from_high_to_low(recorded):
    page = fill("<!-- fill: descent tales-cpu -->", recorded)
    shown = [part.partition("<")[0] for part in page.split('<div class="loss">')[1:]]
    assert shown == ["4.00", "2.00", "1.00", "0.50", "0.25"]
    assert "<b>How </b>" in page and "&lt;b&gt;" in page, "the sample is text, not HTML"
    assert "\n\n" not in page, "a blank line would end the block"
    assert page.count("…") == 4, "the last tale is shown to its end"


def test_a_command_is_told_by_its_own_help(tmp_path):
    page = fill("<!-- fill: command data-prepare -->", tmp_path)
    assert "| `--out FOLDER` | where the shards are written |" in page
    assert r"(default &lt;\|endoftext\|>)" in page and "gptlib data prepare stories" in page
    page = fill("<!-- fill: command train -->", tmp_path)
    assert "| `--bias`, `--no-bias` |" in page and "**Saving and going on.**" in page
    assert "let `--resume` change" in page


def test_every_command_stands_in_the_reference():
    from gptlib.cli import COMMANDS

    page = (ROOT / "api" / "commands.md").read_text("utf8")
    for name in COMMANDS:
        assert f"## gptlib {name}" in page and f"<!-- fill: command {name}" in page


def test_what_is_not_recorded_is_said(tmp_path):
    (tmp_path / "chapters").mkdir()
    assert "not recorded yet" in fill("<!-- fill: descent tales-cpu -->", tmp_path)
    assert "in preparation" in fill("<!-- fill: facts 01_bigram -->", tmp_path)
    assert fill("<!-- fill: costs -->", tmp_path) == "No run is recorded yet."


def test_costs_name_machine_time_speed_and_command(recorded):
    machine, *_, row = fill("<!-- fill: costs -->", recorded).splitlines()
    assert machine == "**A processor, 1 thread**"
    assert row == "| `tales-cpu`<br>`make a tale` | 1.5 h | 1,234 |"


def test_chapters_say_what_one_measurement_said(recorded):
    (recorded / "_toc.yml").write_text("parts: [{chapters: [{file: chapters/one}]}]")
    cells = [{"cell_type": "markdown", "source": ["# One\n"]}, {"cell_type": "code"}]
    for stamp, row in [
        ({}, "| not measured | not measured |"),
        ({"seconds": 7}, "| 7 | not measured |"),
        ({"seconds": 7, "gigabytes": 0.4}, "| ½ to 1 | – | – | 7 | 0.4 |"),
    ]:
        notebook = {"cells": cells, "metadata": {"gptlib": stamp}}
        (recorded / "chapters" / "one.ipynb").write_text(json.dumps(notebook))
        assert row in fill("<!-- fill: chapter-costs -->", recorded)


def chapter(*texts: str, code: int = 0, tags: tuple = ()) -> str:
    """A notebook of texts and of one cell of code so many lines long."""
    cells = [{"cell_type": "markdown", "source": [text]} for text in texts]
    lines = ["x = 1\n"] * code
    cells.append({"cell_type": "code", "source": lines, "metadata": {"tags": list(tags)}})
    return json.dumps({"cells": cells, "metadata": {}})


def test_a_readers_hours_are_reckoned_from_words_figures_and_code(recorded):
    one = recorded / "chapters" / "one.ipynb"
    tasks = ["### Exercise 1.1 · A (★, 5 minutes)", "### Exercise 1.2 · B (★★, 15 minutes)"]
    lab = "## Lab: all of it\n\n★★★, 45 to 60 minutes. It needs a CPU."
    one.write_text(chapter("word " * 11_900, *tasks, lab))
    assert fill("<!-- fill: facts one -->", recorded) == (
        '<p class="facts">reading 1 to 1½ hours · 2 exercises, 20 minutes · '
        "a lab, 45 to 60 minutes</p>"
    )
    assert fill("<!-- fill: hours -->", recorded) == (
        "Together they take 1 to 2 hours to read, and 1 more for all exercises and labs."
    )
    folded = "<details>" + "word " * 99_999 + "</details>"
    one.write_text(chapter(folded, "**Figure 1.1.** See.", code=9_999, tags=("solution",)))
    assert fill("<!-- fill: facts one -->", recorded) == (
        '<p class="facts">reading ½ to 1 hour · 1 figure</p>'
    )
    one.write_text(chapter(code=1_440))
    assert "reading 2 to 3 hours" in fill("<!-- fill: facts one -->", recorded)


def test_a_title_is_numbered_and_worded_as_the_contents_are(recorded):
    cells = [{"cell_type": "markdown", "source": ["# A letter that looks back\n", "And so on."]}]
    for name in ("one", "two", "aside"):
        (recorded / "chapters" / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    (recorded / "_toc.yml").write_text(
        "parts: [{numbered: 1, chapters: [{file: chapters/one}, {file: chapters/two}]},"
        " {chapters: [{file: chapters/aside}]}]"
    )
    two, aside = (fill(f"<!-- fill: title {name} -->", recorded) for name in ("two", "aside"))
    assert two == "**[2. A letter that looks back](chapters/two.ipynb)**"
    assert aside == "**[A letter that looks back](chapters/aside.ipynb)**"
    with pytest.raises(DataError, match="no chapter three"):
        fill("<!-- fill: title three -->", recorded)


def test_a_fill_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no fill is called nonsense"):
        fill("<!-- fill: nonsense -->", tmp_path)


def test_what_waits_is_read_from_the_records(tmp_path):
    folder = tmp_path / "data" / "runs" / "novel"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"result": {"not_run": ["large-s42"]}}))
    page = fill("<!-- fill: waiting -->", tmp_path)
    assert "| `novel`<br>" in page and "`large`" in page and "`speedrun-gpu`" in page
    assert "shakespeare-table" not in page, "a plan without a record of its own says nothing"
    rows = [line.split(" | ")[-2:] for line in page.splitlines()[2:]]
    one, all_of_it, gpt2, three, modern, as_published, mended, places, rates, *scenes = rows
    assert gpt2 == ["8.6\u00a0×\u00a010<sup>18</sup>", "237.6 |"]
    hours = [float(row[1].rstrip(" |")) for row in (modern, gpt2, three)]
    assert hours[0] < hours[1] / 4 and hours[2] == pytest.approx(3 * hours[1], rel=1e-3)
    assert one == ["5.8\u00a0×\u00a010<sup>15</sup>", "0.2 |"]
    costs = [float(row[1].rstrip(" |")) for row in (mended, as_published)]
    assert 0 < costs[0] < costs[1], "half as many passes, by a smaller model"
    assert rates[1] == "under 0.1 |" and places[1] == "0.1 |", "six epochs, and seven"
    assert [row[1] for row in scenes] == ["1.2 |", "1.2 |"], "two rates of the same run"
    assert float(all_of_it[1].rstrip(" |")) > 1, "38 runs cost more than one"
    (folder / "record.json").write_text(json.dumps({"result": {"not_run": []}}))
    assert "`novel`" not in fill("<!-- fill: waiting -->", tmp_path)
    assert "`gpt2-modern`" in fill("<!-- fill: waiting -->", tmp_path)
    done = tmp_path / "data" / "runs" / "gpt2-modern"
    done.mkdir()
    (done / "record.json").write_text("{}")
    assert "`gpt2-modern`" not in fill("<!-- fill: waiting -->", tmp_path)
