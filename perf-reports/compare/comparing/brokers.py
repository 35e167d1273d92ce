"""The brokers: how each is set up, started, stopped and killed. Every process that is ended here was started here."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from . import host
from .protocol import Client, ProtocolError

# What the JVM of a production broker is told (Kafka's own kafka-run-class.sh), with logs kept short.
JVM = (
    "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent "
    "-Djava.awt.headless=true -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
).split()

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.network.threads=3
num.io.threads=8
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=1000
"""

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>corelane</groupId><artifactId>kafka-jars</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version><exclusions>
<exclusion><groupId>org.apache.kafka</groupId><artifactId>kafka-tools-api</artifactId></exclusion></exclusions></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""


class Broker:
    """One broker on this machine, on one port, with one data folder."""

    name = ""

    def __init__(self, work, port):
        self.work, self.port = pathlib.Path(work), port
        self.data = self.work / f"{self.name}-{port}-data"
        self.log = self.work / f"{self.name}-{port}.log"
        self.process = None
        self.work.mkdir(parents=True, exist_ok=True)

    def command(self):
        """What starts the broker."""
        raise NotImplementedError

    def prepare(self):
        """What an empty data folder needs before the first start."""

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, prefix=()):
        """Starts the process and does not wait for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *self.command()], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.work
            )

    def wait_for_port(self):
        """Nobody else may have the port; what a killed broker had open may take the kernel a moment."""
        for attempt in range(300):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                    return
                except OSError as error:
                    if attempt == 299:
                        raise RuntimeError(f"port {self.port} is taken: {error}") from error
            time.sleep(0.1)

    def start(self, prefix=()):
        self.wait_for_port()
        self.prepare()
        self.spawn(prefix)
        self.wait()
        return self

    def wait(self, seconds=120):
        """Until a connection is taken and requests are answered."""
        end = time.monotonic() + seconds
        while True:
            try:
                with self.client() as client:
                    client.create_topic("is-it-there", 1, may_exist=True)
                    return
            except (OSError, ProtocolError) as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} did not start, see {self.log}: {error}") from error
                time.sleep(0.02)

    def client(self):
        return Client(self.port)

    def end(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(120)
        self.process = None

    def stop(self):
        self.end(signal.SIGTERM)

    def kill9(self):
        self.end(signal.SIGKILL)

    def wipe(self):
        self.end(signal.SIGKILL)
        shutil.rmtree(self.data, ignore_errors=True)

    def first_acknowledged(self, topic, prefix=()):
        """Starts the broker; seconds from the start of the process to the first acknowledged record."""
        begun = time.monotonic()
        self.spawn(prefix)
        while True:
            try:
                with self.client() as client:
                    client.create_topic(topic, 1, may_exist=True)
                    client.produce(topic, b"first")
                    return time.monotonic() - begun
            except (OSError, ProtocolError) as error:
                if self.process.poll() is not None or time.monotonic() - begun > 300:
                    raise RuntimeError(f"{self.name} did not start, see {self.log}: {error}") from error
                time.sleep(0.002)


class Corelane(Broker):
    """Corelane with its default settings; only address, folder and the missing admin port are said."""

    name = "corelane"

    def __init__(self, work, port, binary, options=()):
        super().__init__(work, port)
        self.binary, self.options = str(pathlib.Path(binary).resolve()), list(options)

    def command(self):
        address = f"127.0.0.1:{self.port}"
        where = ["--data", str(self.data), "--listen", address, "--set", "admin.listener=none"]
        return [self.binary, *where, *self.options]

    def version(self):
        return host.output(self.binary, "--version")


class Kafka(Broker):
    """Apache Kafka from Maven Central: KRaft, one node that is broker and controller."""

    name = "kafka"

    def __init__(self, work, port, version, heap="4g"):
        super().__init__(work, port)
        self.release, self.heap = version, heap
        self.jars = self.work / f"kafka-{version}"
        self.properties = self.work / f"kafka-{port}.properties"

    def set_up(self):
        """Fetches Kafka, once."""
        if any(self.jars.glob(f"kafka_2.13-{self.release}.jar")):
            return
        pom = self.work / "pom.xml"
        pom.write_text(POM.format(version=self.release), encoding="ascii")
        arguments = [f"-DoutputDirectory={self.jars}", "-DincludeScope=runtime"]
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", *arguments]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"Kafka {self.release} cannot be fetched (Java 17 and Maven are needed): {error}") from error

    def java(self, heap, main, *arguments):
        return ["java", f"-Xmx{heap}", f"-Xms{heap}", *JVM, "-cp", f"{self.jars}/*", main, *arguments]

    def prepare(self):
        text = PROPERTIES.format(port=self.port, controller=self.port + 1, data=self.data)
        self.properties.write_text(text, encoding="ascii")
        self.format_data()

    def format_data(self):
        """Gives an empty folder its cluster id."""
        if not (self.data / "meta.properties").exists():
            format_ = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(self.properties)]
            done = subprocess.run(
                self.java("256m", "kafka.tools.StorageTool", *format_), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"Kafka's storage cannot be formatted: {done.stdout}{done.stderr}")

    def command(self):
        return self.java(self.heap, "kafka.Kafka", str(self.properties))

    def version(self):
        return f"Apache Kafka {self.release}, {os.path.basename(self.jars)}, -Xmx{self.heap}"
