"""What all peers have in common: a process (or two) with a data folder, in one of two settings, and what rows ask of it."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from typing import Callable

KIB = 1024
PARTITIONS = 6
END_TO_END_RATE = 1000
END_TO_END_SECONDS = 8


# The order in which reports name them.
ORDER = ("corelane", "kafka", "redis-streams", "nats", "rabbitmq", "rocketmq")


class CannotDo(Exception):
    """A peer that cannot be set up, or a row that it cannot do: one sentence for the report."""


@dataclasses.dataclass
class Place:
    """Where a peer may be: a folder, a first port of ten, and how much of the usual numbers of records to use."""

    work: pathlib.Path
    port: int
    scale: float = 1.0


@dataclasses.dataclass
class Load:
    """A command that loads a peer, and how its output is read."""

    command: list
    read: Callable[[str], dict]
    size: int
    # Where figures are in a file that the command writes, not in its output.
    output: pathlib.Path | None = None
    # For tools that never end: after so many seconds they are told to.
    seconds: float | None = None
    environment: dict = dataclasses.field(default_factory=dict)
    # Asked after the run, where the tool does not say how many records it wrote.
    records: Callable[[], int] | None = None


def family(pids):
    """Processes with their children and theirs, parents first."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[1]
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


class Peer:
    """One broker in one of two settings. Subclasses say how it is started, asked and loaded."""

    name = ""
    # What an acknowledgement means and what else is set: for the report.
    recommended = ""
    durable_settings = ""
    # How many records the warm-up and the rows write, by setting: (recommended, durable).
    records = {}
    # What its process is, where it is not fetched; reports name it without the path.
    binary = None

    def __init__(self, place, durable=False):
        self.place, self.durable = place, durable
        self.folder = place.work / f"{self.variant}-run"
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.processes, self.commands = [], []

    @property
    def variant(self):
        return f"{self.name}-durable" if self.durable else self.name

    @property
    def settings(self):
        return self.durable_settings if self.durable else self.recommended

    def count(self, row):
        of_row = self.records[row]
        return max(1000, int(of_row[1 if self.durable else 0] * self.place.scale))

    # --- what subclasses give

    def set_up(self):
        """Fetches and builds, once. Raises CannotDo."""

    def version(self):
        raise NotImplementedError

    def spawn(self):
        """Starts the processes and waits for nothing."""
        raise NotImplementedError

    def first_message(self):
        """Connects and has one message of 5 bytes acknowledged; OSError as long as nobody listens."""
        raise NotImplementedError

    def warm_ups(self):
        """What runs before anything is measured, one after the other."""
        self.before("warm-up")
        yield self.produce("warm-up", KIB)

    def before(self, row):
        """What a row needs that is not measured: a topic, say."""

    def produce(self, row, size):
        raise NotImplementedError

    def consume(self):
        """Reads what the row produce-1k wrote."""
        raise NotImplementedError

    def end_to_end(self):
        raise NotImplementedError

    # --- processes

    def prepare(self):
        """What an empty folder needs before the start; not part of the time that the start takes."""

    def wait_for_port(self):
        for attempt in range(300):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.place.port))
                    return
                except OSError as error:
                    if attempt == 299:
                        raise RuntimeError(f"port {self.place.port} is taken: {error}") from error
            time.sleep(0.1)

    def launch(self, command, environment=None):
        self.commands.append(list(map(str, command)))
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.processes.append(process)

    def start(self):
        """Starts on an empty folder; seconds from there to the first acknowledged message."""
        self.wipe()
        self.data.mkdir(parents=True)
        self.commands = []
        self.wait_for_port()
        self.prepare()
        begun = time.monotonic()
        self.spawn()
        while True:
            try:
                self.first_message()
                return time.monotonic() - begun
            except OSError as error:
                ended = [process for process in self.processes if process.poll() is not None]
                if ended or time.monotonic() - begun > 120:
                    raise CannotDo(f"it did not start within 120 s, its last words: {self.last_words()} ({error})") from error
                time.sleep(0.002)

    def last_words(self):
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1][:200] if lines else "none"

    def pids(self):
        """Whose CPU and memory count."""
        return [process.pid for process in self.processes]

    def wipe(self):
        """Ends what was started here, with all that it has started, and removes its data."""
        for pid in reversed(family(process.pid for process in self.processes if process.poll() is None)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait(60)
        self.processes = []
        shutil.rmtree(self.folder, ignore_errors=True)
