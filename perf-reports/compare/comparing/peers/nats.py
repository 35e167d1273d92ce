"""NATS JetStream, loaded by a small client of ours on its Go client."""

import pathlib

from .. import host
from . import messages, packages, parse
from .peer import END_TO_END_RATE, END_TO_END_SECONDS, KIB, Load, Peer

CLIENT = pathlib.Path(__file__).resolve().parents[2] / "clients" / "nats" / "main.go"
SERVER, SERVER_VERSION = "github.com/nats-io/nats-server/v2", "v2.15.2"
LIBRARY = "github.com/nats-io/nats.go@v1.55.0"
IN_FLIGHT, FETCHED = 1000, 2000

CONFIGURATION = """listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{data}", max_file_store: 60G, sync_interval: {sync} }}
"""


class Nats(Peer):
    name = "nats"
    recommended = "JetStream on files, sync_interval 2m (the default): acknowledges from the page cache"
    durable_settings = "JetStream on files, sync_interval always: fsync before each acknowledgement"
    records = {"warm-up": (100_000, 2_000), "produce-1k": (600_000, 15_000), "produce-100b": (1_000_000, 15_000)}

    def __init__(self, place, durable=False):
        super().__init__(place, durable)
        self.server = place.work / "nats" / "nats-server"
        self.client = place.work / "nats-client" / "load"

    def set_up(self):
        packages.go_program(self.server.parent, SERVER, SERVER_VERSION)
        packages.go_client(self.client.parent, CLIENT, [LIBRARY])

    def version(self):
        return "NATS " + host.output(str(self.server), "--version").split()[-1]

    def prepare(self):
        sync = "always" if self.durable else "2m"
        text = CONFIGURATION.format(port=self.place.port, data=self.data, sync=sync)
        (self.folder / "nats.conf").write_text(text, encoding="ascii")

    def spawn(self):
        self.launch([self.server, "-c", self.folder / "nats.conf"])

    def first_message(self):
        messages.nats(self.place.port, "first")

    def load(self, mode, stream, records, size, argument):
        command = [self.client, f"nats://127.0.0.1:{self.place.port}", mode, stream, records, size, argument]

        def read(text):
            figures = parse.own_client(text, size, mode == "latency")
            return {**figures, "latency_from": "sending"} if mode == "produce" else figures

        return Load(command, read, size)

    def produce(self, row, size):
        return self.load("produce", row, self.count(row), size, IN_FLIGHT)

    def consume(self):
        return self.load("consume", "produce-1k", self.count("produce-1k"), KIB, FETCHED)

    def end_to_end(self):
        return self.load("latency", "end-to-end", END_TO_END_RATE * END_TO_END_SECONDS, KIB, END_TO_END_RATE)
