"""RabbitMQ from Debian's packages, loaded by its PerfTest."""

import re
import socket
import time

from . import messages, packages, parse
from .peer import END_TO_END_RATE, END_TO_END_SECONDS, KIB, CannotDo, Load, Peer, family

PERF_TEST = "2.22.1"
UNCONFIRMED, PREFETCH, ACKNOWLEDGED_TOGETHER = 1000, 500, 100


class RabbitMq(Peer):
    name = "rabbitmq"
    recommended = "durable classic queue, persistent messages, publisher confirms: by its flushes, synced in batches before it confirms"
    durable_settings = "quorum queue of one member, persistent messages, publisher confirms: its log is synced before a confirm"
    records = {"warm-up": (40_000, 30_000), "produce-1k": (100_000, 60_000), "produce-100b": (100_000, 60_000)}

    def __init__(self, place, durable=False):
        super().__init__(place, durable)
        self.files = place.work / "rabbitmq"
        self.jars = place.work / f"perf-test-{PERF_TEST}"
        self.kind = "quorum" if durable else "classic"

    @property
    def erlang(self):
        return self.files / "usr/lib/erlang"

    def set_up(self):
        packages.debian(self.files, ["rabbitmq-server"], also=["erlang-"])
        # Debian's start script knows only the place where it would be installed.
        start = self.erlang / "bin/erl"
        text = start.read_text(encoding="utf-8")
        start.write_text(re.sub(r"\bROOTDIR=/\S+", f"ROOTDIR={self.erlang}", text), encoding="utf-8")
        packages.maven(self.jars, [f"com.rabbitmq:perf-test:{PERF_TEST}"])

    def server(self):
        found = sorted(self.files.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
        if not found:
            raise CannotDo("its server is not in Debian's package")
        return found[-1]

    def version(self):
        return "RabbitMQ " + self.server().parents[1].name.split("-")[-1]

    def environment(self):
        port, folder = self.place.port, self.folder
        return {
            "PATH": f"{self.erlang}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(port + 2),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"peer{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(port + 1),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def prepare(self):
        (self.folder / "plugins").write_text("[].\n", encoding="ascii")

    def spawn(self):
        # The port mapper is started here, or the server would leave one behind.
        self.launch([self.erlang / "bin/epmd", "-address", "127.0.0.1", "-port", self.place.port + 2], self.environment())
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.place.port + 2)) == 0:
                    break
            time.sleep(0.005)
        self.launch([self.server()], self.environment())

    def pids(self):
        # The server is a child of its start script, and has helpers.
        return family(super().pids())

    def first_message(self):
        messages.amqp(self.place.port, "first", self.kind)

    def before(self, row):
        connection = messages.Amqp(self.place.port)
        try:
            connection.declare("produce-1k" if row == "consume" else row, self.kind)
        finally:
            connection.close()

    def perf_test(self, *arguments, read, size):
        java = ["java", "-Xmx1g", "-cp", f"{self.jars}/*", "com.rabbitmq.perf.PerfTest"]
        where = ["-h", f"amqp://guest:guest@127.0.0.1:{self.place.port}", "-p", "-f", "persistent"]
        return Load([*java, *where, *arguments], read, size)

    def produce(self, row, size):
        records = self.count(row)
        arguments = ["-u", row, "-x", 1, "-y", 0, "-s", size, "-c", UNCONFIRMED, "-C", records]
        return self.perf_test(
            *arguments, read=lambda text: parse.perf_test(text, records, size, "sending", "confirm"), size=size
        )

    def consume(self):
        records = self.count("produce-1k")
        arguments = ["-u", "produce-1k", "-x", 0, "-y", 1, "-q", PREFETCH, "-A", ACKNOWLEDGED_TOGETHER, "-D", records]
        return self.perf_test(*arguments, read=lambda text: parse.perf_test(text, records, KIB, "receiving"), size=KIB)

    def end_to_end(self):
        records = END_TO_END_RATE * END_TO_END_SECONDS
        sides = ["-x", 1, "-y", 1, "-s", KIB, "-c", UNCONFIRMED, "-q", PREFETCH, "-r", END_TO_END_RATE]
        ends = ["-C", records, "-D", records]
        read = lambda text: parse.perf_test(text, records, KIB, "receiving", "consumer")  # noqa: E731
        return self.perf_test("-u", "end-to-end", *sides, *ends, read=read, size=KIB)
