"""Reads what load tools print, and turns it into the same figures for all: text in, figures out.

records, seconds, rec_s, MB_s (10⁶ bytes of payload), p50_ms, p99_ms, p999_ms, max_ms, mean_ms; a figure that a tool does
not give is not there.
"""

import csv
import json
import re


class Unreadable(Exception):
    """A tool printed something else than was expected."""


def rates(records, seconds, size):
    """What follows from a count, a time and a size."""
    if records <= 0 or seconds <= 0:
        raise Unreadable(f"{records} records in {seconds} s")
    return {
        "records": records,
        "seconds": seconds,
        "rec_s": records / seconds,
        "MB_s": records * size / 1e6 / seconds,
    }


def loadgen(text, size):
    """A run file of loadgen, format 1, with one part."""
    run = json.loads(text)
    if run.get("format") != 1:
        raise Unreadable(f"a run file of format {run.get('format')}, not 1")
    if run["failed"] or run["interrupted"]:
        raise Unreadable(f"the run failed or was interrupted: {run['faults']}")
    results = run["parts"][0]["results"]
    if results["errors"]:
        raise Unreadable(f"{results['errors']} errors")
    due = results.get("records_due")
    if due is not None and results["records"] < due:
        raise Unreadable(f"{results['records']} of {due} records were acknowledged")
    figures = rates(results["records"], results["seconds"], size)
    figures["records_per_request"] = results["records"] / results["requests"]
    for latency in run["parts"][0]["latencies"]:
        if latency["name"] in ("latency", "end_to_end"):
            name = latency["name"]
            figures.update({f"p{percent.replace('.', '')}_ms": results[f"{name}_p{percent}_ms"] for percent in ("50", "99", "99.9")})
            figures.update(max_ms=latency["max_ms"], mean_ms=latency["mean_ms"], latency_from=latency["from"])
    return figures


def own_client(text, size, paced=False):
    """The line of JSON of clients/; at a rate they time from when a record was due."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise Unreadable(f"no figures in {text[-300:]!r}")
    said = json.loads(lines[-1])
    if said["bytes"] < said["records"] * size:
        raise Unreadable(f"{said['bytes']} bytes in {said['records']} records of {size}")
    figures = rates(said["records"], said["seconds"], size)
    figures.update({name: said[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms", "sent") if name in said})
    return {**figures, "latency_from": "intended time"} if paced else figures


def redis_benchmark(text, records, size):
    """redis-benchmark --csv with one command; its latency is that of a pipeline, from when it is sent."""
    start = text.find('"test"')
    rows = list(csv.DictReader(text[start:].splitlines())) if start >= 0 else []
    if len(rows) != 1 or not rows[0].get("rps"):
        raise Unreadable(f"{len(rows)} tests in {text[-300:]!r}")
    row = {name: float(value) for name, value in rows[0].items() if name != "test"}
    if row["rps"] <= 0:
        raise Unreadable("a rate of zero")
    figures = rates(records, records / row["rps"], size)
    figures.update(
        p50_ms=row["p50_latency_ms"],
        p99_ms=row["p99_latency_ms"],
        max_ms=row["max_latency_ms"],
        mean_ms=row["avg_latency_ms"],
        latency_from="sending",
    )
    return figures


PERF_TEST_LATENCY = re.compile(r"id: [^,]+, (consumer|confirm) latency min/median/75th/95th/99th ([\d/]+) (µs|ms)")
PERF_TEST_RATE = re.compile(r"id: [^,]+, (sending|receiving) rate avg: (\d+) msg/s")


def perf_test(text, records, size, side, latency=None):
    """RabbitMQ PerfTest's summary: the average rate of a side, and median and 99th percentile of a latency."""
    averages = {kind: int(value) for kind, value in PERF_TEST_RATE.findall(text)}
    if not averages.get(side):
        raise Unreadable(f"no {side} rate in {text[-300:]!r}")
    figures = rates(records, records / averages[side], size)
    for kind, values, unit in PERF_TEST_LATENCY.findall(text):
        if kind == latency:
            per_ms = 1000 if unit == "µs" else 1
            median, _, _, p99 = (int(value) / per_ms for value in values.split("/")[1:])
            figures.update(p50_ms=median, p99_ms=p99, latency_from="sending")
    if latency and "p50_ms" not in figures:
        raise Unreadable(f"no {latency} latency in {text[-300:]!r}")
    return figures


ROCKETMQ_WINDOW = re.compile(r"Current Time: .*\| Send MPS: (\d+) \|.*Average RT\(ms\): +([\d.]+) \| Average Message RT")
ROCKETMQ_FAILED = re.compile(r"Failed: (\d+)")


def rocketmq(text, size):
    """The last line of RocketMQ's BatchProducer: each is of the ten seconds before it."""
    lines = [match for match in map(ROCKETMQ_WINDOW.search, text.splitlines()) if match]
    if not lines:
        raise Unreadable(f"it did not last for ten seconds: {text[-300:]!r}")
    if any(int(failed) for failed in ROCKETMQ_FAILED.findall(text)):
        raise Unreadable("some messages failed")
    figures = rates(int(lines[-1][1]) * 10, 10, size)
    figures.update(mean_ms=float(lines[-1][2]), latency_from="sending")
    return figures
