"""What each row is held to: our median, and the median of the ratios of the pairs."""


class Target:
    """A bound on a figure of a variant, or on its ratio to the same figure of another variant."""

    def __init__(self, text, figure, at_least=None, at_most=None, to=None, of="corelane"):
        self.text, self.figure, self.to, self.of = text, figure, to, of
        self.at_least, self.at_most = at_least, at_most

    def judge(self, summary):
        """The value and whether it is met; nothing where a variant or figure was not measured."""
        value = summary.median(self.of, self.figure) if self.to is None else summary.ratio(self.figure, self.of, self.to)
        if value is None:
            return None
        met = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        return {"target": self.text, "value": value, "met": met}


def rate(least, to="kafka", figure="MB_s"):
    return Target(f"rate >= {least:g} x {to}", figure, at_least=least, to=to)


def cpu(most, to="kafka", figure="cpu_s_per_gb"):
    return Target(f"broker CPU <= {most:g} x {to}", figure, at_most=most, to=to)


TARGETS = {
    "produce-1k": [
        rate(1.5),
        rate(4, "kafka-sync"),
        Target("broker CPU <= 0.7 s/GB", "cpu_s_per_gb", at_most=0.7),
        Target("memory <= 400 MB", "peak_mb", at_most=400),
    ],
    "produce-lz4": [rate(1), cpu(0.5)],
    "produce-100b": [rate(1), cpu(0.5)],
    "ping-pong": [
        Target("p50 <= 0.5 ms", "p50_ms", at_most=0.5),
        cpu(1, figure="cpu_s_per_million"),
        cpu(0.5, "kafka-sync", "cpu_s_per_million"),
    ],
    "partitions-1000": [rate(1), cpu(0.5)],
    "partitions-5000": [
        rate(3),
        cpu(0.125, figure="cpu_s_per_million"),
        Target("broker CPU <= 6.25 s per million records", "cpu_s_per_million", at_most=6.25),
    ],
    "tail": [rate(1), cpu(1)],
    "hot": [rate(1), cpu(1)],
    "cold": [rate(1), cpu(1.3)],
    "beside-cold": [Target("p99 <= 1.5 x without the reader", "p99_ms", at_most=1.5, to="corelane", of="corelane-beside")],
    "end-to-end": [
        Target("p50 <= 0.6 ms", "p50_ms", at_most=0.6),
        Target("p99 <= 5 ms", "p99_ms", at_most=5),
        Target("p99 <= 1/5 x kafka", "p99_ms", at_most=0.2, to="kafka"),
        cpu(0.75, figure="cpu_s_per_million"),
    ],
    "start": [Target("<= 0.3 s", "s", at_most=0.3)],
    "kill": [Target("<= 1 s", "s", at_most=1)],
    "idle": [
        Target("<= 40 MB after start", "start_mb", at_most=40),
        Target("an idle connection <= 20 KB", "connection_kb", at_most=20),
        Target("100,000 idle partitions <= 200 MB", "partitions_mb", at_most=200),
    ],
}
