"""Chapter 7's figure of sampling: quality beside diversity, a line for each sampler.

One job: `quality_and_diversity`. A plane of quality against diversity would hide most names, since
half of the samplers lie within three points of one another.
"""

from __future__ import annotations

from collections.abc import Mapping

from gptlib.course.plotting import BLUE, FAINT, GREEN, INK, VERMILION, Plot, panels

#: What each kind of sampler is drawn in: those that look at the text, beams, and the others.
_KINDS = {"penalty": VERMILION, "beams": GREEN, "draw": BLUE}
_LOOK_BACK = {
    "repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size",
}  # fmt: skip


def quality_and_diversity(rows: Mapping[str, Mapping]) -> Plot:
    """Draw the share of stories that hold together, and beside it that of different pairs of words.

    The least diverse sampler stands at the top.

    Args:
        rows: of the record `story-samplers`, by sampler, with `ok` (`share`, `ci95`), `distinct_2`
            and `settings`.
    """
    names = sorted(rows, key=lambda name: (rows[name]["distinct_2"], name))
    fig, (quality, diversity) = panels(
        0.9 + 0.27 * len(names), columns=2, sharey=True, width_ratios=[1.15, 1]
    )
    for n, name in enumerate(names):
        row, color = rows[name], _KINDS[_kind(rows[name]["settings"])]
        share, ends = 100 * row["ok"]["share"], [100 * value for value in row["ok"]["ci95"]]
        quality.plot(ends, [n, n], color=color, linewidth=1.4, linestyle="-")
        quality.plot(share, n, "o", color=color)
        diversity.plot(row["distinct_2"], n, "o", color=color)
        for ax in (quality, diversity):
            ax.axhline(n, color=FAINT, linewidth=0.4, zorder=0)
    quality.set_yticks(range(len(names)), names)
    for label, name in zip(quality.get_yticklabels(), names, strict=True):
        label.set_color(_KINDS[_kind(rows[name]["settings"])])
    quality.set_ylim(len(names) - 0.4, -0.6)
    quality.set_xlim(-4, 104)
    quality.set_xticks([0, 50, 100])
    diversity.set_xlim(0, 1.08 * max(row["distinct_2"] for row in rows.values()))
    diversity.tick_params(axis="y", length=0)
    quality.set_xlabel("hold together (%)", color=INK)
    diversity.set_xlabel("distinct pairs")
    told = "; ".join(
        f"{name} {100 * rows[name]['ok']['share']:.0f}% and {rows[name]['distinct_2']:.2f}"
        for name in names
    )
    return Plot(
        fig,
        "Percent of stories that hold together, with intervals, and the share of different pairs "
        f"of words, by sampler, the least diverse first: {told}.",
    )


def _kind(settings: Mapping) -> str:
    if settings.get("num_beams", 1) > 1:
        return "beams"
    return "penalty" if _LOOK_BACK & settings.keys() else "draw"
