"""Corelane and Apache Kafka, both driven by loadgen."""

import time

from .. import brokers
from . import parse
from .peer import END_TO_END_RATE, END_TO_END_SECONDS, PARTITIONS, CannotDo, KIB, Load, Peer

# Kafka's documentation advises against it: replication is its durability. It is what the durability of one machine costs.
SYNC_EACH_APPEND = "log.flush.interval.messages=1\n"


class KafkaProtocol(Peer):
    """A broker of Kafka's protocol, held by the classes of the comparison that came first."""

    loadgen = None

    def __init__(self, place, durable=False):
        super().__init__(place, durable)
        self.broker = self.make()

    def make(self):
        raise NotImplementedError

    def set_up(self):
        if not self.loadgen.exists():
            raise CannotDo(f"{self.loadgen.name} is missing: cargo build --release")

    def version(self):
        return self.broker.version()

    def prepare(self):
        self.broker.work, self.broker.data = self.folder, self.data
        self.broker.prepare()

    def spawn(self):
        self.launch(self.broker.command())

    def first_message(self):
        try:
            with self.broker.client() as client:
                client.create_topic("first", 1, may_exist=True)
                client.produce("first", b"first")
        except brokers.ProtocolError as error:
            raise OSError(str(error)) from error

    def before(self, row):
        if row == "consume":
            return
        try:
            with self.broker.client() as client:
                client.create_topic(row, PARTITIONS)
                settings = client.topic_configs(row)
        except brokers.ProtocolError as error:
            raise OSError(str(error)) from error
        if self.name == "corelane" and settings.get("durability") != "fsync":
            raise CannotDo(f"the topic's durability is {settings.get('durability')}, not fsync")
        # Kafka makes the logs behind the answer.
        time.sleep(0.5)

    def load(self, row, command, *arguments, size):
        output = self.folder / f"{row}.json"
        target = ["--bootstrap", f"127.0.0.1:{self.place.port}", "--topic", row, "--pid", str(self.pids()[0])]
        line = [self.loadgen, command, *target, *arguments, "--json", output]
        return Load(line, lambda text: parse.loadgen(text, size), size, output)

    def produce(self, row, size):
        writing = ["--records", self.count(row), "--size", size, "--linger-ms", 5, "--batch-bytes", 131072]
        return self.load(row, "produce", "--partitions", PARTITIONS, "--acks", "all", *writing, size=size)

    def consume(self):
        return self.load("produce-1k", "consume", size=KIB)

    def paced(self, topic, rate, seconds):
        pace = ["--rate", rate, "--arrivals", "constant", "--records", rate * seconds, "--size", KIB]
        return self.load(topic, "latency", "--partitions", PARTITIONS, "--acks", "all", *pace, size=KIB)

    def end_to_end(self):
        return self.paced("end-to-end", END_TO_END_RATE, END_TO_END_SECONDS)


class Corelane(KafkaProtocol):
    name = "corelane"
    recommended = "as it comes: an acknowledgement means that the device has flushed"
    records = {"warm-up": (500_000, 0), "produce-1k": (2_000_000, 0), "produce-100b": (8_000_000, 0)}
    options = ()

    def make(self):
        return brokers.Corelane(self.place.work, self.place.port, self.binary, self.options)


class SettledKafka(brokers.Kafka):
    """Kafka with more lines in server.properties."""

    def __init__(self, work, port, version, more):
        super().__init__(work, port, version)
        self.more = more

    def prepare(self):
        self.properties = self.work / "server.properties"
        text = brokers.PROPERTIES.format(port=self.port, controller=self.port + 1, data=self.data) + self.more
        self.properties.write_text(text, encoding="ascii")
        self.format_data()


class Kafka(KafkaProtocol):
    name = "kafka"
    recommended = "its defaults, 4 GB heap: acknowledges from the page cache"
    durable_settings = "log.flush.interval.messages=1, which its documentation advises against: fsync before each acknowledgement"
    records = {"warm-up": (6_000_000, 1_500_000), "produce-1k": (2_000_000, 500_000), "produce-100b": (8_000_000, 3_000_000)}
    release = "4.4.0"

    def make(self):
        more = SYNC_EACH_APPEND if self.durable else ""
        return SettledKafka(self.place.work, self.place.port, self.release, more)

    def version(self):
        return f"Apache Kafka {self.release}"

    def warm_ups(self):
        """Gigabytes, and then small requests: a JVM compiles what it has seen, and takes a core for it."""
        yield from super().warm_ups()
        self.before("warm-up-small")
        yield self.paced("warm-up-small", 4 * END_TO_END_RATE if not self.durable else END_TO_END_RATE, END_TO_END_SECONDS)

    def set_up(self):
        super().set_up()
        try:
            self.broker.set_up()
        except RuntimeError as error:
            raise CannotDo(str(error)) from error
