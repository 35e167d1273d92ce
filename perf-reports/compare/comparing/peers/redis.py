"""Redis streams: redis-benchmark writes, a small client of ours reads."""

import pathlib

from .. import host
from . import messages, packages, parse
from .peer import END_TO_END_RATE, END_TO_END_SECONDS, KIB, Load, Peer

CLIENT = pathlib.Path(__file__).resolve().parents[2] / "clients" / "redis" / "main.go"
# What redis-benchmark makes of __rand_int__ below 6, without the last digit.
STREAM = "{row}:" + "0" * 11
CONNECTIONS, PIPELINE, STREAMS = 10, 100, 6


class Redis(Peer):
    name = "redis-streams"
    recommended = "appendonly yes, appendfsync everysec: acknowledges before fsync, up to a second of it can be lost"
    durable_settings = "appendonly yes, appendfsync always: fsync before each batch of answers"
    records = {"warm-up": (100_000, 50_000), "produce-1k": (800_000, 600_000), "produce-100b": (1_500_000, 1_000_000)}

    def __init__(self, place, durable=False):
        super().__init__(place, durable)
        self.files = place.work / "redis"
        self.client = place.work / "redis-client" / "load"

    def set_up(self):
        packages.debian(self.files, ["redis-server", "redis-tools", "liblzf1", "libjemalloc2", "libatomic1"])
        packages.go_client(self.client.parent, CLIENT)

    def program(self, name):
        return str(self.files / "usr/bin" / name)

    def libraries(self):
        return {"LD_LIBRARY_PATH": ":".join(map(str, sorted(self.files.glob("usr/lib/*-linux-gnu"))))}

    def version(self):
        paths = self.libraries()["LD_LIBRARY_PATH"]
        said = host.output("env", f"LD_LIBRARY_PATH={paths}", self.program("redis-server"), "--version")
        return "Redis " + said.split("v=")[1].split()[0]

    def spawn(self):
        where = ["--port", self.place.port, "--bind", "127.0.0.1", "--dir", self.data]
        sync = ["--appendonly", "yes", "--appendfsync", "always" if self.durable else "everysec"]
        self.launch([self.program("redis-server"), *where, *sync], self.libraries())

    def first_message(self):
        messages.redis(self.place.port, "XADD", "first", "*", "v", "first")

    def before(self, row):
        # It keeps all streams in memory: what the next row does not read is let go.
        keep = STREAM.format(row="produce-1k") if row == "consume" else None
        keys = [STREAM.format(row=of) + str(number) for of in ("warm-up", "produce-1k", "produce-100b") for number in range(STREAMS)]
        messages.redis(self.place.port, "DEL", *(key for key in keys if not keep or not key.startswith(keep)), "end-to-end0")

    def produce(self, row, size):
        records = self.count(row)
        flat_out = ["-n", records, "-c", CONNECTIONS, "-P", PIPELINE, "-r", STREAMS, "--csv"]
        words = ["XADD", f"{row}:__rand_int__", "*", "v", "x" * size]
        command = [self.program("redis-benchmark"), "-h", "127.0.0.1", "-p", self.place.port, *flat_out, *words]
        return Load(command, lambda text: parse.redis_benchmark(text, records, size), size, environment=self.libraries())

    def ours(self, mode, key, records, argument):
        command = [self.client, f"127.0.0.1:{self.place.port}", mode, key, records, KIB, argument]
        return Load(command, lambda text: parse.own_client(text, KIB, mode == "latency"), KIB)

    def consume(self):
        return self.ours("consume", STREAM.format(row="produce-1k"), self.count("produce-1k"), 1000)

    def end_to_end(self):
        return self.ours("latency", "end-to-end", END_TO_END_RATE * END_TO_END_SECONDS, END_TO_END_RATE)
