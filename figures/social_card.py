"""Draw assets/social-card.png, which links to the book show: `python figures/social_card.py`.

The line of text is the end of the last sample in the record `tales-cpu`: a model wrote it.
"""

import re
import textwrap
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from gptlib import load_record
from gptlib.course.plotting import INK, PAPER, VERMILION

TEAL = "#0B5C7A"
OUT = Path(__file__).resolve().parents[1] / "assets" / "social-card.png"


def font(package: str, file: str, size: float) -> FontProperties:
    """A font of the book, out of the package that carries it."""
    return FontProperties(fname=str(resources.files(package) / "files" / file), size=size)


def draw_mark(ax, x: float, y: float, unit: float) -> None:
    """The book's mark: a lower-triangular mask whose last row opens as a book."""
    for row in range(4):
        for column in range(row + 1):
            alpha = 1.0 if column == row else 0.28 + 0.5 * (column + 1) / (row + 1)
            corner = (x + 7 * column * unit, y + (28 - 7 * row) * unit)
            style = f"round,pad=0,rounding_size={0.5 * unit}"
            ax.add_patch(
                FancyBboxPatch(
                    corner, 6 * unit, 6 * unit, boxstyle=style, color=TEAL, alpha=alpha, lw=0
                )
            )
    for side, color in ((-1, TEAL), (1, VERMILION)):
        points = [
            (0, 4),
            (2.7, 6.7),
            (10.7, 7.3),
            (17, 6),
            (17, -0.3),
            (10.7, 1),
            (2.7, 0.4),
            (0, -2.3),
        ]
        vertices = [(x + (17 + side * px) * unit, y + py * unit) for px, py in points]
        codes = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3]
        ax.add_patch(PathPatch(Outline(vertices, codes), color=color, lw=0))


def sample_line() -> str:
    """The last two sentences of the record's last tale."""
    text = load_record("tales-cpu").samples[-1]["text"]
    return " ".join(re.findall(r"[^.!?]+[.!?]", text.replace("\n", " "))[-2:]).strip()


def main() -> None:
    """Write the card, 1200 by 630 pixels."""
    fig = Figure(figsize=(12, 6.3), facecolor=PAPER)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1200), ylim=(0, 630))
    ax.axis("off")
    draw_mark(ax, 90, 190, 7.2)
    sans = font("font_source_sans_pro", "SourceSansPro-Semibold.otf", 44)
    serif = font("font_source_serif_pro", "SourceSerifPro-It.otf", 25)
    ax.text(420, 400, "From Bigram\nto Storyteller", color=INK, font=sans, va="center")
    line = textwrap.fill(sample_line(), 48)
    ax.text(420, 290, line, color=TEAL, font=serif, va="top", linespacing=1.4)
    fig.savefig(OUT, dpi=100, facecolor=PAPER, metadata={"Software": None})


if __name__ == "__main__":
    main()
