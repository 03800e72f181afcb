"""The chat template: which ids a conversation is, and which of them carry loss, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.chat import (
    CHAT_MARKS,
    IGNORED,
    chat_head,
    checked,
    has_chat,
    prompt_ids,
    render,
    with_chat,
)
from gptlib.errors import ConfigError, DataError
from gptlib.tokenizers import BPETokenizer, CharTokenizer

PLAIN = BPETokenizer.train("Write a cold harbor at night. The bell rang. " * 20, 290, ["<|end|>"])
TOKENIZER = with_chat(PLAIN)
ID = TOKENIZER.special_tokens

words = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: text.strip() and not any(mark in text for mark in CHAT_MARKS)
)
turns = st.lists(st.tuples(words, words), min_size=1, max_size=3)


def conversation(pairs, system=None) -> list[dict]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [
        {"role": role, "content": content}
        for pair in pairs
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


def test_old_ids_keep_their_meaning_and_the_end_of_stories_is_the_end_of_answers():
    assert not has_chat(PLAIN) and has_chat(TOKENIZER)
    assert TOKENIZER.added_to(PLAIN) == ["<|chat|>", "<|system|>", "<|user|>", "<|assistant|>"]
    assert ID["<|end|>"] == PLAIN.special_tokens["<|end|>"]
    assert with_chat(TOKENIZER) == TOKENIZER


def test_a_conversation_by_hand():
    question, answer = (PLAIN.encode(text) for text in ("Write a harbor.", "The bell rang."))
    ids, targets = render(TOKENIZER, conversation([("Write a harbor.", "The bell rang.")]))
    assert ids == [ID["<|chat|>"], ID["<|user|>"], *question, ID["<|assistant|>"], *answer,
                   ID["<|end|>"]]  # fmt: skip
    assert targets == [IGNORED] * (2 + len(question)) + [*answer, ID["<|end|>"], IGNORED]


@given(turns, st.none() | words)
def test_answers_and_their_ends_carry_loss_and_nothing_else(pairs, system):
    messages = conversation(pairs, system)
    ids, targets = render(TOKENIZER, messages)
    assert len(ids) == len(targets)
    # Where a target counts, it is what follows.
    assert all(t in (IGNORED, after) for t, after in zip(targets, [*ids[1:], IGNORED], strict=True))
    # What counts is all answers with their ends, in order.
    learned = [t for t in targets if t != IGNORED]
    assert learned == [
        token for _, answer in pairs for token in [*TOKENIZER.encode(answer), ID["<|end|>"]]
    ]
    # They begin at the marks of the assistant's turns, and stop before the ends.
    begins = [n for n, token in enumerate(ids) if token == ID["<|assistant|>"]]
    ends = [n for n, token in enumerate(ids) if token == ID["<|end|>"]]
    counted = {n for b, e in zip(begins, ends, strict=True) for n in range(b, e)}
    assert {n for n, t in enumerate(targets) if t != IGNORED} == counted


@given(turns, st.none() | words)
def test_unmasked_everything_after_the_first_id_carries_loss(pairs, system):
    messages = conversation(pairs, system)
    ids, targets = render(TOKENIZER, messages, mask_prompt=False)
    assert (ids, targets) == (render(TOKENIZER, messages)[0], [*ids[1:], IGNORED])


@given(turns, st.none() | words)
def test_what_is_asked_is_what_training_showed(pairs, system):
    messages = conversation(pairs, system)
    ids, targets = render(TOKENIZER, messages)
    prompt = prompt_ids(TOKENIZER, messages[:-1])
    assert ids[: len(prompt)] == prompt
    assert targets[len(prompt) - 1] == ids[len(prompt)]  # the answer's first token is learned


@given(turns)
def test_a_conversation_is_read_back(pairs):
    ids, _ = render(TOKENIZER, conversation(pairs))
    text = "".join(f"<|user|>{a}<|assistant|>{b}<|end|>" for a, b in pairs)
    assert TOKENIZER.decode(ids) == "<|chat|>" + text


def test_only_an_answer_may_have_special_tokens_of_its_text():
    tokenizer = TOKENIZER.with_special(["<|title|>"])
    messages = conversation([("a <|title|>", "b <|title|>")])
    ids, _ = render(tokenizer, messages)
    assert ids.count(tokenizer.special_tokens["<|title|>"]) == 1
    assert tokenizer.decode(ids) == "<|chat|><|user|>a <|title|><|assistant|>b <|title|><|end|>"


def user(text="a"):
    return {"role": "user", "content": text}


def says(text="b"):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        (None, "no messages (None)"),
        ([], "no messages ([])"),
        ("user", "no messages ('user')"),
        ([user(), "hello"], "message 2 is 'hello'; expected role and content"),
        ([{"role": "user"}], "message 1 is {'role': 'user'}; expected role and content"),
        ([{"role": "usr", "content": "a"}], "message 1 has the role 'usr' (did you mean user?)"),
        ([{"role": ["user"], "content": "a"}], "message 1 has the role ['user']"),
        ([{"role": "user", "content": 3}], "message 1 has 3 for content; expected text"),
        ([user(" \n"), says()], "message 1 has an empty content"),
        ([user(), says("")], "message 2 has an empty answer"),
        ([user(), says("b<|end|>")], "message 2 has the mark <|end|> in its content"),
        ([user("<|assistant|>"), says()], "message 1 has the mark <|assistant|> in its content"),
        ([says()], "message 1 is the assistant's and comes first; expected the user's or the sys"),
        ([user(), user()], "message 2 is the user's and follows the user's; expected the assist"),
        ([user(), says(), {"role": "system", "content": "c"}], "message 3 is the system's"),
        ([user(), says(), user()], "the last message is the user's; expected the assistant's"),
    ],
)
def test_each_mistake_is_named(messages, wrong):
    with pytest.raises(DataError) as error:
        checked(messages)
    assert str(error.value).startswith(wrong)


def test_a_prompt_ends_with_the_user():
    with pytest.raises(DataError, match="the last message is the assistant's; expected the user's"):
        prompt_ids(TOKENIZER, [user(), says()])


def test_a_tokenizer_without_marks_or_without_room_for_them():
    with pytest.raises(ConfigError, match="lacks <|chat|>, <|system|>"):
        render(PLAIN, [user(), says()])
    with pytest.raises(ConfigError, match="CharTokenizer\\(3 characters\\) has room for none"):
        with_chat(CharTokenizer("abc"))


@given(words)
def test_a_question_as_text_has_the_ids_of_the_prompt(text):
    messages = [{"role": "user", "content": text}]
    assert TOKENIZER.encode(chat_head(TOKENIZER, text)) == prompt_ids(TOKENIZER, messages)


def test_a_question_with_a_mark_is_refused_and_no_mark_is_a_genre():
    from gptlib.sampling.marked import genres
    from gptlib.stories import special_tokens

    tokenizer = with_chat(BPETokenizer.train("a b c " * 20, 290, special_tokens()))
    assert "wager" in genres(tokenizer) and "user" not in genres(tokenizer)
    with pytest.raises(DataError, match="the question has <|title|> in it"):
        chat_head(tokenizer, "a <|title|>")
