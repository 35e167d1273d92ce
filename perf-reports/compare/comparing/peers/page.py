"""README.md of a report: for each row a table, Corelane first, and the command lines."""

from ..report import cell

# Figure, heading, digits.
COLUMNS = [
    ("s", "s", 3),
    ("start_mb", "MB", 0),
    ("rec_s", "records/s", 0),
    ("MB_s", "MB/s", 1),
    ("cpu_s_per_gb", "broker CPU s/GB", 2),
    ("cpu_s_per_million", "broker CPU s/million", 2),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("mean_ms", "mean ms", 2),
    ("records_per_request", "records/request", 0),
    ("peak_mb", "peak MB", 0),
    ("device_flushes", "device flushes", 0),
]
# Of these a ratio to Corelane's is shown; the rate of a paced row is given, not found.
RATIOS = {
    "start": [("s", "s")],
    "memory": [("start_mb", "MB")],
    "end-to-end": [("cpu_s_per_million", "CPU"), ("p50_ms", "p50"), ("p99_ms", "p99")],
}
FLAT_OUT = [("rec_s", "rate"), ("cpu_s_per_million", "CPU")]


def table(results, row):
    variants = [variant for variant in results.order() if any(run["row"] == row.name for run in results.runs if run["variant"] == variant)]
    columns = [column for column in COLUMNS if any(results.values(row.name, variant, column[0]) for variant in variants)]
    if row.name == "end-to-end":
        columns = [column for column in columns if column[0] not in ("rec_s", "MB_s", "cpu_s_per_gb", "mean_ms")]
    ratios = RATIOS.get(row.name, FLAT_OUT)
    heads = ["", *(heading for _, heading, _ in columns), *(f"corelane / it: {name}" for _, name in ratios), "latency from"]
    if not any(run.get("latency_from") for run in results.runs if run["row"] == row.name):
        heads.pop()
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for variant in variants:
        cells = [cell(results.values(row.name, variant, figure), digits) for figure, _, digits in columns]
        others = [cell(results.ratios(row.name, variant, figure), 2) if variant != "corelane" else "" for figure, _ in ratios]
        of = [run.get("latency_from", "") for run in results.runs if (run["row"], run["variant"]) == (row.name, variant)]
        lines.append("| " + " | ".join([variant, *cells, *others, *([of[-1]] if heads[-1] == "latency from" else [])]) + " |")
    return lines


def section(results, row):
    if not any(run["row"] == row.name for run in results.runs) and not results.sentences(row.name):
        return []
    lines = [f"## {row.title[0].upper()}{row.title[1:]}", "", f"Row `{row.name}`.", "", *table(results, row), ""]
    for (variant, sentence), times in results.sentences(row.name).items():
        lines.append(f"- {variant}, {times} times: {sentence}" if times > 1 else f"- {variant}: {sentence}")
    commands = {run["variant"]: run["command"] for run in results.runs if run["row"] == row.name and "command" in run}
    if commands:
        shortened = [f"{variant}: {shorten(commands[variant])}" for variant in results.order() if variant in commands]
        lines += ["", "```", *shortened, "```"]
    return lines + [""]


def shorten(command):
    """A payload of a thousand letters says nothing."""
    return " ".join(f"<{len(word)} B>" if len(word) > 90 and set(word) == {"x"} else word for word in command.split(" "))


def head(results):
    facts, machine = results.facts, results.facts["host"]
    lines = [f"# Corelane and its peers side by side, {facts['date']}", ""]
    lines += ["![Rate, CPU and latency of all](chart.svg)", ""]
    lines.append(
        f"On {machine['cores']} cores ({machine['cpu']}), {machine['memory_mb']:,} MB, Linux {machine['kernel']}, "
        f"{machine['filesystem']} on {machine['device']}; clients and brokers share the cores. {machine['java']}, {facts['go']}."
    )
    lines += [
        "",
        "Each cell is the median of the runs with [least–most]. A round begins with Corelane; brokers take turns, and in its turn each "
        "has the machine to itself and starts on an empty folder. Ratios are of the runs of one round. Above 1 Corelane has more of it: for a rate that is good, for CPU, time and memory it is bad.",
        "",
        "CPU is user and system time of the broker's processes, per 10⁹ bytes of payload or per million records. Peak MB is "
        "resident memory, without the page cache (RocketMQ maps its files: part of its memory is page cache). Device flushes are counted by the kernel on the whole disk: they "
        "tell who syncs before an acknowledgement and who does not. Dirty pages are written back before each row, and not counted.",
        "",
        "| | version | settings | rounds |",
        "|---|---|---|---|",
    ]
    for name in results.order():
        of = results.variants[name]
        rounds = len({run["pair"] for run in results.runs if run["variant"] == name})
        lines.append(f"| {name} | {of['version']} | {of['settings']} | {rounds} |")
    lines += [""] + [f"**{name}**: {sentence}" for name, sentence in results.out.items()]
    if facts["scale"] != 1:
        lines += ["", f"**Records were scaled by {facts['scale']:g}: a trial, not a report.**"]
    commits = sorted({run["commit"] for run in results.runs})
    lines += ["", f"Made by `{facts['command']}` (commit {', '.join(commits)}), in one call or several that gather here.", ""]
    return lines


CLIENTS = """## Who measured

The tools are not the same, and some of what differs is theirs.

- Corelane and Kafka: `loadgen`, one thread, batches of 128 KiB that wait for 5 ms at most, 5 requests in flight. Its latency when flat out is from handing over, at a rate from the intended time.
- Redis: `redis-benchmark`, 10 connections with pipelines of 100, to six streams; one entry of 1 KiB is one command. Reading and pacing by a small client of ours (`clients/redis`).
- NATS: a small client of ours on its own Go library (`clients/nats`), 1,000 publishes in flight.
- RabbitMQ: PerfTest, one sender, 1,000 unconfirmed, one message a frame; one reader that acknowledges 100 together. Its latency is from sending: a sender that is held up sends later, and nobody counts that.
- RocketMQ: its BatchProducer, eight senders, 100 KB a batch, for 12.5 s, of which the last ten count for the rate; it gives no percentiles. Reading and pacing by a small client of ours on its Java library (`clients/rocketmq`). Its consumer acknowledges each batch.
"""


def write(results, rows, folder):
    """README.md, with a link to notes.md where somebody has written one."""
    notes = "What stands out, and why: [notes.md](notes.md).\n\n" if (folder / "notes.md").exists() else ""
    text = markdown(results, rows).replace("\n\n", f"\n\n{notes}", 1)
    (folder / "README.md").write_text(text, encoding="utf-8")


def markdown(results, rows):
    lines = head(results)
    for row in rows:
        lines += section(results, row)
    servers = [f"{name}: {command}" for name in results.order() for command in results.variants[name]["commands"]]
    return "\n".join(lines) + "\n" + CLIENTS + "\n## How they were started\n\n```\n" + "\n".join(servers) + "\n```\n"
