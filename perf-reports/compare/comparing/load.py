"""One measured run of the load program against one broker."""

import json
import subprocess
import time

from . import host


class Sample:
    """What a run costs the broker, the client and the device."""

    def __init__(self, bench, broker):
        self.bench, self.broker = bench, broker

    def run(self, load, records, size, prefix=()):
        """Runs the load program; its figures, with what the broker and the device did meanwhile."""
        pid, command = self.broker.pid, [*prefix, *self.bench.command(self.broker, load)]
        host.forget_peak(pid)
        device, cpu, busy = self.bench.device.counters(), host.cpu_seconds(pid), host.busy_seconds()
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        wall = time.monotonic() - begun
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
        figures = json.loads(done.stdout.strip().splitlines()[-1])
        if figures["errors"] or figures["n"] < records:
            raise RuntimeError(f"{' '.join(command)}: {figures['n']} of {records} records: {done.stderr.strip()}")
        cpu, busy = host.cpu_seconds(pid) - cpu, host.busy_seconds() - busy
        figures.update(
            wall_s=wall,
            broker_cpu_s=cpu,
            cpu_s_per_gb=cpu / (records * size / 1e9),
            cpu_s_per_million=cpu / (records / 1e6),
            other_cpu_s=busy - cpu - figures["client_cpu_s"],
            peak_mb=host.memory_mb(pid, "VmHWM"),
            command=" ".join(map(str, ["rkperf", load[0], "BROKER", *load[1:]])),
        )
        after = self.bench.device.counters()
        if device and after:
            figures["device_flushes"] = after["flushes"] - device["flushes"]
            figures["device_written_mb"] = (after["written_bytes"] - device["written_bytes"]) / 1e6
        return figures
