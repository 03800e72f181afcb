"""Beam search finds what transformers' finds, with the same scores; groups keep apart."""

import itertools

import pytest
import torch

from gptlib.errors import ConfigError, DataError
from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import allow_only, beam_search, generate

V, STOP = 11, 4


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(block_size=24, vocab_size=V, n_layer=2, n_head=2, n_embd=16))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


@pytest.fixture(scope="module")
def small() -> GPT:
    """One whose window slides."""
    torch.manual_seed(4)
    model = GPT(GPTConfig(block_size=6, vocab_size=5, n_layer=1, n_head=1, n_embd=8)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


def theirs(model: GPT, prompts, new: int, **options):
    """Texts without padding, and scores, of transformers."""
    options = {"eos_token_id": None, "pad_token_id": 0, "do_sample": False} | options
    ids = torch.tensor(prompts)
    out = to_hf(model).generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, output_scores=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    texts = [row.tolist() for row in out.sequences]
    begin = ids.size(1)
    for text in texts:
        if (stop := options["eos_token_id"]) in text[begin:]:
            del text[begin + text[begin:].index(stop) + 1 :]
    return texts, out.sequences_scores


@pytest.mark.parametrize(
    "case",
    [
        dict(num_beams=2),
        dict(num_beams=4, num_samples=3, length_penalty=0.0),
        dict(num_beams=3, num_samples=3, length_penalty=2.0, stop=[STOP]),
        dict(num_beams=5, num_samples=2, length_penalty=-1.0, stop=[STOP]),
        dict(num_beams=3, stop=[STOP], repetition_penalty=1.4, no_repeat_ngram_size=2),
    ],
    ids=str,
)
def test_texts_and_scores_are_theirs(model, case):
    prompts = [[1, 2, 3], [5, 9, 0]]
    mine = beam_search(model, prompts, 9, **case)
    names = {"num_samples": "num_return_sequences"}
    options = {names.get(k, k): v for k, v in case.items() if k != "stop"}
    texts, scores = theirs(
        model, prompts, 9, **options, **({"eos_token_id": STOP} if "stop" in case else {})
    )
    found = [row[:n] for row, n in zip(mine.ids.tolist(), mine.lengths, strict=True)]
    assert found == texts
    torch.testing.assert_close(torch.tensor(mine.scores), scores, rtol=1e-4, atol=1e-4)
    assert torch.equal(generate(model, prompts, 9, **case), mine.ids)


def test_as_many_beams_as_texts_find_the_likeliest_of_all(small):
    """5^3 texts can all be weighed; 25 beams forget none of their beginnings."""
    every = torch.tensor([[2, *new] for new in itertools.product(range(5), repeat=3)])
    log_probs = small(every)[0].log_softmax(-1)[:, :-1]
    sums = log_probs.gather(-1, every[:, 1:, None]).squeeze(-1).sum(1)
    best = beam_search(small, [2], 3, num_beams=25, num_samples=25, length_penalty=0)
    expected = sums.topk(25)
    assert best.ids.tolist() == every[expected.indices].tolist()
    assert best.scores == pytest.approx(expected.values.tolist())


@pytest.mark.parametrize("options", [{}, dict(num_beam_groups=2, diversity_penalty=0.7)], ids=str)
def test_the_cache_changes_nothing_and_windows_slide(small, options):
    options = dict(num_beams=4, num_samples=2, stop=[[1, 2]]) | options
    with_cache, without = (
        beam_search(small, [3, 1], 15, use_cache=use, **options) for use in (True, False)
    )
    assert torch.equal(with_cache.ids, without.ids)
    assert with_cache.scores == pytest.approx(without.scores)


def test_prompts_of_different_lengths_are_each_searched_as_alone(small):
    prompts = [[1], [2, 3, 4, 0], [3, 3]]
    options = dict(num_beams=3, num_samples=2, stop=[0])
    ids, lengths, scores = beam_search(small, prompts, 10, **options)
    for place, prompt in enumerate(prompts):
        alone = beam_search(small, prompt, 10, **options)
        for i in (0, 1):
            row = 2 * place + i
            assert ids[row, : lengths[row]].tolist() == alone.ids[i, : alone.lengths[i]].tolist()
            assert scores[row] == pytest.approx(alone.scores[i])


def plain_groups(model, prompt, new, groups, size, penalty):
    """Diverse beam search as in the paper's algorithm 1, written without any thought of speed."""
    beams = [[(0.0, tuple(prompt))] for _ in range(groups)]
    for _ in range(new):
        taken = torch.zeros(model.config.vocab_size, dtype=torch.float64)
        for group in range(groups):
            candidates = []
            for score, text in beams[group]:
                window = torch.tensor([text])
                log_probs = model(window)[0][0, -1].detach().log_softmax(-1) - penalty * taken
                candidates += [(score + float(p), (*text, i)) for i, p in enumerate(log_probs)]
            beams[group] = sorted(candidates, reverse=True)[:size]
            for _, text in beams[group]:
                taken[text[-1]] += 1
    every = sorted((beam for group in beams for beam in group), reverse=True)
    return [list(text) for _, text in every], [score / new for score, _ in every]


@pytest.mark.parametrize(("groups", "size"), [(1, 3), (3, 1), (2, 2)])
def test_groups_are_those_of_the_paper(small, groups, size):
    texts, scores = plain_groups(small, [2, 0], 4, groups, size, 0.8 * (groups > 1))
    found = beam_search(
        small, [2, 0], 4, num_beams=groups * size, num_samples=groups * size,
        num_beam_groups=groups, diversity_penalty=0.8 * (groups > 1),
    )  # fmt: skip
    assert found.ids.tolist() == texts
    assert found.scores == pytest.approx(scores)


def test_far_apart_groups_begin_with_other_tokens(small):
    found = beam_search(
        small, [2], 3, num_beams=4, num_samples=4, num_beam_groups=4, diversity_penalty=1e6
    )
    assert len(set(found.ids[:, 1].tolist())) == 4


def test_what_is_forbidden_is_not_found(small):
    found = beam_search(
        small, [2], 4, num_beams=4, num_samples=4, allowed_ids=[1, 3], processors=[]
    )
    assert set(found.ids[:, 1:].flatten().tolist()) <= {1, 3}
    with pytest.raises(DataError, match="found 1 texts where 2"):
        beam_search(small, [2], 4, num_beams=4, num_samples=2, processors=[allow_only([1])])


def test_no_new_tokens(small):
    found = beam_search(small, [2, 1], 0, num_beams=3, num_samples=2)
    assert found.ids.tolist() == [[2, 1]] * 2 and found.scores == [0, 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [(dict(num_beams=0), "num_beams is 0"), (dict(num_beams=True), "num_beams is True"),
     (dict(num_beams=4, num_beam_groups=3), "give a divisor"),
     (dict(num_beams=2, length_penalty="1"), "length_penalty is '1'"),
     (dict(num_beams=2, num_beam_groups=2, diversity_penalty=-1), "diversity_penalty is -1"),
     (dict(length_penalty=2.0), "give num_beams too"),
     (dict(num_beams=2, diversity_penalty=1.0), "give num_beam_groups too"),
     (dict(num_beams=2, top_k=2), "beams are not drawn"),
     (dict(num_beams=2, temperature=0.8), "beams are not drawn"),
     (dict(num_beams=2, num_samples=3), "no more texts than it has beams")],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(small, options, says):
    with pytest.raises(ConfigError, match=says):
        generate(small, [1], 3, **options)
