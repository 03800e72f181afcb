"""Vector pictures stand in the built page itself, where its style sheet gives them their colors.

One job: `connect`. MyST-NB would write a cell's SVG to a file of its own, which no style sheet
reaches, and point to it; the page gets what the file says instead, with its alt text.
"""

from pathlib import Path
from typing import Any

from docutils import nodes


def inline(app: Any, doctree: Any) -> None:
    """Replace the images of cells' SVG by the SVG."""
    for holder in list(doctree.findall(nodes.container)):
        if holder.get("mime_type") == "image/svg+xml":
            for image in list(holder.findall(nodes.image)):
                file = Path(app.env.relfn2path(image["uri"])[1])
                image.replace_self(nodes.raw("", file.read_text("utf8"), format="html"))


def connect(app: Any) -> None:
    """Register with Sphinx, before Sphinx gathers the pages' images to copy them."""
    app.connect("doctree-read", inline, priority=400)
