"""What the tests ask a browser about who can use a page: by axe-core, by keys, without motion.

One job: scripts for `browser.Browser.run`, and axe-core itself, which comes with a Python package.
"""

from importlib import resources

#: The rules of WCAG 2.0 and 2.1, levels A and AA.
_LEVELS = '["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]'
_NAMED = """found => found.violations.flatMap(rule => rule.nodes.map(node =>
  `${rule.id}: ${node.target.join(" ")} ${[...node.html].slice(0, 90).join("")}`))"""


def axe_core() -> str:
    """The script of axe-core, which a page has to run before it is asked."""
    return (resources.files("axe_core_python") / "axe.min.js").read_text("utf8") + "; 0"


#: Opens what is folded and names what breaks a rule of level A or AA, colors left out, and the
#: strokes that a formula or a picture is drawn of.
VIOLATIONS = f"""(async () => {{
  document.querySelectorAll("details").forEach(fold => fold.open = true);
  const options = {{
    runOnly: {_LEVELS}, resultTypes: ["violations"],
    rules: {{"color-contrast": {{enabled: false}}}},
  }};
  const strokes = {{exclude: [["mjx-container > *"], ["svg[role=img] > *"]]}};
  return await axe.run(strokes, options).then({_NAMED});
}})()"""

#: Names what axe-core finds hard to read. Of elements that are styled alike, by their own tag and
#: classes and those of three around them, it is shown one: a page has thousands of words of code.
FAINT = f"""(async () => {{
  document.querySelectorAll("details").forEach(fold => fold.open = true);
  const kinds = new Map();
  for (const e of document.querySelectorAll("body *")) {{
    const speaks = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!speaks || e.closest("svg, script, style, mjx-container") || !e.checkVisibility()) continue;
    let kind = "";
    for (let a = e, n = 0; a && n < 4; a = a.parentElement, n++) kind += a.tagName + a.className;
    if (!kinds.has(kind)) kinds.set(kind, e);
  }}
  const options = {{
    runOnly: {{type: "rule", values: ["color-contrast"]}}, resultTypes: ["violations"],
  }};
  return await axe.run({{include: [...kinds.values()]}}, options).then({_NAMED});
}})()"""

#: Numbers what a key should reach, in the order of the page, and says how much there is.
NUMBER_STOPS = """(() => {
  const stops = [...document.querySelectorAll(
    "a[href], button, summary, input, select, textarea, [tabindex='0']")]
    .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled &&
      e.tabIndex >= 0 && !e.closest("dialog:not([open]), [inert]"));
  stops.forEach((e, n) => { e.dataset.stop = n; });
  document.activeElement.blur();
  return stops.length;
})()"""

#: Where the focus is: the number of the stop, whether it is marked for the eye, and what it is.
STOP = """(() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const place = e.getBoundingClientRect();
  const inside = place.bottom > 0 && place.top < innerHeight;
  return [Number(e.dataset.stop ?? -1), inside && (ring || style.boxShadow !== "none"),
    [...e.outerHTML].slice(0, 120).join("")];
})()"""

#: Names what moves on its own, slowly, or on the way to a place, for longer than a blink.
MOVING = """[...document.querySelectorAll("*")].flatMap(e => {
  const style = getComputedStyle(e);
  const longest = text => Math.max(...text.split(",").map(parseFloat));
  const moves = longest(style.transitionDuration) > 0.01 ||
    (style.animationName !== "none" && longest(style.animationDuration) > 0.01);
  return moves || style.scrollBehavior === "smooth" ? [`<${e.tagName} ${e.className}>`] : [];
})"""
