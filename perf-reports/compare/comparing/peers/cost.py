"""What a load costs the peer, the client and the device."""

import os
import resource
import subprocess
import tempfile
import time

from .. import host
from .parse import Unreadable
from .peer import CannotDo


def cpu_seconds(pids):
    """User and system time of processes, and of children that they have waited for (Redis forks to rewrite its log)."""
    total = 0.0
    for pid in pids:
        fields = host.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15])) / host.TICKS
    return total


def written_mb(pids):
    total = 0
    for pid in pids:
        for line in host.read(f"/proc/{pid}/io").splitlines():
            if line.startswith("write_bytes: "):
                total += int(line.split()[1])
    return total / 1e6


def memory_mb(pids, which="VmRSS"):
    return sum(host.memory_mb(pid, which) for pid in pids)


def execute(load):
    """Runs the command to its end, or tells it to end after a time. Returns its output."""
    environment = {**os.environ, **load.environment}
    # A pipe that nobody reads would hold up a tool that is to be ended later.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(map(str, load.command)), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        try:
            code = process.wait(load.seconds or 150)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            code = 0 if load.seconds else "none: it did not end within 150 s"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if code:
        lines = [line for line in text.strip().splitlines() if line.strip()]
        raise CannotDo(f"the tool's exit status was {code}: {lines[-1][:300] if lines else 'it said nothing'}")
    return text


def measure(peer, load, device):
    """Figures of one run of a load against a peer that runs."""
    pids = peer.pids()
    for pid in pids:
        host.forget_peak(pid)
    # What was written before is not to be paid for by this row.
    os.sync()
    counters, written, client = device.counters(), written_mb(pids), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, busy, begun = cpu_seconds(pids), host.busy_seconds(), time.monotonic()
    text = execute(load)
    wall = time.monotonic() - begun
    cpu, busy = cpu_seconds(pids) - cpu, host.busy_seconds() - busy
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    client_cpu = after.ru_utime + after.ru_stime - client.ru_utime - client.ru_stime
    try:
        figures = load.read(load.output.read_text(encoding="utf-8") if load.output else text)
    except (Unreadable, OSError, KeyError, ValueError) as error:
        raise CannotDo(f"what the tool printed is not understood: {error}") from error
    if load.records:
        # The tool gives a rate, the broker knows how many there were.
        figures["records"] = load.records()
    # A client that warms itself up sends more than it times.
    records = figures.get("sent", figures["records"])
    figures.update(
        wall_s=wall,
        broker_cpu_s=cpu,
        cpu_s_per_gb=cpu / (records * load.size / 1e9),
        cpu_s_per_million=cpu / (records / 1e6),
        client_cpu_s=client_cpu,
        other_cpu_s=busy - cpu - client_cpu,
        peak_mb=memory_mb(pids, "VmHWM"),
        written_mb=written_mb(pids) - written,
    )
    ended = device.counters()
    if counters and ended:
        figures["device_flushes"] = ended["flushes"] - counters["flushes"]
    return figures
