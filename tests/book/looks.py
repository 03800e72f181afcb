"""What the tests ask a browser about a page, and how they judge the colors that it answers with.

One job: scripts for `browser.Browser.run`, and the contrast of two colors.
"""

#: Opens what is folded, waits for formulas, and names what is wider than its place: a box that
#: scrolls or cuts, or an element that sticks out of the window and of no box that does either.
TOO_WIDE = """(async () => {
  const FRAMES = ".cell_input, div.math, .table-frame, " +
    ".cell_output .pst-scrollable-table-container, .highlight:has(.viewcode-block), " +
    "#shapes-and-formulas .pst-scrollable-table-container";
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
      const words = [...(e.innerText || e.outerHTML)].slice(0, 60).join("").replace(/\\s+/g, " ");
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

#: Names links in the lists of contents that stick out of their sidebar or of themselves.
CUT_ENTRIES = """[...document.querySelectorAll(".bd-sidebar-primary a, .bd-sidebar-secondary a")]
  .filter(link => {
    const side = link.closest(".bd-sidebar-primary, .bd-sidebar-secondary");
    const out = link.getBoundingClientRect().right > side.getBoundingClientRect().right + 1;
    const cut = getComputedStyle(link).display !== "inline" &&
      link.scrollWidth > link.clientWidth + 1;
    return out || cut;
  }).map(link => link.innerText)"""

#: Names text that is hard to read: less than 4.5 to 1 against what is painted behind it, or 3 to 1
#: where it is large. Text in pictures is not looked at.
FAINT_TEXT = """(() => {
  document.head.append(Object.assign(document.createElement("style"), {
    textContent: "* { transition: none !important; animation: none !important; }"}));
  document.querySelectorAll("details").forEach(fold => fold.open = true);
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = color => {
    if (!known.has(color)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      known.set(color, [...context.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(color);
  };
  const over = (top, below) => below.map((c, k) => c + (top[k] - c) * top[3] / 255);
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const layer = rgba(getComputedStyle(e).backgroundColor);
      if (layer[3]) layers.push(layer);
      if (layer[3] === 255) break;
    }
    return layers.reduceRight((below, top) => over(top, below), [255, 255, 255]);
  };
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!words || e.closest("svg, script, style, noscript, template, mjx-assistive-mml")) continue;
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const style = getComputedStyle(e), paper = behind(e);
    const ink = over(rgba(style.color), paper);
    const [low, high] = [light(ink), light(paper)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 600;
    const least = size >= 24 || (bold && size >= 18.6) ? 3 : 4.5;
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least)
      found.add(`${contrast.toFixed(1)} <${e.tagName} ${e.className}>: ` +
        [...words].slice(0, 40).join(""));
  }
  return [...found];
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
