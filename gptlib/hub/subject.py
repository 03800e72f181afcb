"""What is exported: a run's model with all that another program has to know of it.

One job: `Subject`, read from a run folder by `Subject.of_run`, and the words that every export has
in common.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gptlib.chat import CHAT, chat_head, has_chat, jinja_template
from gptlib.errors import CheckpointError, TokenizerError
from gptlib.files import write_atomic
from gptlib.hub.tokenizer_file import FILE, fast_tokenizer
from gptlib.hub.weights import without_padding
from gptlib.model import GPT
from gptlib.places.marks import LOC, LOC_END
from gptlib.runs import load_run, run_folder
from gptlib.stories.marks import END, START, TITLE
from gptlib.tokenizers import END_OF_TEXT, Tokenizer
from gptlib.versions import package_version


@dataclass(frozen=True)
class Subject:
    """A trained model on its way out.

    Attributes:
        name: of the run. model: in evaluation mode, without rows that no token stands for.
        tokenizer: its own. end: the text of the token that ends a document, or None.
        begin: what the model was shown before a document in training, or nothing. A model whose
            tokenizer has the marks of a conversation, a story or a place begins and ends so.
        step: of the checkpoint that was taken.
    """

    name: str
    model: GPT
    tokenizer: Tokenizer
    end: str | None
    begin: str
    step: int

    @classmethod
    def of_run(cls, run: str | Path, which: str = "best") -> Subject:
        """Load a run folder, or a model that ships with gptlib.

        Raises:
            CheckpointError: what `load_run` refuses, or the run has no tokenizer.
            ConfigError: the tokenizer has more ids than the model.
        """
        model, tokenizer, manifest = load_run(run, which)
        if tokenizer is None:
            raise CheckpointError(
                f"{run} was trained on token ids without a tokenizer, and a model is of no use to "
                "others without; save its tokenizer in the folder's tokenizer/ first"
            )
        begin = _separator(tokenizer, manifest)
        special = tokenizer.special_tokens
        end = next((text for text in (END_OF_TEXT, begin) if text in special), None)
        if has_chat(tokenizer):
            begin, end = CHAT, END
        elif {START, TITLE, END} <= special.keys():
            begin, end = START, END
        elif {LOC, LOC_END} <= special.keys():
            begin, end = LOC, LOC_END
        model = without_padding(model, tokenizer.vocab_size)
        name = run_folder(run).resolve().name
        return cls(name, model, tokenizer, end, begin, manifest["step"])

    @property
    def end_id(self) -> int | None:
        """The id of `end`."""
        return None if self.end is None else self.tokenizer.special_tokens[self.end]

    @property
    def begin_id(self) -> int | None:
        """The id of `begin`, or of `end` where what begins a document is no token of its own."""
        return self.tokenizer.special_tokens.get(self.begin, self.end_id)

    @property
    def prompt(self) -> str:
        """A text for an example to begin with: one that the tokenizer knows."""
        if self.begin == CHAT:
            return chat_head(self.tokenizer, "Write a story.")
        if self.begin == START:
            return START + TITLE
        if self.begin == LOC:
            return LOC
        for text in ("Once upon a time", "The "):
            with suppress(TokenizerError):
                return self.tokenizer.decode(self.tokenizer.encode(text))
        return self.tokenizer.decode([self.tokenizer.vocab_size // 2])

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's two files, which `transformers` and `tokenizers` read."""
        special = self.tokenizer.special_tokens
        fast_tokenizer(self.tokenizer).save(str(folder / FILE))
        form = {"chat_template": jinja_template(self.tokenizer)} if self.begin == CHAT else {}
        write_json(
            folder / "tokenizer_config.json",
            {
                **form,
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": self.model.config.block_size,
                "clean_up_tokenization_spaces": False,
                "bos_token": self.begin if self.begin in special else self.end,
                "eos_token": self.end,
            },
        )

    def write_readme(self, folder: Path, lines: list[str]) -> None:
        """Write what the folder is, what runs it (`lines`, Markdown), and what to know of it."""
        c = self.model.config
        about = [
            f"# {self.name}",
            "",
            f"A GPT of {self.model.num_params():,} parameters: {c.n_layer} layers, {c.n_head} "
            f"heads, {c.n_embd} channels, a context of {c.block_size} tokens, "
            f"{c.vocab_size:,} token ids. Written by gptlib {package_version()} from step "
            f"{self.step} of the run `{self.name}`.",
            "",
            *lines,
            "",
            "- It reads at most its context; a longer text has to be cut to its last tokens.",
        ]
        if self.begin == CHAT:
            about.append(
                "- It answers: in transformers `tokenizer.apply_chat_template(messages, "
                "add_generation_prompt=True)` writes a conversation as it was taught to read one, "
                f"and {END} ends an answer."
            )
        elif self.begin == START:
            about.append(
                f"- A story is {START}{TITLE}title</|title|>, a line break, its text, {END}: begin "
                f"with the first two, and stop at {END}."
            )
        elif self.begin == LOC:
            about.append(
                f"- A place is {LOC}, a line break, its text, a line break, {LOC_END}: begin with "
                f"the first, and stop at {LOC_END}."
            )
        elif self.begin:
            about.append(
                f"- In training {self.begin!r} stood between documents: begin with it where a "
                "document is to begin, and end where the model writes it."
            )
        if self.end is None:
            about.append("- No token of it ends a text: say how many tokens it may write.")
        (folder / "README.md").write_text("\n".join(about) + "\n", encoding="utf-8")


def _separator(tokenizer: Tokenizer, manifest: dict) -> str:
    """What stood between documents in training, or nothing."""
    data = manifest.get("data")
    ids = data.get("separator") if isinstance(data, dict) else None
    if ids:
        return tokenizer.decode(ids)
    return END_OF_TEXT if END_OF_TEXT in tokenizer.special_tokens else ""


def write_json(path: Path, value: dict) -> None:
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode())
