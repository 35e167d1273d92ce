"""The rows of the comparison: what is run, and what is asked of the result."""

import os
import subprocess
import time

from . import host
from .load import Sample

LINGER = ["acks=all", "linger.ms=5", "batch.size=131072", "queue.buffering.max.kbytes=262144"]
# Records go to all partitions at random, not to one at a time.
SPREAD = ["sticky.partitioning.linger.ms=0"]
AT_ONCE = ["acks=all", "linger.ms=0"]
PARTITIONS = 6
KIB = 1024


class Row:
    """One row: its variants are run in turn, pair after pair, each sample on a topic of its own."""

    variants = ("corelane", "kafka")
    partitions = PARTITIONS

    def __init__(self, name, title):
        self.name, self.title = name, title

    def before(self, bench):
        """What is needed once."""

    def after(self, bench):
        """Clears away what `before` has made."""

    def sample(self, bench, variant, number):
        raise NotImplementedError

    def topic(self, variant, number):
        return f"{self.name}-{variant}-{number}"


class OnNewTopic(Row):
    """A row of which each sample has an empty topic, which is deleted afterwards."""

    def sample(self, bench, variant, number):
        broker = bench.broker(variant)
        topic = self.topic(variant, number)
        # Kafka that acknowledges after fsync; ours does by default, and its setting is read back.
        configs = [("flush.messages", "1")] if variant == "kafka-sync" else []
        with broker.client() as client:
            client.create_topic(topic, self.partitions, configs)
            settings = client.topic_configs(topic)
            bench.check_durability(variant, settings)
            # Kafka makes the logs of many partitions behind the answer.
            time.sleep(0.5 + self.partitions / 1000)
            sample = self.run(bench, broker, variant, topic)
            client.delete_topics([topic])
        sample["settings"] = {key: settings.get(key) for key in ("durability", "flush.messages")}
        time.sleep(1.5)
        return sample

    def run(self, bench, broker, variant, topic):
        raise NotImplementedError


class Produce(OnNewTopic):
    """Produce flat out."""

    def __init__(self, name, title, records, size, options=(), partitions=PARTITIONS, synced=None):
        super().__init__(name, title)
        self.records, self.size, self.options, self.partitions = records, size, list(options), partitions
        self.synced = synced
        if synced:
            self.variants = ("corelane", "kafka", "kafka-sync")

    def run(self, bench, broker, variant, topic):
        records = bench.scaled(self.synced if variant == "kafka-sync" else self.records)
        load = ["produce", topic, records, self.size, 0, *LINGER, *self.options]
        return Sample(bench, broker).run(load, records, self.size)


class EndToEnd(OnNewTopic):
    """From the intended time of a record to its arrival at a consumer at the end of the log; rate 0 is ping-pong."""

    def __init__(self, name, title, records, size, rate, options=AT_ONCE, partitions=PARTITIONS, synced=False):
        super().__init__(name, title)
        self.records, self.size, self.rate, self.options = records, size, rate, list(options)
        self.partitions = partitions
        if synced:
            self.variants = ("corelane", "kafka", "kafka-sync")

    def run(self, bench, broker, variant, topic):
        records = bench.scaled(self.records)
        load = ["e2e", topic, records, self.size, self.rate, self.partitions, *self.options]
        return Sample(bench, broker).run(load, records, self.size)


class Consume(Row):
    """Reads a topic that is written once per broker; `cold` forgets the page cache before each sample."""

    def __init__(self, name, title, records, cold):
        super().__init__(name, title)
        self.records, self.cold = records, cold

    def before(self, bench):
        for variant in self.variants:
            fill(bench, bench.broker(variant), self.topic(variant, 0), bench.scaled(self.records))
        for variant in self.variants:
            self.read(bench, variant)

    def after(self, bench):
        for variant in self.variants:
            with bench.broker(variant).client() as client:
                client.delete_topics([self.topic(variant, 0)])
        time.sleep(2)

    def sample(self, bench, variant, number):
        if self.cold:
            host.drop_caches()
            time.sleep(0.5)
        return self.read(bench, variant)

    def read(self, bench, variant):
        records = bench.scaled(self.records)
        load = ["consume", self.topic(variant, 0), records, PARTITIONS]
        return Sample(bench, bench.broker(variant)).run(load, records, KIB)


class BesideColdReader(Row):
    """End to end at 5,000 records/s, without and with a cold reader that is held to 200 MB/s."""

    variants = ("corelane", "corelane-beside", "kafka", "kafka-beside")
    read_bytes_per_second = 200_000_000

    def __init__(self, name, title, records, seconds):
        super().__init__(name, title)
        self.records, self.seconds = records, seconds

    def before(self, bench):
        for variant in ("corelane", "kafka"):
            fill(bench, bench.broker(variant), f"{self.name}-{variant}-cold", bench.scaled(self.records))

    def after(self, bench):
        for variant in ("corelane", "kafka"):
            with bench.broker(variant).client() as client:
                client.delete_topics([f"{self.name}-{variant}-cold"])
        time.sleep(2)

    def sample(self, bench, variant, number):
        broker = bench.broker(variant)
        topic, cold = self.topic(variant, number), f"{self.name}-{broker.name}-cold"
        host.drop_caches()
        with broker.client() as client:
            client.create_topic(topic, PARTITIONS)
            reader = None
            if variant.endswith("beside"):
                environment = {**os.environ, "RKPERF_READ_BYTES_S": str(self.read_bytes_per_second)}
                command = bench.command(broker, ["consume", cold, bench.scaled(self.records), PARTITIONS])
                reader = subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
            records = int(5000 * self.seconds)
            load = ["e2e", topic, records, KIB, 5000, PARTITIONS, *AT_ONCE]
            sample = Sample(bench, broker).run(load, records, KIB)
            if reader is not None:
                # It has to have been reading all the time, else the sample says nothing.
                sample["reader_was_there"] = reader.poll() is None
                reader.kill()
                reader.communicate()
            client.delete_topics([topic])
        return sample


class Starts(Row):
    """From the start of the process on an empty folder to the first acknowledged record, which makes its topic, too."""

    def sample(self, bench, variant, number):
        broker = bench.other(variant)
        broker.wipe()
        broker.wait_for_port()
        begun = time.monotonic()
        broker.prepare()
        prepared = time.monotonic() - begun
        seconds = broker.first_acknowledged("first")
        time.sleep(1)
        sample = {"s": seconds, "prepared_s": prepared, "rss_mb": host.memory_mb(broker.pid)}
        broker.wipe()
        return sample


class AfterKill(Row):
    """From the start of the process after kill -9 to the first acknowledged record, with so many bytes on disk."""

    def __init__(self, name, title, records):
        super().__init__(name, title)
        self.records = records

    def before(self, bench):
        for variant in self.variants:
            broker = bench.other(variant)
            broker.wipe()
            broker.start()
            fill(bench, broker, "filled", bench.scaled(self.records))

    def after(self, bench):
        for variant in self.variants:
            bench.other(variant).wipe()

    def sample(self, bench, variant, number):
        broker = bench.other(variant)
        # Something that is not yet where it belongs when the kill comes.
        fill(bench, broker, "filled", bench.scaled(300_000))
        broker.kill9()
        seconds = broker.first_acknowledged("filled")
        time.sleep(1)
        return {"s": seconds, "rss_mb": host.memory_mb(broker.pid), "data_gb": folder_gb(broker.data)}


class Idle(Row):
    """Memory after the start, of 100,000 partitions without records, and of connections without requests."""

    def __init__(self, name, title, partitions, connections):
        super().__init__(name, title)
        self.idle_partitions, self.connections = partitions, connections

    def sample(self, bench, variant, number):
        broker = bench.other(variant)
        broker.wipe()
        broker.start()
        time.sleep(2)
        sample = {"start_mb": host.memory_mb(broker.pid)}
        opened = []
        for _ in range(self.connections):
            client = broker.client()
            client.topic_configs("is-it-there")
            opened.append(client)
        time.sleep(1)
        grown = host.memory_mb(broker.pid) - sample["start_mb"]
        sample["connection_kb"] = grown * 1000 / self.connections
        for client in opened:
            client.close()
        partitions = self.idle_partitions if variant == "corelane" else 0
        if partitions:
            time.sleep(1)
            before = host.memory_mb(broker.pid)
            with broker.client() as client:
                for topic in range(partitions // 1000):
                    client.create_topic(f"idle-{topic}", 1000)
            time.sleep(5)
            sample["partitions_mb"] = host.memory_mb(broker.pid) - before
            cpu = host.cpu_seconds(broker.pid)
            time.sleep(10)
            sample["idle_cpu_share"] = (host.cpu_seconds(broker.pid) - cpu) / 10
        broker.wipe()
        return sample


class OneCore(Row):
    """The broker alone on one core with one shard, all load from another: bytes by rkperf, requests of one record by loadgen."""

    variants = ("corelane",)
    in_flight = 64

    def __init__(self, name, title, records, requests):
        super().__init__(name, title)
        self.records, self.requests = records, requests

    def sample(self, bench, variant, number):
        broker = bench.alone()
        broker.wipe()
        broker.start(prefix=["taskset", "-c", "0"])
        try:
            records = bench.scaled(self.records)
            with broker.client() as client:
                client.create_topic("bytes", PARTITIONS)
                client.create_topic("requests", 1)
            load = ["produce", "bytes", records, KIB, 0, *LINGER]
            sample = Sample(bench, broker).run(load, records, KIB, prefix=["taskset", "-c", "1"])
            figures = bench.loadgen(broker, "requests", bench.scaled(self.requests), self.in_flight)
            sample["requests_s"] = figures["requests"] / figures["seconds"]
            sample["cpu_us_per_request"] = figures["broker_cpu_us_per_request"]
        finally:
            broker.wipe()
        return sample


def fill(bench, broker, topic, records):
    """Writes records of 1 KiB."""
    with broker.client() as client:
        client.create_topic(topic, PARTITIONS, may_exist=True)
    time.sleep(0.5)
    Sample(bench, broker).run(["produce", topic, records, KIB, 0, *LINGER], records, KIB)


def folder_gb(folder):
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total / 1e9


MILLION = 1_000_000

ROWS = [
    Produce("produce-1k", "produce acks=all, 1 KiB, 6 partitions, linger 5 ms", 2 * MILLION, KIB, synced=400_000),
    Produce("produce-lz4", "the same with lz4", 2 * MILLION, KIB, ["compression.type=lz4"]),
    Produce("produce-100b", "the same with records of 100 B", 6 * MILLION, 100),
    EndToEnd("ping-pong", "one 100 B record at a time through produce and fetch", 5000, 100, 0, partitions=1, synced=True),
    Produce("partitions-1000", "produce, 1,000 partitions, linger 5 ms", MILLION, KIB, SPREAD, 1000),
    Produce("partitions-5000", "produce, 5,000 partitions, linger 5 ms", 400_000, KIB, SPREAD, 5000),
    EndToEnd("tail", "consume at the tail, beside a producer that goes flat out", MILLION, KIB, MILLION * 1000, LINGER),
    Consume("hot", "consume, second pass over data just read", 2 * MILLION, cold=False),
    Consume("cold", "consume after the page cache was dropped", 2 * MILLION, cold=True),
    BesideColdReader("beside-cold", "end to end at 5,000/s beside a cold reader of 200 MB/s", 3 * MILLION, 10),
    EndToEnd("end-to-end", "end to end at 5,000 records/s, 1 KiB", 100_000, KIB, 5000),
    Starts("start", "from start on an empty folder to the first acknowledged record"),
    AfterKill("kill", "from start after kill -9 to the first acknowledged record, 10 GB", 10 * MILLION),
    OneCore("one-core", "the broker alone on one core with one shard, load from the other", 2 * MILLION, 2 * MILLION),
    Idle("idle", "memory: after start, of idle connections and partitions", 100_000, 5000),
]
