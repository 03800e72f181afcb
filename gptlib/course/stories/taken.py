"""Does a model know what cannot come, because it is there already? The record `story-odds`.

One job: `taken`, asked of the models before and after the run of `gptlib.course.stories.taught`.

    python -m gptlib.course.stories.taken THREE FOUR
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from gptlib.course.command import answer
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.heads import silenced
from gptlib.course.stories.practice import BLOCK
from gptlib.course.stories.taught import Teller, train_all
from gptlib.grammar import Grammar
from gptlib.model import GPT, evaluating
from gptlib.tokenizers import Tokenizer


def taken(model: GPT, tokenizer: Tokenizer, n: int, seed: int = 5) -> dict[str, dict]:
    """How much of its probability a model gives to what is taken, where a story of the grammar
    brings in somebody or something else.

    Args:
        n: stories. seed: of the stories; the same for each model.

    Returns:
        By table, `places`, how many there were in which something could not come, `given`, the mean
        probability of what could not, and `by_chance`, the mean of what it has in the whole table.
        Entries count by their first token, where that tells them from what may come; a place with
        none that does is left out.
    """
    grammar, rng = Grammar.load("stories"), random.Random(seed)
    teller, found = Teller(tokenizer), dict[str, list[tuple[float, float]]]()
    for _ in range(n):
        text, shown = grammar.sample_shown(rng)
        ids, marks = teller.tell(text, shown)
        places = {one.start: one for one in shown if one.odds}
        whole = {one.table: one.odds or () for one in places.values() if one.known == 0}
        with torch.no_grad(), evaluating(model):
            p = model(torch.tensor([ids[:BLOCK]]))[0][0].float().softmax(-1)
        end = 0
        for at in range(1, min(BLOCK, len(ids))):
            end += teller.length(ids[at - 1])
            one = places.get(end) or places.get(end + 1)
            if one is None or not one.odds or not one.known or one.table not in whole:
                continue
            if marks[at] <= 0:
                continue  # its words were cut together with others
            forms = [form[0] for form in teller.forms(text[end : one.start], one.values)]
            may = {form for form, odds in zip(forms, one.odds, strict=True) if odds}
            out = [entry for entry, form in enumerate(forms) if form not in may]
            if out:
                given = float(sum(p[at - 1, forms[entry]] for entry in out))
                chance = sum(whole[one.table][entry] for entry in out)
                found.setdefault(one.table, []).append((given, chance))
    return {
        table: {"places": len(rows), "given": sum(given for given, _ in rows) / len(rows),
                "by_chance": sum(chance for _, chance in rows) / len(rows)}
        for table, rows in found.items()
    }  # fmt: skip


def example(models: Mapping[str, GPT], tokenizer: Tokenizer, seed: int = 5) -> dict:
    """The first place of the grammar's stories in which a third person comes in, and what could
    stand there by the grammar and by each model.

    Returns:
        `text`, up to there; `names`, all people; `said`, who came; `odds`, by the
        grammar; and the probability of each name's first token by each of `models`.
    """
    grammar, rng = Grammar.load("stories"), random.Random(seed)
    stories = (grammar.sample_shown(rng) for _ in itertools.count())
    text, place = next(
        (text, one) for text, shown in stories for one in shown
        if one.table == "person" and one.odds and one.known == 2 and text[one.start - 1] == " "
    )  # fmt: skip
    before = text[: place.start - 1]
    first = [tokenizer.encode(f" {name}")[0] for name in place.values]
    ids = torch.tensor([tokenizer.encode(before)])
    found: dict = {"text": before, "names": list(place.values), "odds": list(place.odds or ())}
    for name, model in models.items():
        with torch.no_grad(), evaluating(model):
            found[name] = model(ids)[0][0, -1].float().softmax(-1)[first].tolist()
    return found | {"said": place.values[place.entry]}


def story_odds(runs: Sequence[str | Path], n: int = 400) -> Record:
    """What odds as targets taught of what cannot come: `taken`, one `example`, and what a head of
    the last model brings, by taking it away.

    Args:
        runs: the third and the fourth.
    """
    result, config, models = {}, {}, {}
    tokenizer = load_with_tokenizer(runs[0])[1]
    for name, run in zip(("before", "after"), runs, strict=True):
        models[name], _, manifest = load_with_tokenizer(run)
        result[name] = taken(models[name], tokenizer, n)
        config[name] = {"train": manifest["train"], "note": manifest.get("note")}
    result["example"] = example(models, tokenizer)
    last = models["after"]
    result["without"] = []  # one head of the last model after the other
    for layer, head in itertools.product(range(last.config.n_layer), range(last.config.n_head)):
        with silenced(last, (layer, head)):
            person = taken(last, tokenizer, max(n // 4, 1))["person"]
        result["without"].append({"layer": layer, "head": head, **person})
    command = "python -m gptlib.course.stories.taken THREE FOUR"
    return make_record("story-odds", config | {"n": n}, result, command)


def remake() -> Record:
    """Five hours on one thread, of which the record takes a minute."""
    with tempfile.TemporaryDirectory() as home:
        return story_odds(train_all(Path(home))[2:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.taken")
    parser.add_argument("runs", nargs=2, help="THREE FOUR")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-odds"))
    options = parser.parse_args(arguments)
    record = story_odds(options.runs)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
