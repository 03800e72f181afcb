"""The page of `gptlib compare`: a prompt, two texts without names, three buttons.

One job: `build_booth`, gradio's components around a `Ballot`. A text is only ever the value of a
text field, never markup. The arrow keys press the buttons. This file imports gradio, and only
`gptlib compare` imports it.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from gptlib.errors import GptlibError
from gptlib.serving.ballot import CHOICES, Ballot

CSS = """
.gradio-container { max-width: 84rem !important; margin: 0 auto; }
#left textarea, #right textarea { font: 1.05rem/1.6 Georgia, "Times New Roman", serif; }
#note { min-height: 1.5rem; }
"""
# A key that is held down repeats; only its first press counts, and none while somebody types.
KEYS = """() => {
  const button = { ArrowLeft: "left", ArrowDown: "tie", ArrowRight: "right" };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea:not([disabled])");
    const name = button[event.key];
    if (!name || typing || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    document.querySelector("#vote-" + name)?.click();
  });
  document.body.dataset.keys = "listening";
}"""
LABELS = {"left": "← Left is better", "tie": "↓ A tie", "right": "Right is better →"}


class Booth:
    """What the page calls.

    Args:
        names: of the two files; they are shown once all votes are cast, and not before.
    """

    def __init__(self, ballot: Ballot, names: tuple[str, str]) -> None:
        self._ballot, self._names = ballot, names

    def show(self) -> list[str]:
        """The pair's key, prompt, left and right text, and a note; empty texts at the end."""
        shown = self._ballot.next()
        if shown is None:
            told = self._ballot.tally().lines(*self._names)
            lines = "".join(f"<p>{html.escape(line)}</p>" for line in told)
            return ["", "", "", "", f"{lines}<p>Every pair has a vote. Ctrl-C in the terminal "
                    "ends this page.</p>"]  # fmt: skip
        note = f"<p>Pair {shown.number} of {self._ballot.total}. Which text is better?</p>"
        return [shown.key, shown.prompt, shown.left, shown.right, note]

    def vote(self, key: str, choice: str) -> list[str]:
        """Keep a vote and show the next pair; what is wrong with one is said in the note."""
        try:
            kept = not key or self._ballot.vote(key, choice)
            note = "" if kept else "<p>That pair had a vote already, which stays.</p>"
        except GptlibError as error:
            note = f"<p>{html.escape(str(error))}</p>"
        *texts, asked = self.show()
        return [*texts, note + asked]


def build_booth(ballot: Ballot, names: tuple[str, str]) -> gr.Blocks:
    """The page as gradio's `Blocks`."""
    booth = Booth(ballot, names)
    quick: dict[str, Any] = {
        "api_visibility": "private", "show_progress": "hidden", "queue": False
    }  # fmt: skip
    with gr.Blocks(title="Which is better? · gptlib", analytics_enabled=False) as page:
        # For scripts: gradio_client's Client(address).predict(key, "left", api_name="/vote")
        gr.api(booth.show, api_name="show")
        gr.api(booth.vote, api_name="vote")
        gr.HTML("<h1>Which text is better?</h1>")
        note = gr.HTML(elem_id="note")
        prompt = gr.Textbox(
            label="What both were asked", lines=3, max_lines=12, interactive=False,
            elem_id="prompt",
        )  # fmt: skip
        with gr.Row():
            left, right = (
                gr.Textbox(
                    label=side, lines=14, max_lines=30, interactive=False, min_width=300,
                    elem_id=side.lower(),
                )
                for side in ("Left", "Right")
            )  # fmt: skip
        key = gr.Textbox(visible=False)
        shown = [key, prompt, left, right, note]
        with gr.Row():
            for choice in sorted(CHOICES, key=list(LABELS).index):
                button = gr.Button(LABELS[choice], min_width=120, elem_id=f"vote-{choice}")
                button.click(_of(booth, choice), key, shown, **quick)
        page.load(booth.show, None, shown, **quick)
        page.load(None, None, None, js=KEYS)
    page.queue(api_open=False, default_concurrency_limit=1)
    return page


def _of(booth: Booth, choice: str) -> Callable[[str], list[str]]:
    def vote(key: str) -> list[str]:
        return booth.vote(key, choice)

    return vote
