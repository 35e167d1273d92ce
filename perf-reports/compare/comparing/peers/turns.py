"""Who runs when: a round is a turn of Corelane and one of each peer in each of its two settings. A turn starts its broker on
an empty folder, runs all rows, and removes everything."""

import dataclasses
import shutil
import time

from .. import host
from .cost import execute, measure, memory_mb
from .kafka import Corelane, Kafka
from .nats import Nats
from .peer import END_TO_END_RATE, KIB, CannotDo, Place
from .rabbitmq import RabbitMq
from .redis import Redis
from .rocketmq import RocketMq

PEERS = {peer.name: peer for peer in (Kafka, Redis, Nats, RabbitMq, RocketMq)}
SETTLED_SECONDS = 2


@dataclasses.dataclass
class Row:
    name: str
    title: str
    # What the peer is asked for; nothing for rows of the start.
    load: object = None
    writes: bool = False


ROWS = [
    Row("start", "from start on an empty folder to the first acknowledged message"),
    Row("memory", f"resident memory {SETTLED_SECONDS} s after the first message"),
    # Before the floods: a disk that is still busy with gigabytes of another row stalls whoever syncs.
    Row("end-to-end", f"write and read {END_TO_END_RATE:,} records/s of 1 KiB", lambda peer: peer.end_to_end()),
    Row("produce-1k", "produce flat out, 1 KiB, acknowledged", lambda peer: peer.produce("produce-1k", KIB), writes=True),
    Row("consume", "consume what was just written, 1 KiB", lambda peer: peer.consume()),
    Row("produce-100b", "produce flat out, 100 B, acknowledged", lambda peer: peer.produce("produce-100b", 100), writes=True),
]


class Turn:
    """One broker in one setting, from its start to its end."""

    def __init__(self, peer, device, say):
        self.peer, self.device, self.say = peer, device, say
        self.samples, self.cannot = [], []

    def note(self, row, figures, load=None):
        sample = {"row": row, **figures}
        if load:
            sample["command"] = " ".join(map(str, load.command))
        self.samples.append(sample)
        shown = ("s", "start_mb", "rec_s", "MB_s", "cpu_s_per_gb", "cpu_s_per_million", "p50_ms", "p99_ms", "peak_mb", "device_flushes")
        text = ", ".join(f"{name} {figures[name]:.4g}" for name in shown if figures.get(name) is not None)
        self.say(f"{self.peer.variant} {row}: {text}")

    def refuse(self, row, error):
        self.cannot.append({"row": row, "sentence": str(error)})
        self.say(f"{self.peer.variant} {row}: cannot: {error}")

    def run(self, rows):
        wanted = {row.name for row in rows}
        try:
            seconds = self.peer.start()
            if "start" in wanted:
                self.note("start", {"s": seconds})
            if "memory" in wanted:
                time.sleep(SETTLED_SECONDS)
                self.note("memory", {"start_mb": memory_mb(self.peer.pids())})
            loads = [row for row in rows if row.load]
            if loads:
                self.warm_up()
            if "consume" in wanted and "produce-1k" not in wanted:
                loads.insert(0, next(row for row in ROWS if row.name == "produce-1k"))
            for row in loads:
                self.one(row, counts=row.name in wanted)
        except (CannotDo, OSError) as error:
            done = {sample["row"] for sample in self.samples} | {one["row"] for one in self.cannot}
            for row in rows:
                if row.name not in done:
                    self.refuse(row.name, error)
        finally:
            self.peer.wipe()
        return self

    def warm_up(self):
        for load in self.peer.warm_ups():
            execute(load)

    def one(self, row, counts):
        try:
            self.peer.before(row.name)
            load = row.load(self.peer)
            figures = measure(self.peer, load, self.device)
            if counts:
                self.note(row.name, figures, load)
        except (CannotDo, OSError) as error:
            if counts:
                self.refuse(row.name, error)


class Field:
    """All that take part, and what they have done."""

    def __init__(self, arguments, say):
        work = arguments.work.resolve()
        work.mkdir(parents=True, exist_ok=True)
        self.say, self.device = say, host.Device(work)
        Corelane.binary, Corelane.options = arguments.corelane.resolve(), arguments.option
        Corelane.loadgen = Kafka.loadgen = arguments.corelane.resolve().parent / "loadgen"
        Kafka.release = arguments.kafka
        place = lambda index: Place(work, arguments.port + 10 * index, arguments.scale)  # noqa: E731
        self.corelane = Corelane(place(0))
        self.pairs = {
            name: (PEERS[name](place(2 * index + 1)), PEERS[name](place(2 * index + 2), durable=True))
            for index, name in enumerate(arguments.peers)
        }
        self.out = {}

    def set_up(self):
        self.corelane.set_up()
        for name, (peer, _) in self.pairs.items():
            self.say(f"{name}: setting up")
            try:
                peer.set_up()
                self.say(f"{name}: {peer.version()}")
            except CannotDo as error:
                self.out[name] = f"It cannot be set up here: {error}."
                self.say(f"{name}: {self.out[name]}")

    def run(self, rows, rounds, began, keep):
        """`keep` is handed each turn as it ends, with the round that it belongs to."""
        pairs = [pair for name, pair in self.pairs.items() if name not in self.out]
        for number in range(rounds):
            for peer in (self.corelane, *(peer for pair in pairs for peer in pair)):
                keep(peer, Turn(peer, self.device, self.say).run(rows), f"{began} {number + 1}")

    def end(self):
        for peer in (self.corelane, *(peer for pair in self.pairs.values() for peer in pair)):
            peer.wipe()
            shutil.rmtree(peer.folder, ignore_errors=True)
