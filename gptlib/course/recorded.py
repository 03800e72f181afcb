"""Recorded runs by name: read, or made anew.

One job: `RECIPES`, one table, and `load_record`. A recipe downloads what it needs, trains, measures
and returns a `Record`; it is imported when it is asked for, and nothing of the package itself uses
it.
"""

from __future__ import annotations

import importlib

from gptlib.course.records import Record, read_record
from gptlib.errors import DataError
from gptlib.resources import data_path

#: record: the function that makes it. Sweeps are files, and one function makes all their records.
RECIPES = {
    "attention-speed": "self_attention.runs:attention_speed",
    "beats-leak": "beats.leak:beats_leak",
    "beats-qlora": "beats.qlora:beats_qlora",
    "cutting-ablation": "tokens.runs:cutting_ablation",
    "digits": "digits.runs:digits",
    "digits-mnist": "digits.runs:digits_mnist",
    "gpt2-tokens": "tokens.runs:gpt2_tokens",
    "kalevala-bigram": "bigram.runs:kalevala_bigram",
    "kalevala-gpt": "multi_head.runs:kalevala_gpt",
    "ladder-german": "multi_head.runs:ladder_german",
    "ladder-tales": "multi_head.runs:ladder_tales",
    "leak-real": "self_attention.runs:leak_real",
    "ngrams-real": "self_attention.runs:ngrams_real",
    "places-answers": "finetuning.told:answers",
    "places-methods": "finetuning.places:methods",
    "places-rates": "finetuning.places:rates",
    "pretraining-10m": "pretraining.runs:pretraining_10m",
    "pretraining-124m": "pretraining.runs:pretraining_124m",
    "pretraining-changes": "pretraining.changes:pretraining_changes",
    "pretraining-faults": "pretraining.faulty:pretraining_faults",
    "pretraining-hellaswag": "pretraining.judged:pretraining_hellaswag",
    "scaling-lab": "scaling.runs:scaling_lab",
    "shakespeare-nanogpt-cpu": "multi_head.runs:shakespeare_nanogpt_cpu",
    "shuffled-shards": "pretraining.shuffling:shuffled_shards",
    "speedrun-cpu": "speedrun.ablation:speedrun_cpu",
    "speedrun-races": "speedrun.races:speedrun_races",
    "story-fairy-tales": "stories.collected:story_fairy_tales",
    "story-fairy-tenth": "stories.collected:story_fairy_tenth",
    "story-front": "stories.front:story_front",
    "story-heads": "stories.heads:story_heads",
    "story-learning": "stories.learning:story_learning",
    "story-marks": "stories.unregistered:story_marks",
    "story-model": "stories.evaluated:story_model",
    "story-odds": "stories.taken:remake",
    "story-packing": "stories.packing:story_packing",
    "story-practice": "stories.practice:remake",
    "story-preference": "beats.preference:story_preference",
    "story-samplers": "stories.sampling:story_samplers",
    "story-stages": "stories.stages:remake",
    "story-texts": "stories.texts:story_texts",
    "story-tinystories": "stories.collected:story_tinystories",
    "tales-cpu": "multi_head.runs:tales_cpu",
    "vocabulary-sweep": "tokens.runs:vocabulary_sweep",
}
_SWEEP = "sweep:remake"
RECIPES |= {path.stem: _SWEEP for path in sorted(data_path("sweeps").glob("*.toml"))}


def run_recipe(name: str) -> Record:
    """Make the record `name` anew.

    Raises:
        DataError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise DataError(
            f"no recipe makes {name!r}; there are {', '.join(sorted(RECIPES))}. A record that "
            "`python bench/…` made is made anew by that command, in the repository"
        )
    module, _, function = RECIPES[name].partition(":")
    recipe = getattr(importlib.import_module(f"gptlib.course.{module}"), function)
    return recipe(name) if RECIPES[name] == _SWEEP else recipe()


def load_record(name: str, rerun: bool = False) -> Record:
    """Return a recorded run.

    Args:
        name: e.g. "kalevala-gpt".
        rerun: make it anew here, now, and return that instead; how long it takes is in the costs
            page. What ships with the book is not touched.

    Raises:
        DataError: there is no record, or no recipe, of that name.
    """
    if rerun:
        return run_recipe(name)
    names = sorted(p.name for p in data_path("runs").iterdir() if p.is_dir())
    if name not in names:
        raise DataError(f"no record is called {name!r}; there are {', '.join(names)}")
    return read_record(data_path(f"runs/{name}"))
