"""What the tests ask a browser about a page, and how they judge the colors that it answers with.

One job: scripts for `browser.Browser.run`, and the contrast of two colors.
"""

#: Opens what is folded, waits for formulas, and names what is wider than its place: a box that
#: scrolls or cuts, or an element that sticks out of the window and of no box that does either.
TOO_WIDE = """(async () => {
  const FRAMES = ".cell_input, div.math, .cell_output .pst-scrollable-table-container";
  document.querySelectorAll("details").forEach(fold => fold.open = true);
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  const width = document.documentElement.clientWidth, found = [];
  const cuts = e => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(e).overflowX);
  const boxed = e => {
    while ((e = e.parentElement) && e !== document.body) if (cuts(e)) return true;
  };
  if (document.documentElement.scrollWidth > width) found.push("the page itself");
  for (const e of document.querySelectorAll("body *")) {
    const style = getComputedStyle(e);
    if (style.display === "inline" || style.position === "fixed" || e.clientWidth < 2) continue;
    if (e.closest("mjx-container, dialog, .bd-sidebar") && !e.matches("mjx-container")) continue;
    const out = e.getBoundingClientRect().right > width + 1 && !boxed(e);
    if (out || (cuts(e) && e.scrollWidth > e.clientWidth + 1)) {
      const kind = e.closest(FRAMES) ? "frame" : "";
      const words = (e.innerText || e.outerHTML).slice(0, 60).replace(/\\s+/g, " ");
      found.push(`${kind} <${e.tagName} ${e.className}> ${e.scrollWidth} px: ${words}`);
    }
  }
  return found;
})()"""

#: The first plot's colors as [red, green, blue]: its paper, its words, the page's own background.
COLORS_OF_A_PLOT = """(() => {
  const plot = document.querySelector('.cell_output svg[role="img"]');
  const color = (element, key) => getComputedStyle(element)[key].match(/\\d+/g).map(Number);
  return {
    paper: color(plot.querySelector("path, rect"), "fill"),
    ink: color(plot.querySelector("text"), "fill"),
    lines: [...plot.querySelectorAll("path[clip-path]")]
      .filter(line => getComputedStyle(line).stroke !== "none").map(line => color(line, "stroke")),
    page: color(document.body, "backgroundColor"),
  };
})()"""

#: How wide the plots of a page are, and the least height of their letters, in pixels.
SIZES_OF_PLOTS = """[...document.querySelectorAll('.cell_output svg[role="img"]')]
  .filter(plot => plot.getBoundingClientRect().width).map(plot => {
    const scale = plot.getScreenCTM().a;
    const size = text => parseFloat(getComputedStyle(text).fontSize);
    const sizes = [...plot.querySelectorAll("text")].map(size);
    return [plot.getBoundingClientRect().width, scale * Math.min(...sizes)];
  })"""


def luminance(color: list[int]) -> float:
    """Relative luminance of an sRGB color, as the contrast ratio of WCAG takes it."""
    parts = [c / 255 for c in color]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(c * share for c, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: list[int], other: list[int]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
