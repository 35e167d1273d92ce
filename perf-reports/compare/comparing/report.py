"""Medians, ranges and ratios of the samples, as JSON and markdown."""

import json
import statistics

from .targets import TARGETS

# Figure, heading, digits.
SHOWN = [
    ("MB_s", "MB/s", 1),
    ("rec_s", "records/s", 0),
    ("requests_s", "requests/s", 0),
    ("cpu_us_per_request", "broker CPU µs/request", 2),
    ("cpu_s_per_gb", "broker CPU s/GB", 2),
    ("cpu_s_per_million", "broker CPU s/million", 1),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("p999_ms", "p99.9 ms", 1),
    ("s", "s", 3),
    ("peak_mb", "peak MB", 0),
    ("rss_mb", "RSS MB", 0),
    ("start_mb", "MB after start", 1),
    ("connection_kb", "KB a connection", 1),
    ("partitions_mb", "MB of 100,000 partitions", 0),
    ("idle_cpu_share", "idle CPU share", 4),
    ("device_flushes", "device flushes", 0),
    ("client_cpu_s", "client CPU s", 1),
    ("other_cpu_s", "other CPU s", 1),
]


class Summary:
    """All samples of one row."""

    def __init__(self, row, samples, commit):
        self.row, self.samples, self.commit = row, samples, commit

    def values(self, variant, figure):
        return [sample[figure] for sample in self.samples.get(variant, []) if sample.get(figure) is not None]

    def median(self, variant, figure):
        values = self.values(variant, figure)
        return statistics.median(values) if values else None

    def ratios(self, figure, of, to):
        """Of each pair."""
        pairs = zip(self.values(of, figure), self.values(to, figure))
        return [ours / theirs for ours, theirs in pairs if theirs]

    def ratio(self, figure, of, to):
        ratios = self.ratios(figure, of, to)
        return statistics.median(ratios) if ratios else None

    def verdicts(self):
        judged = (target.judge(self) for target in TARGETS.get(self.row.name, []))
        return [verdict for verdict in judged if verdict is not None]

    def as_json(self):
        about = {"name": self.row.name, "title": self.row.title, "commit": self.commit}
        return {**about, "samples": self.samples, "targets": self.verdicts()}


def number(value, digits):
    return f"{value:,.{digits}f}"


def cell(values, digits):
    if not values:
        return ""
    middle = number(statistics.median(values), digits)
    return f"{middle} [{number(min(values), digits)}–{number(max(values), digits)}]"


def row_markdown(summary):
    variants = [variant for variant in summary.row.variants if summary.samples.get(variant)]
    lines = [f"## {summary.row.title}", "", f"Row `{summary.row.name}`, commit {summary.commit}.", ""]
    others = [variant for variant in variants[1:]]
    heads = ["figure", *variants, *(f"{variants[0]} / {other}" for other in others)]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for figure, heading, digits in SHOWN:
        cells = [cell(summary.values(variant, figure), digits) for variant in variants]
        if not any(cells) or all(not any(summary.values(variant, figure)) for variant in variants):
            continue
        ratios = [cell(summary.ratios(figure, variants[0], other), 2) for other in others]
        lines.append("| " + " | ".join([heading, *cells, *ratios]) + " |")
    lines.append("")
    for verdict in summary.verdicts():
        lines.append(f"- {'met' if verdict['met'] else '**missed**'}: {verdict['target']}: {verdict['value']:.3g}")
    commands = sorted({sample["command"] for samples in summary.samples.values() for sample in samples if "command" in sample})
    if commands:
        lines += ["", "```", *commands[:1], "```"]
    return lines + [""]


def markdown(facts, summaries):
    host = facts["host"]
    lines = [f"# Corelane and Kafka side by side, {facts['date']}", ""]
    lines.append(
        f"{facts['corelane']} and {facts['kafka']}, on {host['cores']} cores ({host['cpu']}), "
        f"{host['memory_mb']:,} MB, Linux {host['kernel']}, {host['filesystem']} on {host['device']}; client librdkafka "
        f"{host['librdkafka']} on the same cores. {host['java']}."
    )
    lines.append("")
    lines.append(
        f"Each cell is the median of {facts['pairs']} runs with [least–most]; the brokers took turns. Ratios are of the runs of one "
        "pair. Corelane acknowledges after the device has flushed (its default, read back from each topic); `kafka` "
        "acknowledges from the page cache (its default); `kafka-sync` has `flush.messages=1`. CPU is user and system time of "
        "the broker's process, per 10⁹ bytes of payload or per million records; a figure of one machine, where rates are "
        "noise of neighbours and client as well. Peak MB is resident memory, without the page cache that Kafka lives from."
    )
    if facts["scale"] != 1:
        lines += ["", f"**Records were scaled by {facts['scale']:g}: a trial, not a report.**"]
    lines += ["", f"Made by `{facts['command']}`.", ""]
    for summary in summaries:
        lines += row_markdown(summary)
    return "\n".join(lines)


def kept(folder, facts, rows):
    """The rows of an earlier run into the same folder, if it was of the same kind."""
    path = folder / "results.json"
    if not path.exists():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    same = all(before.get(key) == facts[key] for key in ("format", "date", "kafka", "scale", "host"))
    known = {row.name: row for row in rows}
    found = [row for row in before["rows"] if same and row["name"] in known]
    return [Summary(known[row["name"]], row["samples"], row.get("commit", before["commit"])) for row in found]


def write(folder, facts, summaries):
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, "rows": [summary.as_json() for summary in summaries]}
    (folder / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "README.md").write_text(markdown(facts, summaries), encoding="utf-8")
