"""The page: its fields, its buttons, and what each of them calls.

One job: `build_page`, which lays gradio's components out around a `Desk`. What a reader or a model
wrote is only ever the value of a text field or is escaped, never markup. This file and
`gptlib.serving.calls` import gradio, and only `gptlib serve` imports them.
"""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from gptlib.serving.asked import DEFAULTS
from gptlib.serving.calls import Calls, bars
from gptlib.serving.desk import Desk

#: What the sliders show: lowest, highest, step, label, and what it does.
SLIDERS = {
    "temperature": (0, 2, 0.05, "temperature", "0 takes the likeliest, 1 follows the model"),
    "top_k": (0, 200, 1, "top-k", "from the k likeliest only; 0 for all"),
    "top_p": (0.05, 1, 0.01, "top-p", "from the likeliest that reach p together"),
    "min_p": (0, 1, 0.01, "min-p", "from those this many times as likely as the first"),
    "typical_p": (0.05, 1, 0.01, "typical-p", "from those as surprising as expected"),
    "no_repeat_ngram_size": (0, 10, 1, "no repeated n-gram", "n tokens never twice; 0 for any"),
    "repetition_penalty": (1, 2, 0.05, "repetition penalty", "on what stands in the text"),
    "presence_penalty": (-2, 2, 0.1, "presence penalty", "on what was written"),
    "frequency_penalty": (-2, 2, 0.1, "frequency penalty", "likewise, each time that it was"),
}
CSS = """
.gradio-container { max-width: 76rem !important; margin: 0 auto; }
#text textarea { font: 1.1rem/1.6 Georgia, "Times New Roman", serif; }
#note { min-height: 1.5rem; }
#likely table { width: 100%; border-collapse: collapse; font-size: .9rem; }
#likely caption { text-align: left; padding-bottom: .4rem; }
#likely th { font-family: monospace; font-weight: normal; text-align: left; width: 30%;
  overflow-wrap: anywhere; }
#likely td, #likely th { padding: .1rem .2rem; }
#likely table, #likely tr, #likely td, #likely th { border: 0 !important; }
#likely td:last-child { text-align: right; width: 4.5rem; }
#likely span { display: block; height: .7rem; background: var(--color-accent); }
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
    calls = Calls(desk)
    fields: dict[str, Any] = {}
    with gr.Blocks(title=f"{name} · gptlib", analytics_enabled=False) as page:
        # For scripts: gradio_client's Client(address).predict(opening="How ", api_name="/write")
        gr.api(
            calls.texts, api_name="write", concurrency_limit=workers, concurrency_id="write"
        )  # fmt: skip
        gr.HTML(f"<h1>Write with {html.escape(name)}</h1>")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                fields |= _opening(desk)
                with gr.Row():
                    write = gr.Button("Write", variant="primary", min_width=90, elem_id="write")
                    stop = gr.Button("Stop", min_width=90, elem_id="stop")
                    again = gr.Button("Again with this seed", min_width=180, elem_id="again")
                text = gr.Textbox(
                    label="Text", lines=12, max_lines=24, interactive=False, elem_id="text"
                )
                note = gr.HTML(elem_id="note")
            with gr.Column(scale=2, min_width=300):
                likely = gr.HTML(bars({}), elem_id="likely")
                fields["temperature"] = _slider(desk, "temperature")
                fields |= _length(desk)
                copy = gr.Button("Copy link", elem_id="copy")
                link = gr.Textbox(
                    label="A link that keeps all this", lines=1, interactive=False, elem_id="link"
                )
                query = gr.Textbox(visible=False)
        with gr.Accordion("How it is drawn"):
            rest = [name for name in SLIDERS if name != "temperature"]
            for at in range(0, len(rest), 4):
                with gr.Row():
                    for setting in rest[at : at + 4]:
                        fields[setting] = _slider(desk, setting)

        inputs = [fields[name] for name in calls.names]
        shown = [text, note, likely]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        quick: dict[str, Any] = {**private, "queue": False}
        slow: dict[str, Any] = {
            **private, "concurrency_limit": workers, "concurrency_id": "write"
        }  # fmt: skip
        keys = [write.click, *([fields["title"].submit] if "title" in fields else [])]
        written = [
            key(calls.come, None, note, **quick).then(calls.write, inputs, shown, **slow)
            for key in keys
        ]
        written.append(
            again.click(calls.come, None, note, **quick).then(calls.again, inputs, shown, **slow)
        )
        stop.click(calls.stop, inputs, shown, cancels=written, **quick)
        moved = [fields[name].input for name in SLIDERS]
        gr.on(
            moved, calls.look, inputs, likely, trigger_mode="always_last", concurrency_limit=1,
            **private,
        )  # fmt: skip
        copy.click(calls.query, inputs, [query, note], **quick).then(
            None, query, link, js=COPY, **private
        )
        page.load(calls.opened, None, [*inputs, note], **quick)
        page.unload(calls.gone)
    page.queue(max_size=waiting, api_open=False, default_concurrency_limit=1)
    return page


def _opening(desk: Desk) -> dict[str, Any]:
    """What a text begins with."""
    fields: dict[str, Any] = {}
    with gr.Row(visible=desk.marked):
        if desk.marked:
            fields["title"] = gr.Textbox(
                label="Title", max_lines=1, scale=2, min_width=160, elem_id="title"
            )
        if desk.genres:
            choices = [("the model's choice", ""), *((genre, genre) for genre in desk.genres)]
            fields["genre"] = gr.Dropdown(
                choices, value="", label="Genre", min_width=120, elem_id="genre"
            )
    fields["opening"] = gr.Textbox(label="Opening", lines=3, max_lines=10, elem_id="opening")
    return fields


def _slider(desk: Desk, name: str) -> gr.Slider:
    low, high, step, label, about = SLIDERS[name]
    if name == "top_k":
        high = min(high, desk.model.config.known_ids)
    return gr.Slider(
        low, high, DEFAULTS[name], step=step, label=label, info=about, min_width=200, elem_id=name
    )


def _length(desk: Desk) -> dict[str, Any]:
    """Where a text ends, and its seed."""
    most = desk.limits.tokens
    tokens = gr.Slider(
        0, most, min(DEFAULTS["max_new_tokens"], most), step=1, label="tokens at most",
        elem_id="max_new_tokens",
    )  # fmt: skip
    with gr.Row():
        seed = gr.Textbox(
            label="seed", info="empty for another text each time", min_width=130, elem_id="seed"
        )
        stop = gr.Textbox(
            label="end before", info="a text in each line", max_lines=3, min_width=130,
            elem_id="stop-at",
        )  # fmt: skip
    return {"max_new_tokens": tokens, "seed": seed, "stop": stop}
