"""What is asked: the prompts of a file, or a template whose fields are drawn from lists.

One job: a list of questions (`Question`), each of which has a number. Question i is the same
whatever N is, so a larger N goes on where a smaller one ended.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptlib.corpora.text_file import read_text
from gptlib.errors import ConfigError, DataError, nearest

#: What a record says beside a question's own fields, which therefore have other names.
OWN_NAMES = frozenset(
    "text prompt number model made_by tokens_in tokens_out resembles similarity reason detail"
    " max_tokens".split()
)
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Question:
    """One prompt, its number, and the fields that its text will be stored with."""

    number: int
    prompt: str
    fields: Mapping[str, Any]


def from_template(
    template: str, fields: Mapping[str, Sequence[str]], n: int, seed: int = 0
) -> list[Question]:
    """N questions of one form, in which each `{name}` is filled by one of the field's values.

    The values of a field come equally often: all of them in an order that the seed draws, then all
    of them in another. So of 100 places in two tones, 50 are cold.

    Raises:
        ConfigError: a place without a field or a field without a place, an empty template, or a
            field with an empty value, with one twice, or with a name that records need.
    """
    if not template.strip():
        raise ConfigError("the template is empty; write what the server is to be asked")
    places = set(_PLACE.findall(template))
    for name in sorted(places - fields.keys()):
        raise ConfigError(
            f"the template has {{{name}}}{nearest(name, fields)}, and there is no such field; add "
            f"--field {name}=one,two"
        )
    for name, values in fields.items():
        if name not in places:
            raise ConfigError(
                f"the field {name} has no place in the template{nearest(name, places)}; write "
                f"{{{name}}} where its value belongs"
            )
        _check_name(name, f"the field {name}")
        if not all(values) or len(set(values)) < len(values):
            raise ConfigError(
                f"the values of {name} are {list(values)}; give each once, none empty"
            )
    questions = []
    for i in range(n):
        drawn = {name: draw(values, i, f"{seed} {name}") for name, values in fields.items()}
        questions.append(Question(i, _PLACE.sub(lambda m, d=drawn: d[m[1]], template), drawn))
    return questions


def draw(values: Sequence[str], i: int, seed: str) -> str:
    """The i-th draw from a list that is used up before it is shuffled anew."""
    round_, place = divmod(i, len(values))
    return random.Random(f"{seed} {round_}").sample(values, len(values))[place]


def from_file(path: Path, n: int | None = None) -> list[Question]:
    """The first N questions of a file (default all): a line of it is a prompt, or in a `.jsonl` a
    JSON string or an object with "prompt", whose other entries are kept with the text.

    Raises:
        DataError: it cannot be read, has no line or fewer than N, or one that is no prompt.
    """
    text = read_text(path).removesuffix("\n")
    lines = text.split("\n") if text else []
    if not lines or (n is not None and n > len(lines)):
        raise DataError(
            f"{path} has {len(lines)} prompts, and {n or 'at least one'} was asked for; give a "
            "file with one in each line"
        )
    read = _from_json if path.suffix == ".jsonl" else _from_line
    return [read(i, line, f"line {i + 1} of {path}") for i, line in enumerate(lines[:n])]


def _from_line(number: int, line: str, where: str) -> Question:
    if not line.strip():
        raise DataError(f"{where} is empty; write a prompt there, or take the line out")
    return Question(number, line, {})


def _from_json(number: int, line: str, where: str) -> Question:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    fields = dict(value) if isinstance(value, dict) else {"prompt": value}
    prompt = fields.pop("prompt", None)
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f'{where} is no prompt; give a JSON string, or an object with "prompt"')
    if not is_whole(json.dumps(value, ensure_ascii=False)):
        raise DataError(f"{where} has half a character in it, as \\ud83d; mend it")
    for name in fields:
        _check_name(name, where)
    return Question(number, prompt, fields)


def _check_name(name: str, where: str) -> None:
    if name in OWN_NAMES:
        raise ConfigError(
            f"{where} has the name {name}, which a record uses for something else; rename it"
        )


def is_whole(text: str) -> bool:
    """Can it be written as UTF-8? JSON may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
