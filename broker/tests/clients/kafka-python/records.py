"""Checks that print a line each, and records compared to the last byte; shared with the aiokafka suite."""

import os
import sys
import time
import traceback
from dataclasses import dataclass, field

PATIENCE_S = 20
BOOTSTRAP = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
# How many brokers the cluster has.
BROKERS = int(os.environ.get("BROKERS", "1"))
RUN = format(int(time.time() * 1000), "x")
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


@dataclass
class Record:
    """As sent, or as received; the offset is None where the broker gave none."""

    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp: int | None = None
    offset: int | None = None


class Checks:
    """Counts what passed; the first check that fails ends the program with its cause."""

    def __init__(self):
        self.passed = 0

    def ok(self, name, start):
        self.passed += 1
        print(f"ok   {name} ({int((time.monotonic() - start) * 1000)} ms)", flush=True)

    def fail(self, name):
        print(f"FAIL {name}")
        traceback.print_exc(file=sys.stdout)
        print(f"{self.passed} passed, 1 failed", flush=True)
        os._exit(1)

    def run(self, name, body, *args):
        start = time.monotonic()
        try:
            body(*args)
        except BaseException:
            self.fail(name)
        self.ok(name, start)

    async def run_async(self, name, body, *args):
        start = time.monotonic()
        try:
            await body(*args)
        except BaseException:
            self.fail(name)
        self.ok(name, start)

    def close(self):
        print(f"{self.passed} passed, 0 failed")


def shapes(partitions):
    """Keyed and keyless records, null and empty values, headers with repeated keys."""
    start = int(time.time() * 1000) - 3_600_000
    records = []
    for i in range(24):
        value = None if i % 6 == 4 else b"" if i % 6 == 5 else os.urandom(10 + i * 40)
        key = None if i % 3 == 0 or value is None and i % 2 else b"key-%d" % i
        headers = [("trace", os.urandom(16)), ("twice", b"1"), ("twice", b"2")] if i % 4 == 0 else []
        if value is None and key is None:
            key = b"tombstone"
        records.append(Record(i % partitions, value, key, headers, start + i))
    return records


def numbers(partitions, count, start_ms=None):
    """Values 0..count in turn over the partitions, one second apart from start_ms."""
    return [
        Record(i % partitions, str(i).encode(), timestamp=None if start_ms is None else start_ms + i * 1000)
        for i in range(count)
    ]


def compare(sent, got):
    """Each record sent is in its partition in order, equal in every field, and offsets have no gap."""
    assert len(sent) == len(got), f"count: expected {len(sent)}, got {len(got)}"
    read = {}
    for g in got:
        before = read.setdefault(g.partition, [])
        assert not before or before[-1].offset + 1 == g.offset, f"offset {g.offset} after {before[-1].offset}"
        before.append(g)
    taken = {}
    for s in sent:
        index = taken.get(s.partition, 0)
        taken[s.partition] = index + 1
        g = read[s.partition][index]
        where = f"record {index} of partition {s.partition}"
        assert s.offset is None or s.offset == g.offset, f"{where}: offset {s.offset}, got {g.offset}"
        assert s.key == g.key, f"{where}: key {s.key}, got {g.key}"
        assert s.value == g.value, f"{where}: value differs"
        assert s.timestamp is None or s.timestamp == g.timestamp, f"{where}: {s.timestamp}, got {g.timestamp}"
        assert list(s.headers) == list(g.headers), f"{where}: headers {s.headers}, got {g.headers}"


def raises(expected, what, body, *args, **kwargs):
    try:
        body(*args, **kwargs)
    except expected:
        return
    raise AssertionError(f"{what}: expected {expected.__name__}, got success")
