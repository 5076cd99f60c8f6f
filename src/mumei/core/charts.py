"""Charts as inline SVG, with the page's own colours: curves, a map of points. Text is escaped, numbers are made here."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH = 640
COLOURS = ("#0b66c3", "#d98a00", "#2a8f5b", "#b0413e", "#7a55c7", "#0e8f9c", "#8a6d1f", "#c2488f", "#5b7a1e", "#5b6575")


def colour(place: int) -> str:
    """Return the colour of a group: ten chosen ones, then hues a golden angle apart."""
    if place < len(COLOURS):
        return COLOURS[place]
    return f"hsl({place * 137.5 % 360:.0f} {58 + 14 * (place % 2)}% {(42, 52, 35)[place % 3]}%)"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, at most `most` + 1 of them.

    Examples
    --------
    >>> ticks(0, 7.3), ticks(-152.0, -98.0)
    ([0, 2, 4, 6], [-140, -120, -100])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / most
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    marks = [round(i * step, digits) for i in range(first, last + 1)]
    return [int(m) if float(m).is_integer() and abs(m) < 1e15 else m for m in marks]


def label(value: float) -> str:
    """Return a number for an axis: thousands apart, no needless digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], unit: str = "nats a row", across: str = "epoch") -> str:
    """Draw curves over a common axis.

    Parameters
    ----------
    lines : mapping of str to sequence of (x, y)
        By name; values that are not finite are left out.
    unit, across : str
        What the axes are.

    Returns
    -------
    str
        An SVG, or "" where no line has two points.
    """
    finite = {name: [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)] for name, line in lines.items()}
    finite = {name: line for name, line in finite.items() if len(line) > 1}
    if not finite:
        return ""
    points = [p for line in finite.values() for p in line]
    left, top, right, base = 84, 16, WIDTH - 12, 220
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    y1 = max(y for _, y in points)
    y0 = _bottom(finite, y1)

    def place(x: float, y: float) -> tuple[float, float]:
        shown = max(y, y0)
        return left + (x - x0) / ((x1 - x0) or 1) * (right - left), base - (shown - y0) / ((y1 - y0) or 1) * (
            base - top
        )

    parts = [frame(f"{', '.join(finite)} by {across}", base + 76)]
    for mark in ticks(y0, y1):
        y = place(x0, mark)[1]
        parts.append(f'<path class="rule" d="M{left},{y:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 5:.1f}" class="end">{label(mark)}</text>')
    for mark in ticks(x0, x1, 6):
        parts.append(f'<text x="{place(mark, y0)[0]:.1f}" y="{base + 22}" class="mid">{label(mark)}</text>')
    for i, (name, line) in enumerate(finite.items()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        parts.append(f'<polyline class="line" style="stroke:{colour(i)}" points="{path}"/>')
        x = left + i * (right - left) / len(finite)
        parts.append(f'<rect x="{x:.0f}" y="{base + 60}" width="14" height="4" style="fill:{colour(i)}"/>')
        parts.append(f'<text x="{x + 20:.0f}" y="{base + 67}">{html.escape(name)}</text>')
    parts.append(
        f'<text x="{right}" y="{base + 46}" class="end">{html.escape(across)}; {html.escape(unit)}</text></svg>'
    )
    return "".join(parts)


def _bottom(lines: dict[str, list[tuple[float, float]]], top: float) -> float:
    """Return where the axis begins: the first values of training may be so low that nothing else would be seen."""
    low = min(y for line in lines.values() for _, y in line)
    later = min(y for line in lines.values() for _, y in line[len(line) // 10 :])
    return low if top - low < 4 * (top - later) or top == later else later - 0.25 * (top - later)


def scatter(
    points: Sequence[tuple[float, float]],
    *,
    groups: Sequence[int] | None = None,
    names: Sequence[str] = (),
    titles: Sequence[str] = (),
    ringed: Sequence[int] = (),
    marks: Sequence[tuple[float, float, str]] = (),
    legended: bool = True,
) -> str:
    """Draw a map of points, equal scales on both axes.

    Parameters
    ----------
    points : sequence of (x, y)
    groups : sequence of int, optional
        Colour of each point, by its place in `names`.
    names : sequence of str
        Of the groups, for the legend.
    titles : sequence of str
        Shown over a point under the mouse.
    ringed : sequence of int
        Points to ring, which are drawn last.
    marks : sequence of (x, y, text)
        Short texts over the points, at places in the points' own coordinates.
    legended : bool
        Whether the groups' names stand below.
    """
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max(max(xs) - min(xs), max(ys) - min(ys)) / 2 or 1.0
    size, radius = WIDTH, max(2.2, min(5.0, 100 / math.sqrt(len(points))))
    scale = (size / 2 - 22) / half
    rings = set(ringed)
    parts = [frame(f"Map of {len(points)} rows", size)]

    def at(x: float, y: float) -> tuple[float, float]:
        return size / 2 + (x - middle[0]) * scale, size / 2 - (y - middle[1]) * scale

    for j in [*(i for i in range(len(points)) if i not in rings), *ringed]:
        x, y = at(xs[j], ys[j])
        fill = f' style="fill:{colour(groups[j])}"' if groups is not None else ""
        kind = "dot ring" if j in rings else "dot"
        title = f"<title>{html.escape(titles[j])}</title>" if titles else ""
        parts.append(f'<circle class="{kind}"{fill} cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{title}</circle>')
    for across, up, text in marks:
        x, y = at(across, up)
        parts.append(f'<text class="mark" x="{x:.1f}" y="{y + 8:.1f}">{html.escape(text)}</text>')
    return "".join(parts) + "</svg>" + legend(names if legended and groups is not None else ())


def legend(names: Sequence[str]) -> str:
    """Return the groups' names beside their colours."""
    if not names:
        return ""
    each = (f'<span><i style="background:{colour(i)}"></i>{html.escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend small">{"".join(each)}</p>'


def frame(title: str, height: float) -> str:
    """Return the opening of an SVG of the charts' width."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title, quote=True)}">'
