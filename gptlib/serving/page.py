"""The page: its fields, its buttons, and what each of them does.

One job: `build_page`, which lays gradio's components out around a `Desk`. What a reader or a model
wrote is only ever the value of a text field or is escaped, never markup. This file alone imports
gradio, and only `gptlib serve` imports this file.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from gptlib.errors import GptlibError
from gptlib.serving.asked import DEFAULTS, NAMES, SEEDS, Asked, asked, from_query, to_query
from gptlib.serving.desk import Desk, Text

#: What the sliders show: lowest, highest, step, label, and what it does.
SLIDERS = {
    "temperature": (0, 2, 0.05, "temperature", "0 takes the likeliest, 1 follows the model"),
    "top_k": (0, 200, 1, "top k", "from the k likeliest only; 0 for all"),
    "top_p": (0.05, 1, 0.01, "top p", "from the likeliest that reach p together; 1 for all"),
    "min_p": (0, 1, 0.01, "min p", "at least so many times as likely as the likeliest"),
    "typical_p": (0.05, 1, 0.01, "typical p", "as surprising as expected; 1 for all"),
    "repetition_penalty": (1, 2, 0.05, "repetition penalty", "on what stands there; 1 for none"),
    "presence_penalty": (-2, 2, 0.1, "presence penalty", "on what was written; 0 for none"),
    "frequency_penalty": (-2, 2, 0.1, "frequency penalty", "for each time it was; 0 for none"),
    "no_repeat_ngram_size": (0, 10, 1, "no repeated n-gram", "n tokens never twice; 0 for any"),
}
CSS = """
.gradio-container { max-width: 76rem !important; margin: 0 auto; }
#text textarea { font: 1.1rem/1.6 Georgia, "Times New Roman", serif; }
#note { min-height: 1.5em; }
"""
# A browser hands a page's script the clipboard only at a safe address, such as this machine's own.
COPY = """(query) => {
  const link = window.location.origin + window.location.pathname + (query ? "?" + query : "");
  window.history.replaceState(null, "", link);
  if (navigator.clipboard) navigator.clipboard.writeText(link).catch(() => {});
  return link;
}"""


def build_page(desk: Desk, name: str, workers: int = 1, waiting: int = 20) -> gr.Blocks:
    """The page as gradio's `Blocks`.

    Args:
        name: the run's name, for the heading. workers: texts that grow at a time.
        waiting: readers who may wait for their turn; those who come later are told so.
    """
    with gr.Blocks(title=f"{name} · gptlib", analytics_enabled=False) as page:
        fields: dict[str, Any] = {}
        gr.HTML(f"<h1>Write with {html.escape(name)}</h1>")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                if desk.marked:
                    fields["title"] = gr.Textbox(label="Title", max_lines=1, elem_id="title")
                if desk.genres:
                    choices = [("the model's choice", ""), *((g, g) for g in desk.genres)]
                    fields["genre"] = gr.Dropdown(choices, value="", label="Genre", elem_id="genre")
                fields["opening"] = gr.Textbox(label="Opening", lines=3, elem_id="opening")
                with gr.Row():
                    write = gr.Button("Write", variant="primary", elem_id="write")
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
                    again = gr.Button("Again with this seed", elem_id="again")
                text = gr.Textbox(
                    label="Text", lines=14, max_lines=30, interactive=False, elem_id="text"
                )
                note = gr.HTML(elem_id="note")
            with gr.Column(scale=2, min_width=300):
                likely = gr.Label(
                    label="What comes next, as these settings draw it", num_top_classes=10,
                    show_heading=False, elem_id="likely",
                )  # fmt: skip
                fields |= _settings(desk)
                with gr.Row():
                    copy = gr.Button("Copy link", elem_id="copy")
                link = gr.Textbox(label="Link to these settings", interactive=False, elem_id="link")
                query = gr.Textbox(visible=False)

        inputs = [fields[name] for name in NAMES if name in fields]
        names = [name for name in NAMES if name in fields]
        calls = Calls(desk, names)
        shown = [text, note, likely]
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        slow: dict[str, Any] = {
            "concurrency_limit": workers, "concurrency_id": "write", "show_progress": "hidden",
            "trigger_mode": "once",
        }  # fmt: skip
        private: dict[str, Any] = {"api_visibility": "private"}
        keys = [write.click, *([fields["title"].submit] if desk.marked else [])]
        written = [
            key(calls.come, None, note, **quick, **private).then(
                calls.write, inputs, shown, **slow, **(private if number else {"api_name": "write"})
            )
            for number, key in enumerate(keys)
        ]
        written.append(
            again.click(calls.come, None, note, **quick, **private).then(
                calls.again, inputs, shown, **slow, **private
            )
        )
        stop.click(calls.stop, inputs, shown, cancels=written, **quick, **private)
        moved = [fields[name].input for name in SLIDERS]
        gr.on(
            moved, calls.look, inputs, likely, trigger_mode="always_last", show_progress="hidden",
            concurrency_limit=1, **private,
        )  # fmt: skip
        copy.click(calls.query, inputs, [query, note], **quick, **private).then(
            None, query, link, js=COPY, **private
        )
        page.load(calls.opened, None, [*inputs, note], **quick, **private)
        page.unload(calls.gone)
    page.queue(max_size=waiting, api_open=False, default_concurrency_limit=1)
    return page


def _settings(desk: Desk) -> dict[str, Any]:
    """The sliders, and the fields below them."""
    fields: dict[str, Any] = {}
    with gr.Accordion("How it is drawn", open=True):
        for name, (low, high, step, label, about) in SLIDERS.items():
            if name == "top_k":
                high = min(high, desk.model.config.known_ids)
            fields[name] = gr.Slider(
                low, high, DEFAULTS[name], step=step, label=label, info=about, elem_id=name
            )
    with gr.Accordion("Where it ends, and its seed", open=True):
        most = desk.limits.tokens
        fields["max_new_tokens"] = gr.Slider(
            0, most, min(DEFAULTS["max_new_tokens"], most), step=1, label="tokens at most",
            elem_id="max_new_tokens",
        )  # fmt: skip
        fields["seed"] = gr.Number(
            None, label="seed", info="empty for another text every time", precision=0, minimum=0,
            maximum=SEEDS - 1, elem_id="seed",
        )  # fmt: skip
        fields["stop"] = gr.Textbox(
            label="end before", info="a text in each line", lines=1, max_lines=5, elem_id="stop-at"
        )
    return fields


class Calls:
    """What the page's events call; `names` are the fields that it has, in their order."""

    def __init__(self, desk: Desk, names: list[str]) -> None:
        self.desk, self.names = desk, names

    def come(self, request: gr.Request) -> str:
        """Before a text is waited for."""
        self.desk.come(_who(request))
        return _status("Waiting for the model …")

    def write(self, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """Write a text, and show it as it grows."""
        yield from self._writing(_who(request), values, None)

    def again(self, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """Write with the seed of the text that was written last."""
        last = self.desk.last(_who(request))
        yield from self._writing(_who(request), values, None if last is None else last.seed)

    def stop(self, request: gr.Request, *values: Any) -> tuple:
        """End the text at this token, and show it."""
        text = self.desk.halt(_who(request))
        if text is None:
            return gr.skip(), _status("Nothing is being written."), gr.skip()
        text.ended = text.ended or "It was stopped"
        return self._shown(text, values)

    def look(self, request: gr.Request, *values: Any) -> Any:
        """The next token's probabilities under the settings as they are now."""
        text = self.desk.last(_who(request))
        return gr.skip() if text is None else self._likely(text, values)

    def query(self, request: gr.Request, *values: Any) -> tuple[str, str]:
        """The link's query, with the seed of the text that is shown."""
        try:
            what = self._asked(values)
        except GptlibError as error:
            return "", _status(str(error))
        text = self.desk.last(_who(request))
        if what.seed is None and text is not None:
            what = replace(what, seed=text.seed)
        query, note = to_query(what)
        return query, _status(note or "The link has these settings; it stands in the address too.")

    def opened(self, request: gr.Request) -> list:
        """The fields as the page's link asks for them."""
        what, notes = from_query(str(request.query_params or ""))
        if what.genre and what.genre not in self.desk.genres:
            notes.append(f"Of the link, the genre {what.genre[:40]!r} is none of this model's.")
            what = replace(what, genre="")
        absent = [n for n in NAMES if n not in self.names and getattr(what, n) != DEFAULTS[n]]
        if absent:
            notes.append(f"Of the link, this model has no {' and no '.join(absent)}.")
        return [*(getattr(what, name) for name in self.names), _status(" ".join(notes))]

    def gone(self, request: gr.Request) -> None:
        """A tab was closed, or its connection is lost."""
        self.desk.halt(_who(request))

    def _asked(self, values: tuple) -> Asked:
        return asked(dict(zip(self.names, values, strict=True)))

    def _writing(self, who: str, values: tuple, seed: int | None) -> Iterator[tuple]:
        try:
            what = self._asked(values)
            what = what if seed is None else replace(what, seed=seed)
            for text in self.desk.write(who, what):
                yield self._shown(text, values)
        except GptlibError as error:
            yield gr.skip(), _status(str(error)), gr.skip()

    def _shown(self, text: Text, values: tuple) -> tuple:
        """The text, what is said of it, and what could come next where it has ended."""
        said = [f"{len(text.new):,} tokens in {text.seconds:.1f} s, seed {text.seed}."]
        said += [f"{text.ended}."] if text.ended else []
        said += [text.note] if text.note else []
        likely = self._likely(text, values) if text.ended else gr.skip()
        return text.text, _status(" ".join(said)), likely

    def _likely(self, text: Text, values: tuple) -> Any:
        try:
            return self.desk.likely(text, self._asked(values))
        except GptlibError:
            return gr.skip()  # a setting that cannot be; Write says so


def _who(request: gr.Request) -> str:
    return str(request.session_hash)


def _status(sentence: str) -> str:
    """A sentence that a screen reader reads out when it changes."""
    return f'<p role="status">{html.escape(sentence)}</p>'
