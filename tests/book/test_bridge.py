"""Each function that a chapter derives says where, and is right about it."""

import importlib
import inspect
import pkgutil

import pytest
from repository import ROOT

import gptlib
from book.bridge import chapters, derivations, headings, link

#: What the book derives and the library has: each says in which section.
DERIVED = """
    model.naive_attention model.fused_attention model.CausalSelfAttention model.MLP model.Block
    model.make_norm model.GPT model.GPT.num_params model.GPT.flops_per_token rotary.Rotary
    muon.orthogonalize optim.learning_rate optim.make_optimizers
    tokenizers.characters.CharTokenizer tokenizers.bpe.BPETokenizer
    tokenizers.bpe.BPETokenizer.train tokenizers.bpe.BPETokenizer.decode_each
    evaluation.loss.bits_per_byte corpora.corpus.Corpus.val_floor
    evaluation.loss.split_loss evaluation.choices.score_probes sampling.generation.generate
    sampling.processors.divide_by_temperature trainer.Trainer batches.TokenBatches
    course.scaling.law.fit_law course.speedrun.ablation.ablate course.sweep.run_sweep
    grammar.grammar.Grammar
    chunked_loss.chunked_cross_entropy footprint.memory runtime.Runtime.grad_scaler
    budget.plan_run shards.write.prepare course.pretraining.communication.scaling
    evaluation.hellaswag.hellaswag evaluation.intervals.wilson evaluation.intervals.compare
    evaluation.stories.judge_story resizing.resize_vocab documents.documents_of
    quantization.int8.quantize_int8 evaluation.diversity.distinct_n evaluation.diversity.self_bleu
    sampling.beams.beam_search sampling.penalties.penalize_repetition
    sampling.penalties.penalize_presence sampling.penalties.penalize_frequency
    sampling.penalties.no_repeated_ngrams sampling.processors.keep_top_k
    sampling.processors.keep_top_p sampling.processors.keep_min_p sampling.processors.keep_typical
    sampling.speculation.speculate sampling.text_stream.until_stop sampling.ragged.reader_of
    finetuning.lora.LoRALinear finetuning.lora.merge_lora tuning.merged chat.render chat.prompt_ids
    finetuning.rehearsal.Rehearsed finetuning.answers.AnswerBatches places.judge.judge_place
    places.reading.parse_place
    quantization.nf4.derived_levels quantization.nf4.quantize_nf4 finetuning.dpo.dpo_loss
    evaluation.intervals.sign_test
""".split()


def documented() -> dict[str, str]:
    """Every docstring of gptlib by the name of what has it."""
    found = {}
    for info in pkgutil.walk_packages(gptlib.__path__, "gptlib."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) == info.name and callable(thing):
                found[f"{info.name}.{name}"] = inspect.getdoc(thing) or ""
                for inner, part in vars(thing).items() if inspect.isclass(thing) else ():
                    found[f"{info.name}.{name}.{inner}"] = inspect.getdoc(part) or ""
    return {name.removeprefix("gptlib."): text for name, text in found.items()}


def test_each_derivation_stands_under_a_heading_that_exists():
    files, wrong = chapters(ROOT), []
    for name, text in documented().items():
        for where, title in derivations(text):
            if where not in files or title not in headings(ROOT, files[where]):
                wrong.append(f"{name}: {where} has no section {title!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", DERIVED)
def test_what_the_book_derives_says_where(name):
    assert derivations(documented()[name]), f"{name} does not say where it is derived"


def test_a_sentence_becomes_a_link_also_over_the_end_of_a_line():
    text = "Scores.\n\nDerived in chapter 2, *Why a\nthird vector?* and used since."
    assert derivations(text) == [("chapter 2", "Why a third vector?")]
    assert link(text, ROOT).endswith(
        "Derived in chapter 2, `Why a third vector? "
        "<../chapters/02_self_attention.html#why-a-third-vector>`__ and used since."
    )
