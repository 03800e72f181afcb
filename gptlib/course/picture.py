"""A vector picture that carries its own alt text: the value of a notebook cell that shows one.

One job: `Picture`, what plots and drawings have in common. The notebook stores it as SVG, so that
GitHub, Jupyter and Colab show it on its own paper; the built book puts the same SVG into the page,
where the page's style sheet gives the colors, light or dark.
"""

from html import escape

INK, PAPER, FAINT = "#222222", "#FBFAF7", "#8A8780"
BLUE, VERMILION, GREEN = COLORS = ("#0072B2", "#D55E00", "#009E73")

#: What each color is called in the page's style sheet; outside the book the fallback is drawn.
VARIABLES = {
    INK: "--figure-ink",
    PAPER: "--figure-paper",
    FAINT: "--figure-faint",
    BLUE: "--figure-blue",
    VERMILION: "--figure-vermilion",
    GREEN: "--figure-green",
}


def themed(color: str) -> str:
    """Return a color that a page may replace: `var(--figure-ink, #222222)` for the ink."""
    return f"var({VARIABLES[color]}, {color})" if color in VARIABLES else color


class Picture:
    """A finished picture with its alt text.

    Args:
        svg: a whole `<svg …>…</svg>` element whose `width`, or else its `viewBox`, gives its size
            in screen pixels.
        alt: one or two sentences that tell what it shows to whoever cannot see it; the picture
            says them to a screen reader wherever it stands.

    Raises:
        ValueError: there is no alt text.
    """

    def __init__(self, svg: str, alt: str) -> None:
        if not alt.strip():
            raise ValueError("a picture needs alt text: a sentence that says what it shows")
        self.alt = " ".join(alt.split())
        self.svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(self.alt)}"', 1)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict, dict]:
        return (
            {"image/svg+xml": self.svg, "text/plain": self.alt},
            {"image/svg+xml": {"alt": self.alt}},
        )
