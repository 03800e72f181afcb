"""Every exercise of chapter 7: the right answer passes, each mistake gets its own diagnosis."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.stories import checks


def grown(t, used, new, round_up=True, fill=None):
    n = used + len(new)
    rows = math.ceil(n / 64) * 64 if round_up else n
    out = t.new_empty(rows, t.shape[1])
    out[:used] = t[:used]
    out[used:] = t[:used].mean(0) if fill is None else fill
    return out


def right_tables(table, head, used, new):
    return grown(table, used, new), grown(head, used, new)


def both(one):
    return lambda table, head, used, new: (one(table, used, new), one(head, used, new))


def after_padding(t, used, new):
    out = grown(t, len(t), new)
    out[len(t) :] = t[:used].mean(0)
    return out


def random_rows(t, used, new):
    out = grown(t, used, new)
    out[used:] = 0.02 * torch.randn(len(out) - used, t.shape[1])
    return out


def normed(t, used, new):
    out = grown(t, used, new)
    return out / out.norm(dim=1, keepdim=True)


def shifted_down(t, used, new):
    return grown(t, used, new).roll(len(new), 0)


def right_mask(docs):
    n = len(docs)
    mask = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        for j in range(i + 1):
            mask[i, j] = docs[i] == docs[j]
    return mask


def causal(docs):
    return torch.ones(len(docs), len(docs)).tril().bool()


def is_first(docs):
    return torch.cat([torch.tensor([True]), docs[1:] != docs[:-1]])


def cut_at_starts(docs):
    mask = causal(docs)
    for i in is_first(docs).nonzero().flatten().tolist():
        mask[i, :i] = False
    return mask


def hides_starts(docs):
    mask = causal(docs)
    for j in is_first(docs).nonzero().flatten().tolist():
        mask[:, j] &= docs == docs[j]
    return mask


def right_targets(ids, start, end):
    found = []
    for read, asked in zip(ids.tolist(), ids[1:].tolist(), strict=False):
        found.append(-1 if asked == start or (asked == end and read == end) else asked)
    return torch.tensor(found)


def hide(when):
    """Targets that are hidden where `when(read, asked)` says so."""

    def fn(ids, start, end):
        pairs = zip(ids.tolist(), ids[1:].tolist(), strict=False)
        return torch.tensor([-1 if when(r, a, start, end) else a for r, a in pairs])

    return fn


def only_the_first_story(ids, start, end):
    y = ids[1:].clone()
    first = (y == end).nonzero()[0].item()
    y[first + 1 :] = -1
    return y


def one_late(ids, start, end):
    y, hidden = ids[1:].clone(), right_targets(ids, start, end) == -1
    y[0] = -1  # the row's own start is read there
    y[1:][hidden[:-1]] = -1
    return y


def right_stop(vals, patience):
    best, waited = 0, 0
    for n, val in enumerate(vals):
        waited = 0 if n == 0 or val < vals[best] else waited + 1
        best = n if waited == 0 else best
        if waited == patience:
            return best + 1, n + 1
    return best + 1, len(vals)


def neighbors(vals, patience):
    waited = 0
    for n in range(1, len(vals)):
        waited = waited + 1 if vals[n] >= vals[n - 1] else 0
        if waited == patience:
            return vals.index(min(vals[: n + 1])) + 1, n + 1
    return vals.index(min(vals)) + 1, len(vals)


def summed(vals, patience):
    lowest, bad = vals[0], 0
    for n, val in enumerate(vals[1:], 2):
        bad += val >= lowest
        lowest = min(lowest, val)
        if bad == patience:
            return vals.index(lowest) + 1, n
    return vals.index(lowest) + 1, len(vals)


def lowest(vals):
    return vals.index(min(vals)) + 1


RIGHT = {
    "grow_tables": right_tables,
    "block_mask": right_mask,
    "story_targets": right_targets,
    "early_stop": right_stop,
}

WRONG = [
    ("grow_tables", both(lambda t, u, new: grown(t, u, new, round_up=False)), "no multiple of 64"),
    ("grow_tables", both(after_padding), "after the padding"),
    ("grow_tables", both(lambda t, u, new: grown(t, u, new, fill=t.mean(0))), "counts the padding"),
    ("grow_tables", both(lambda t, u, new: grown(t, u, new, fill=0.0)), "rows of zeros"),
    ("grow_tables", lambda t, h, u, new: (grown(t, u, new), h), "head was forgotten"),
    ("grow_tables", lambda t, h, u, new: (grown(t, u, new), grown(h, u, new, fill=t[:u].mean(0))),
     "are the table's mean"),
    ("grow_tables", both(normed), "old rows have moved"),
    ("grow_tables", both(shifted_down), "old rows have moved"),
    ("grow_tables", both(random_rows), "random rows"),
    ("block_mask", causal, "looks across"),
    ("block_mask", lambda docs: docs[:, None] == docs, "looks ahead"),
    ("block_mask", lambda docs: right_mask(docs).T, "transposed"),
    ("block_mask", lambda docs: right_mask(docs).tril(-1), "hidden from itself"),
    ("block_mask", cut_at_starts, "alone is kept from looking back"),
    ("block_mask", hides_starts, "first tokens alone are hidden"),
    ("block_mask", lambda docs: ~right_mask(docs), "upside down"),
    ("block_mask", lambda docs: right_mask(docs).float().log(), "added to the scores"),
    ("story_targets", hide(lambda r, a, start, end: a in (start, end)), "learns to stop"),
    ("story_targets", only_the_first_story, "after the first end"),
    ("story_targets", one_late, "one place too late"),
    ("story_targets", hide(lambda r, a, start, end: a == start), "the padding counts"),
    ("story_targets", hide(lambda r, a, start, end: r == a == end), "first token counts"),
    ("story_targets", lambda ids, start, end: ids[:-1], "not shifted"),
    ("story_targets", lambda ids, start, end: ids[1:], "nothing is hidden"),
    ("story_targets", lambda *args: right_targets(*args).clamp(min=0), "the id of some token"),
    ("early_stop", lambda vals, p: right_stop(vals, 1), "first rise"),
    ("early_stop", lambda vals, p: (lowest(vals[:p]), min(p, len(vals))), "from the first epoch"),
    ("early_stop", lambda vals, p: (right_stop(vals, p)[1],) * 2, "last epoch's weights"),
    ("early_stop", lambda v, p: (lowest(v), min(len(v), lowest(v) + p)), "knows the future"),
    ("early_stop", lambda vals, p: (lowest(vals), len(vals)), "never stops: that"),
    ("early_stop", lambda vals, p: right_stop(vals, p + 1), "too patient"),
    ("early_stop", neighbors, "the one before it"),
    ("early_stop", summed, "added up"),
    ("early_stop", lambda *args: tuple(n - 1 for n in right_stop(*args)), "counted from 0"),
]  # fmt: skip


class TestStories(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)
