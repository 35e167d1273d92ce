"""One picture of a report, drawn from results.json: rate, CPU and latency of everyone, as dots on logarithmic scales
(where the length of a bar would mean nothing).

It stands on a ground of its own, light or dark as the reader's system prefers, so that it can be read on any page.
"""

import math
from xml.sax.saxutils import escape

PANELS = [
    ("produce-1k", "MB_s", "Produce, 1 KiB", "MB/s, more is better"),
    ("produce-1k", "cpu_s_per_gb", "Broker CPU of it", "s per GB, less is better"),
    ("end-to-end", "p99_ms", "End to end at 1,000/s, p99", "ms, less is better"),
]
NAMES, PANEL, GAP, STEP, TOP, BOTTOM = 182, 230, 24, 24, 92, 84

LEGEND = [
    ("ours", "Corelane: on disk before it acknowledges"),
    ("durable", "durable settings: synced before it acknowledges"),
    ("cached", "recommended settings: all but RabbitMQ acknowledge before the disk has it"),
]

STYLE = """
.ground { fill: #ffffff } .text { fill: #1c2128 } .soft { fill: #59636e } .line { stroke: #d1d9e0 }
.ours { fill: #0a6b52 } .durable { fill: #2f6fc4 } .cached { fill: #8ea3b8 } text { stroke: #ffffff }
@media (prefers-color-scheme: dark) {
.ground { fill: #15191f } .text { fill: #e6ebf1 } .soft { fill: #9aa5b1 } .line { stroke: #39424d }
.ours { fill: #3fc79f } .durable { fill: #6ca5f0 } .cached { fill: #66788b } text { stroke: #15191f }
}
text { paint-order: stroke; stroke-width: 4px; font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif } .head { font-weight: 600 } .big { font-size: 17px; font-weight: 600 }
"""


def shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def scale(values):
    """Powers of ten around the values: the least that is drawn and the most."""
    low = math.floor(math.log10(min(values)) - 0.3)
    high = math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def text(x, y, words, kind="text", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def kind_of(variant):
    if variant == "corelane":
        return "ours"
    return "durable" if variant.endswith("-durable") else "cached"


def panel(results, left, variants, of):
    row, figure, title, unit = of
    medians = {variant: results.median(row, variant, figure) for variant in variants}
    parts = [text(left, TOP - 34, title, "text head"), text(left, TOP - 16, unit, "soft")]
    values = [value for value in medians.values() if value]
    if not values:
        return parts + [text(left, TOP + 16, "not measured", "soft")]
    low, high = scale(values)
    # Room for the figure behind the longest bar.
    width = PANEL - 52
    for power in range(low, high + 1):
        x = left + width * (power - low) / (high - low)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{TOP + STEP * len(variants)}" class="line"/>')
        parts.append(text(x, TOP + STEP * len(variants) + 16, f"{10.0**power:g}", "soft", "middle"))
    for index, variant in enumerate(variants):
        y = TOP + STEP * index
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y + 11}" y2="{y + 11}" class="line"/>')
        value = medians[variant]
        if not value:
            parts.append(text(left + 4, y + 15, "not given", "soft"))
            continue
        x = left + width * (math.log10(value) - low) / (high - low)
        parts.append(f'<circle cx="{x:.1f}" cy="{y + 11}" r="6" class="{kind_of(variant)}"/>')
        parts.append(text(x + 10, y + 15, shown(value)))
    return parts


def svg(results):
    variants = results.order()
    width, height = NAMES + len(PANELS) * (PANEL + GAP) + 10, TOP + STEP * len(variants) + BOTTOM
    machine = results.facts["host"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>Corelane and its peers, {escape(results.facts['date'])}</title><style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" class="ground"/>',
        text(16, 26, f"One broker each, {machine['cores']} cores shared with the client, medians; logarithmic", "text big"),
    ]
    for index, variant in enumerate(variants):
        parts.append(text(NAMES - 10, TOP + STEP * index + 15, variant, "text head" if variant == "corelane" else "text", "end"))
    for index, of in enumerate(PANELS):
        parts += panel(results, NAMES + index * (PANEL + GAP), variants, of)
    for line, (kind, words) in enumerate(LEGEND):
        y = height - 48 + 18 * line
        parts.append(f'<circle cx="{NAMES + 6}" cy="{y - 4}" r="6" class="{kind}"/>')
        parts.append(text(NAMES + 18, y, words, "soft"))
    return "\n".join([*parts, "</svg>", ""])


def write(results, folder):
    (folder / "chart.svg").write_text(svg(results), encoding="utf-8")
