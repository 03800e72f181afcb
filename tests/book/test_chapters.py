"""The chapters' notebooks: executed, equal to their text twins, fresh, and fit to be read."""

import getpass
import re
from copy import deepcopy

from book.folding import fold_setup, hide_answers
from book.machines import GUARDS
from book.notebooks import convert, setup_cell, stale
from book.publish import repository_url

PATH = re.compile(r"(?<![\w.])/(home|root|tmp|usr|opt|work|mnt|Users|content)/|\b[A-Z]:\\\\?\w")


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def shown_text(output) -> str:
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join([output.ename, output.evalue, *output.traceback])
    return "\n".join(text for kind, text in output.data.items() if kind.startswith("text/"))


def test_every_code_cell_was_executed_in_order(chapter):
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))


def test_the_text_twin_and_the_notebook_are_equal(source, chapter):
    def essence(notebook):
        return [(cell.cell_type, cell.source, sorted(tags(cell))) for cell in notebook.cells]

    assert essence(chapter) == essence(convert(source))


def test_the_notebook_was_made_from_this_source_and_this_lock(source, root):
    assert not stale(source, root), f"run `make notebooks`: {source.stem} is stale"


def test_the_notebook_was_tried_on_other_machines_and_keeps_to_its_budget(source, chapter):
    stamped = chapter.metadata["gptlib"]
    assert stamped.get("machines") == list(GUARDS), f"run `make notebooks`: {source.stem}"
    assert stamped["seconds"] <= 90, "a chapter has 90 seconds of one thread"
    row = re.search(r"^\| `cpu`, one thread \| (.+) \| (.+) GB \|$", source.read_text("utf8"), re.M)
    minutes, gigabytes = map(float, row.groups())
    assert abs(minutes - stamped["seconds"] / 60) < 0.06, "the card says what was measured"
    assert gigabytes == stamped["gigabytes"], "the card says what was measured"


def test_the_first_code_cell_is_the_set_up(chapter, root):
    first = code_cells(chapter)[0]
    assert first.source == setup_cell(repository_url(root))
    assert "setup" in tags(first) and not first.outputs


def test_no_output_names_a_machine_or_holds_a_warning(chapter):
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""  # an account without a name
    for cell in code_cells(chapter):
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in tags(cell), cell.source
            assert output.get("name") != "stderr", output.get("text")
            text = shown_text(output)
            assert not PATH.search(text), text
            assert "Warning" not in text, text
            assert len(user) < 5 or user not in text, text


def test_every_picture_carries_alt_text_and_a_numbered_caption(chapter, source):
    pictures = 0
    for cell in code_cells(chapter):
        for output in cell.outputs:
            assert "image/png" not in output.get("data", {}), "a page's colors reach no PNG"
            if "image/svg+xml" in output.get("data", {}):
                pictures += 1
                alt = output.metadata.get("image/svg+xml", {}).get("alt", "")
                assert len(alt) >= 20, f"alt text too short to tell anything: {alt!r}"
                assert output.data.get("text/plain") == alt
    prose = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    numbers = re.findall(r"^\*\*Figure ([^.]+\.\d+)\.\*\*", prose, re.M)
    stem = source.stem.partition("_")[0]
    chapter_number = str(int(stem)) if stem.isdigit() else stem.upper()  # 0, 1, …, A2
    assert numbers == [f"{chapter_number}.{k}" for k in range(1, len(numbers) + 1)]
    assert pictures <= len(numbers), "a picture without a caption"


def test_few_outputs_are_ignored_and_each_is_followed_by_an_assertion(chapter):
    cells = code_cells(chapter)
    ignored = [n for n, cell in enumerate(cells) if "nbval-ignore-output" in tags(cell)]
    assert 5 * len(ignored) <= len(cells), f"{len(ignored)} of {len(cells)} outputs are ignored"
    for n in ignored:
        assert n + 1 < len(cells) and "assert" in cells[n + 1].source, cells[n].source
    assert not any("nbval-skip" in tags(cell) for cell in cells)


def test_code_fits_the_page(chapter):
    for cell in code_cells(chapter):
        for line in cell.source.splitlines():
            limit = 78 if "setup" not in tags(cell) else 90
            assert len(line) <= limit, f"{len(line)} columns: {line}"


def test_every_exercise_has_a_stub_a_hint_and_a_solution_that_passes(chapter):
    prose = [cell.source for cell in chapter.cells if cell.cell_type == "markdown"]
    exercises = re.findall(r"^### Exercise (\S+)", "\n".join(prose), re.M)
    asked = exercises + re.findall(r"^### Step (\d)", "\n".join(prose), re.M)  # of a lab
    stubs = [cell for cell in code_cells(chapter) if "exercise" in tags(cell)]
    solutions = [cell for cell in code_cells(chapter) if "solution" in tags(cell)]
    assert len(exercises) >= 4 and len(stubs) >= 4
    assert len(solutions) == len(stubs) == len(asked)
    assert "\n".join(prose).count("<summary>Hint") >= len(asked)
    for cell in stubs:
        assert "○" in shown_text(cell.outputs[-1]), "a stub's check says that it is not written"
    for cell in solutions:
        assert cell.source.startswith("# @title Solution")
        assert cell.metadata.get("cellView") == "form" and "hide-cell" in tags(cell)
        assert "✓" in shown_text(cell.outputs[-1]), cell.source


def test_prose_is_plain_markdown(chapter):
    """A chapter is read on GitHub and in Colab too, which know no MyST."""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            assert not re.search(
                r"^(```|:::)\{|\{(ref|doc|numref|cite\w*|term)\}`", cell.source, re.M
            )
            assert cell.source.count("<details>") == cell.source.count("</details>")


def test_no_placeholder_is_left_in_the_prose(chapter):
    prose = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    left = re.findall(r"\b[A-Z]{3,}_[A-Z_]+\b|\bTODO\b|\bTBD\b|\?\?\?", prose)
    left = [word for word in left if word not in ("OMP_NUM_THREADS", "GPTLIB_DATA")]
    assert not left, f"still to be written: {', '.join(left)}"


def test_the_notebook_folds_its_set_up_and_the_answers_to_its_predictions(chapter):
    folded = deepcopy(chapter)
    fold_setup(folded)
    hide_answers(folded)
    assert folded == chapter, "run `make notebooks`"
