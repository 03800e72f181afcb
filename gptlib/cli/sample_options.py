"""The flags of `gptlib sample` that say how to draw, and what they are for `gptlib.sampling`.

One job: from flags to settings. Numbers are checked where they are used, by `Sampling`; here it is
only refused what would have no effect.
"""

from __future__ import annotations

import argparse

from gptlib.cli.arguments import count, flag_of, name_or_path, typed_text
from gptlib.errors import ConfigError
from gptlib.sampling.settings import More
from gptlib.tokenizers import END_OF_TEXT, Tokenizer

#: The settings that are flags of the same name: type, metavar and help.
DRAWS = {
    "top_k": (int, "N", "draw from the N likeliest tokens only (default: from all)"),
    "top_p": (
        float, "X",
        "draw from the likeliest tokens that together reach probability X (default: from all)",
    ),
    "min_p": (
        float, "X", "draw from tokens at least X times as likely as the likeliest (default: all)"
    ),
    "typical_p": (
        float, "X",
        "draw from the tokens that surprise about as much as is expected, as many as reach "
        "probability X together (default: from all)",
    ),
    "repetition_penalty": (
        float, "X", "above 1, makes tokens that were there less likely, the prompt's too"
    ),
    "presence_penalty": (
        float, "X", "take X from the logits of tokens that were written (OpenAI's definition)"
    ),
    "frequency_penalty": (float, "X", "take X once for each time that a token was written"),
    "no_repeat_ngram_size": (int, "N", "never write N tokens in a row that stand there already"),
}  # fmt: skip
BEAMS = {
    "num_beams": (
        int, "N",
        "search for the likeliest text with N beams instead of drawing; --samples shows as many "
        "of the best",
    ),
    "length_penalty": (
        float, "X", "divide a beam's log-probability by its length to the power X (default 1)"
    ),
    "num_beam_groups": (int, "N", "part the beams into N groups that keep away from one another"),
    "diversity_penalty": (
        float, "X", "what a beam loses for each in an earlier group that chose the same token"
    ),
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--temperature", type=float, metavar="X",
        help="how freely it draws: 0 always takes the likeliest token, 1 follows the model, more "
        "is wilder (default 0.8)",
    )  # fmt: skip
    for name, (kind, metavar, about) in (DRAWS | BEAMS).items():
        parser.add_argument(flag_of(name), type=kind, metavar=metavar, help=about)
    parser.add_argument(
        "--only", type=typed_text, metavar="TEXT",
        help="write only tokens that this text has, and the end of a document",
    )  # fmt: skip
    parser.add_argument(
        "--draft", type=name_or_path, metavar="RUN",
        help="a smaller model with the same tokenizer, which guesses ahead: sooner, and as likely "
        "to write one text as another as without",
    )  # fmt: skip
    parser.add_argument(
        "--guesses",
        type=count,
        metavar="N",
        help="tokens that --draft guesses at a time (default 4)",
    )


def settings_of(args: argparse.Namespace, tokenizer: Tokenizer) -> More:
    """The settings that were given, by name.

    Raises:
        ConfigError: one has no effect beside another. TokenizerError: --only has a character that
            the tokenizer does not know.
    """
    if args.guesses is not None and args.draft is None:
        raise ConfigError("--guesses is how far a draft guesses; give --draft too")
    if args.draft is not None and args.num_beams is not None:
        raise ConfigError("--draft draws and --num-beams searches; leave out one of them")
    given = {name: getattr(args, name) for name in DRAWS | BEAMS}
    settings: More = {name: value for name, value in given.items() if value is not None}  # pyrefly: ignore[bad-assignment]  the keys are its own
    if args.only is not None:
        end = tokenizer.special_tokens.get(END_OF_TEXT)
        settings["allowed_ids"] = tokenizer.encode(args.only) + ([] if end is None else [end])
    return settings


def temperature_of(args: argparse.Namespace) -> float:
    """The temperature: 0.8 where none was given, and none where nothing is drawn."""
    if args.temperature is not None:
        return args.temperature
    return 0.8 if args.num_beams is None else 1.0
