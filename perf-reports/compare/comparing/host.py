"""What the machine is, and what a process and a device have done so far."""

import os
import platform
import re
import resource
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def cpu_seconds(pid):
    """User and system time of all threads of a process, also of those that have ended."""
    fields = read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid, which="VmRSS"):
    return int(re.search(which + r":\s+(\d+)", read(f"/proc/{pid}/status"))[1]) * 1024 / 1e6


def forget_peak(pid):
    """VmHWM counts anew from here."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def busy_seconds():
    """CPU time that all processes of the machine took, with what a hypervisor took from it."""
    fields = [int(field) for field in read("/proc/stat").splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS


class Device:
    """The disk under a folder, as the kernel counts it; nothing where there is no such count."""

    def __init__(self, folder):
        number = os.stat(folder).st_dev
        path = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
        if os.path.exists(os.path.join(path, "partition")):
            # Flushes are counted on the whole disk.
            path = os.path.dirname(path)
        self.name = os.path.basename(path) if os.path.exists(path) else None

    def counters(self):
        """Flush requests and written bytes so far, or nothing."""
        for line in read("/proc/diskstats").splitlines():
            fields = line.split()
            if fields[2] == self.name and len(fields) >= 20:
                return {"flushes": int(fields[18]), "written_bytes": int(fields[9]) * 512}
        return None


def drop_caches():
    """Writes back everything and forgets the page cache; needs root."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")


def raise_limits():
    for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (hard, hard))


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    return (done.stdout + done.stderr).strip() or None


def describe(folder):
    """The machine, for whoever reads the figures."""
    model = re.search(r"model name\s*:\s*(.+)", read("/proc/cpuinfo"))
    device = Device(folder)
    rotational = f"/sys/block/{device.name}/queue/rotational"
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": round(int(re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))[1]) * 1024 / 1e6),
        "kernel": platform.release(),
        "device": device.name,
        "rotational": device.name is not None and os.path.exists(rotational) and read(rotational).strip() == "1",
        "filesystem": output("stat", "-f", "-c", "%T", str(folder)),
        "java": (output("java", "-version") or "none").splitlines()[0],
        "librdkafka": (output("pkg-config", "--modversion", "rdkafka") or "unknown").splitlines()[0],
    }
