"""Rules of accessibility that a browser can check on any page: contrast, names of controls, focus order, overflow.

After WCAG 2.2: 1.4.3 contrast (4.5, large text 3), 4.1.2 names, 2.4.3 focus order, 1.4.10 reflow. Shadow roots are
looked into. Text on pictures and on canvases is not seen.
"""

from typing import Any

_WALK = """
  const roots = [document];
  for (const root of roots) {
    for (const node of root.querySelectorAll('*')) if (node.shadowRoot) roots.push(node.shadowRoot);
  }
  const all = (selector) => roots.flatMap((root) => [...root.querySelectorAll(selector)]);
  const parent = (node) => node.parentElement ?? node.getRootNode().host;
  const shown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && node.getClientRects().length > 0;
"""
_CONTRASTS = (
    "() => {"
    + _WALK
    + """
  const numbers = (colour) => {
    const parts = (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const scale = colour.startsWith('color(srgb') ? 255 : 1;
    return { rgb: parts.slice(0, 3).map((value) => value * scale), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const over = (top, below) => top.rgb.map((value, i) => value * top.alpha + below[i] * (1 - top.alpha));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const canvas = document.createElement('i');  // what the browser paints behind a page without a background
  canvas.style.backgroundColor = 'Canvas';
  document.documentElement.append(canvas);
  const deepest = numbers(getComputedStyle(canvas).backgroundColor).rgb;
  canvas.remove();
  const ground = (node) => {
    const colours = [];
    const box = node.getBoundingClientRect();
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    for (let at = node; at; at = parent(at)) {
      const { left, right, top, bottom } = at.getBoundingClientRect();
      const inside = left <= x && x <= right && top <= y && y <= bottom;
      const small = (right - left) * (bottom - top) < 2000;  // a label may hang out of the knob it belongs to
      if (inside || !small) colours.unshift(numbers(getComputedStyle(at).backgroundColor));
    }
    return colours.reduce((below, top) => over(top, below), deepest);
  };
  const opacity = (node) => {
    let product = 1;
    for (let at = node; at; at = parent(at)) product *= Number(getComputedStyle(at).opacity);
    return product;
  };
  const disabled = (node) => node.closest(':disabled, [aria-disabled=true], [disabled]');
  const marks = (node) => node.closest('[data-testid=stIconMaterial], svg, style, script, noscript, option');
  return all('*')
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .filter((node) => shown(node) && !disabled(node) && !marks(node))
    .map((node) => {
      const style = getComputedStyle(node);
      const back = ground(node);
      const ink = numbers(style.color);
      const front = over({ rgb: ink.rgb, alpha: ink.alpha * opacity(node) }, back);
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const name = `${node.textContent.trim().slice(0, 40)} (${node.tagName.toLowerCase()}.${node.className})`;
      return { name, ratio: (a + 0.05) / (b + 0.05), least: large ? 3 : 4.5 };
    })
    .filter((row) => row.ratio < row.least - 0.005)
    .map((row) => `${row.ratio.toFixed(2)}: ${row.name}`);
}"""
)
_UNNAMED = (
    "() => {"
    + _WALK
    + """
  const named = (node) => node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.title
    || node.textContent.trim() || node.closest('label')?.textContent.trim() || node.labels?.length
    || node.placeholder;
  return all('button, input, select, textarea, a[href], [role=button], [role=listbox]')
    .filter((node) => shown(node) && node.type !== 'hidden' && !named(node))
    .map((node) => node.outerHTML.slice(0, 100));
}"""
)
_TABBED = (
    "() => {"
    + _WALK
    + """
  return all('[tabindex]').filter((node) => node.tabIndex > 0).map((node) => node.outerHTML.slice(0, 100));
}"""
)
_FOCUSED = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  if (!node || node === document.body) return null;
  const before = window.focusedBefore;
  window.focusedBefore = node;
  const host = (one) => (one.getRootNode().host ? host(one.getRootNode().host) : one);
  const together = before?.getRootNode() === node.getRootNode();
  const [from, to] = together ? [before, node] : [before && host(before), host(node)];
  const back = Boolean(from && from !== to && from.compareDocumentPosition(to) & Node.DOCUMENT_POSITION_PRECEDING);
  return { back, name: (node.getAttribute('aria-label') || node.textContent || node.tagName).trim().slice(0, 40) };
}"""
_OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


def faults(page: Any) -> list[str]:
    """What breaks a rule on the page as it stands, in words."""
    broken = [f"contrast {row}" for row in page.evaluate(_CONTRASTS)]
    broken += [f"no name: {row}" for row in page.evaluate(_UNNAMED)]
    broken += [f"tabindex above 0: {row}" for row in page.evaluate(_TABBED)]
    if (excess := page.evaluate(_OVERFLOW)) > 0:
        broken.append(f"the page is {excess} px wider than its window")
    return broken


def tab_stops(page: Any, most: int) -> tuple[list[str], list[str]]:
    """Names of the controls that Tab reaches from the top of the page, and those at which it went backwards."""
    page.evaluate("() => { window.focusedBefore = null; document.activeElement?.blur(); }")
    names, backwards = [], []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUSED)
        if stop is None:
            break
        names.append(stop["name"])
        if stop["back"]:
            if stop["name"] == names[0]:
                break  # once around
            backwards.append(stop["name"])
    return names, backwards
