"""Apache RocketMQ: a name server and a broker in a network namespace of their own, as one of their ports cannot be bound to
the loopback address alone. Its own benchmark writes, a small client of ours reads."""

import os
import pathlib
import shutil
import subprocess
import time

from . import messages, packages, parse
from .peer import END_TO_END_RATE, END_TO_END_SECONDS, KIB, PARTITIONS, CannotDo, Load, Peer

RELEASE = "5.5.0"
CLIENT = pathlib.Path(__file__).resolve().parents[2] / "clients" / "rocketmq" / "RocketLoad.java"
REBALANCE = "rocketmq.client.rebalance.waitInterval"
NAME_SERVER, BROKER = 9876, 10911
SENDERS, BATCH_BYTES, SECONDS, WARM_UP_SECONDS = 8, 100_000, 12.5, 6

CONFIGURATION = """brokerClusterName=compare
brokerName=broker
brokerId=0
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
listenPort={port}
namesrvAddr=127.0.0.1:{name_server}
storePathRootDir={data}
storePathCommitLog={data}/commitlog
brokerRole=ASYNC_MASTER
flushDiskType={flush}
"""


class RocketMq(Peer):
    name = "rocketmq"
    recommended = "flushDiskType=ASYNC_FLUSH (the default), 4 GB heap: acknowledges from the page cache"
    durable_settings = "flushDiskType=SYNC_FLUSH, 4 GB heap: fsync before each acknowledgement"
    # What it writes is bounded by time; of the backlog so many are read.
    records = {"consume": (200_000, 100_000)}

    def __init__(self, place, durable=False):
        super().__init__(place, durable)
        self.jars = place.work / f"rocketmq-{RELEASE}"
        self.classes = place.work / "rocketmq-client"
        self.network = f"compare-{place.port}"

    def set_up(self):
        if not shutil.which("ip") or os.geteuid():
            raise CannotDo("its network namespace needs root and iproute2")
        artifacts = ("namesrv", "broker", "tools", "example")
        packages.maven(self.jars, [f"org.apache.rocketmq:rocketmq-{artifact}:{RELEASE}" for artifact in artifacts])
        compile_ = ["javac", "-cp", f"{self.jars}/*", str(CLIENT), "-d"]
        packages.whole(self.classes, lambda half: packages.run([*compile_, str(half)]))

    def version(self):
        return f"Apache RocketMQ {RELEASE}"

    def java(self, heap, *arguments):
        quiet = [f"-Duser.home={self.folder}", "-Drocketmq.client.logUseSlf4j=false", "-Dorg.apache.rocketmq.client.logLevel=ERROR"]
        inside = ["ip", "netns", "exec", self.network, "java", *heap, *quiet]
        return [*inside, "-cp", f"{self.classes}:{self.jars}/*", *arguments]

    def wait_for_port(self):
        subprocess.run(["ip", "netns", "delete", self.network], capture_output=True, check=False)
        packages.run(["ip", "netns", "add", self.network])
        packages.run(["ip", "-n", self.network, "link", "set", "lo", "up"])

    def prepare(self):
        flush = "SYNC_FLUSH" if self.durable else "ASYNC_FLUSH"
        text = CONFIGURATION.format(port=BROKER, name_server=NAME_SERVER, data=self.data, flush=flush)
        (self.folder / "broker.conf").write_text(text, encoding="ascii")
        (self.folder / "names.conf").write_text(f"listenPort={NAME_SERVER}\nbindAddress=127.0.0.1\n", encoding="ascii")

    def spawn(self):
        home = {"ROCKETMQ_HOME": str(self.folder)}
        names = "org.apache.rocketmq.namesrv.NamesrvStartup"
        broker = "org.apache.rocketmq.broker.BrokerStartup"
        collector = ["-Xms4g", "-Xmx4g", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=4g", "-server"]
        self.launch(self.java(["-Xms512m", "-Xmx512m"], names, "-c", self.folder / "names.conf"), home)
        self.launch(self.java(collector, broker, "-c", self.folder / "broker.conf"), home)

    def first_message(self):
        with messages.network_of(self.network):
            messages.rocketmq_topic(BROKER, "first", 1)
            messages.rocketmq_send(BROKER, "first")

    def warm_ups(self):
        self.before("warm-up")
        load = self.produce("warm-up", KIB)
        load.seconds = WARM_UP_SECONDS
        yield load

    def before(self, row):
        if row != "consume":
            with messages.network_of(self.network):
                messages.rocketmq_topic(BROKER, row, PARTITIONS)
            time.sleep(1)

    def written(self, row):
        with messages.network_of(self.network):
            return messages.rocketmq_messages(BROKER, row, PARTITIONS)

    def load(self, command, read, size, **more):
        return Load(self.java(["-Xmx1g"], *command), read, size, environment={"ROCKETMQ_HOME": str(self.folder)}, **more)

    def produce(self, row, size):
        # Senders of batches are its fastest way; they never end, and their figures are of the last ten seconds.
        sender = "org.apache.rocketmq.example.benchmark.BatchProducer"
        where = ["-n", f"127.0.0.1:{NAME_SERVER}", "-t", row, "-s", size]
        batches = ["-b", BATCH_BYTES // size, "-w", SENDERS, "-ri", 1000]
        return self.load(
            [sender, *where, *batches], lambda text: parse.rocketmq(text, size), size, seconds=SECONDS, records=lambda: self.written(row)
        )

    def ours(self, mode, topic, records, argument):
        command = ["RocketLoad", f"127.0.0.1:{NAME_SERVER}", mode, topic, records, KIB, argument]
        # A consumer that has just come gets its queues within a second, not within twenty.
        return self.load([f"-D{REBALANCE}=500", *command], lambda text: parse.own_client(text, KIB, mode == "latency"), KIB)

    def consume(self):
        return self.ours("consume", "produce-1k", min(self.count("consume"), self.written("produce-1k")), 32)

    def end_to_end(self):
        return self.ours("latency", "end-to-end", END_TO_END_RATE * END_TO_END_SECONDS, END_TO_END_RATE)

    def wipe(self):
        super().wipe()
        if os.path.exists(f"/run/netns/{self.network}"):
            subprocess.run(["ip", "netns", "delete", self.network], capture_output=True, check=False)
