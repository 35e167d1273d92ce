"""Tests of `compare --peers` that need no broker: what tools print is read, runs are gathered, the page and chart are made.

python3 -m unittest discover -s perf-reports/compare/tests
"""

import json
import pathlib
import struct
import sys
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from comparing.peers import chart, cost, messages, page, parse, turns  # noqa: E402
from comparing.peers.peer import CannotDo, Load, Peer, Place, family  # noqa: E402
from comparing.peers.results import Mixed, Results  # noqa: E402

HOST = {"cores": 2, "cpu": "one", "memory_mb": 1000, "kernel": "6", "filesystem": "ext4", "device": "vda", "java": "17"}


def output(name):
    return (HERE / "outputs" / name).read_text(encoding="utf-8")


def run_file(name):
    return json.loads((HERE.parents[1] / "tests" / name).read_text(encoding="utf-8"))


class Parsers(unittest.TestCase):
    def test_a_run_file_of_loadgen_gives_the_rate_and_end_to_end_latency_from_the_intended_time(self):
        figures = parse.loadgen(json.dumps(run_file("latency_run.json")), 1024)
        self.assertEqual((figures["p50_ms"], figures["p99_ms"], figures["p999_ms"]), (2.585, 85.503, 106.495))
        self.assertEqual(figures["latency_from"], "intended time")
        self.assertAlmostEqual(figures["rec_s"], 500.145, 2)
        self.assertAlmostEqual(figures["MB_s"], 0.512149, 5)

    def test_a_run_file_of_another_format_is_refused(self):
        with self.assertRaisesRegex(parse.Unreadable, "format 2"):
            parse.loadgen(json.dumps({**run_file("latency_run.json"), "format": 2}), 1024)

    def test_a_run_that_failed_or_wrote_less_than_was_due_is_no_figure(self):
        with self.assertRaisesRegex(parse.Unreadable, "failed"):
            parse.loadgen(json.dumps({**run_file("latency_run.json"), "failed": True}), 1024)
        run = run_file("latency_run.json")
        run["parts"][0]["results"]["records"] = 1999
        with self.assertRaisesRegex(parse.Unreadable, "1999 of 2000"):
            parse.loadgen(json.dumps(run), 1024)

    def test_redis_benchmark_gives_rate_and_percentiles(self):
        figures = parse.redis_benchmark(output("redis-benchmark.csv"), 50_000, 1024)
        self.assertAlmostEqual(figures["rec_s"], 161957.87)
        self.assertAlmostEqual(figures["MB_s"], 165.84, 1)
        self.assertEqual((figures["p50_ms"], figures["p99_ms"], figures["max_ms"]), (2.911, 12.087, 51.391))

    def test_redis_benchmark_that_could_not_connect_is_no_figure(self):
        with self.assertRaises(parse.Unreadable):
            parse.redis_benchmark("Could not connect to Redis at 127.0.0.1:1: Connection refused", 10, 1)

    def test_perf_test_gives_the_rate_of_the_side_that_was_asked_and_its_latency(self):
        figures = parse.perf_test(output("perf-test-produce.txt"), 40_000, 1024, "sending", "confirm")
        self.assertAlmostEqual(figures["rec_s"], 10144)
        self.assertEqual((figures["p50_ms"], figures["p99_ms"]), (12.989, 51.422))
        figures = parse.perf_test(output("perf-test-consume.txt"), 40_000, 1024, "receiving")
        self.assertAlmostEqual(figures["rec_s"], 23474)
        self.assertNotIn("p50_ms", figures)
        figures = parse.perf_test(output("perf-test-end-to-end.txt"), 5_000, 1024, "receiving", "consumer")
        self.assertEqual((figures["p50_ms"], figures["p99_ms"]), (1.498, 95.721))

    def test_perf_test_that_received_nothing_is_no_figure(self):
        with self.assertRaisesRegex(parse.Unreadable, "receiving"):
            parse.perf_test(output("perf-test-produce.txt"), 40_000, 1024, "receiving")

    def test_perf_test_may_say_milliseconds(self):
        text = output("perf-test-end-to-end.txt").replace("399/1498/5597/59317/95721 µs", "0/1/5/59/95 ms")
        self.assertEqual(parse.perf_test(text, 5_000, 1024, "receiving", "consumer")["p99_ms"], 95)

    def test_rocketmq_counts_messages_and_not_batches(self):
        figures = parse.rocketmq(output("rocketmq-batch.txt"), 1024)
        self.assertEqual((figures["rec_s"], figures["mean_ms"]), (56439, 12.827))
        self.assertAlmostEqual(figures["MB_s"], 57.79, 1)
        self.assertNotIn("p99_ms", figures)

    def test_rocketmq_with_failed_messages_or_too_short_is_no_figure(self):
        text = output("rocketmq-batch.txt")
        with self.assertRaisesRegex(parse.Unreadable, "failed"):
            parse.rocketmq(text.replace("Send Failed: 0", "Send Failed: 3"), 1024)
        with self.assertRaisesRegex(parse.Unreadable, "ten seconds"):
            parse.rocketmq(text.split("Current")[0], 1024)

    def test_our_clients_must_have_read_as_many_bytes_as_records_have(self):
        line = {"records": 10, "bytes": 10240, "seconds": 2.0, "p50_ms": 1.5}
        self.assertEqual(parse.own_client("noise\n" + json.dumps(line), 1024)["rec_s"], 5)
        self.assertEqual(parse.own_client(json.dumps({**line, "sent": 13}), 1024)["sent"], 13)
        with self.assertRaises(parse.Unreadable):
            parse.own_client(json.dumps({**line, "bytes": 10239}), 1024)
        with self.assertRaises(parse.Unreadable):
            parse.own_client("panic", 1024)


class Stub(Peer):
    """A peer whose broker is a process that sleeps."""

    name = "stub"
    recommended, durable_settings = "as it is", "more so"
    command, load = ["sleep", "60"], None

    def version(self):
        return "stub 1"

    def spawn(self):
        self.launch(self.command)

    def first_message(self):
        if self.command[0] != "sleep":
            raise OSError("nobody listens")

    def warm_ups(self):
        return []

    def produce(self, row, size):
        return Load(["echo", json.dumps({"records": 1000, "bytes": 1000 * size, "seconds": 1.0})], self.read(size), size)

    def consume(self):
        raise CannotDo("it cannot read")

    def end_to_end(self):
        return Load(["sh", "-c", "echo broken; exit 3"], self.read(1024), 1024)

    def read(self, size):
        return lambda text: parse.own_client(text, size)


def alive(stat):
    """A child that nobody waits for stays as a name without a process."""
    try:
        return stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class NoDevice:
    def counters(self):
        return None


class Turns(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.peer = Stub(Place(self.folder, 26390))

    def turn(self):
        return turns.Turn(self.peer, NoDevice(), lambda _: None).run(turns.ROWS)

    def test_rows_that_fail_are_sentences_and_the_others_are_measured(self):
        turn = self.turn()
        measured = {sample["row"]: sample for sample in turn.samples}
        self.assertEqual(set(measured), {"start", "memory", "produce-1k", "produce-100b"})
        self.assertEqual(measured["produce-1k"]["rec_s"], 1000)
        self.assertGreater(measured["memory"]["start_mb"], 0)
        said = {one["row"]: one["sentence"] for one in turn.cannot}
        self.assertEqual(said["consume"], "it cannot read")
        self.assertEqual(said["end-to-end"], "the tool's exit status was 3: broken")

    def test_a_broker_that_ends_at_once_is_a_sentence_for_every_row(self):
        self.peer.command = ["sh", "-c", "echo no such disk; exit 1"]
        turn = self.turn()
        self.assertEqual(turn.samples, [])
        self.assertEqual([one["row"] for one in turn.cannot], [row.name for row in turns.ROWS])
        self.assertIn("no such disk", turn.cannot[0]["sentence"])

    def test_nothing_is_left_of_a_turn(self):
        seen = []
        self.peer.first_message = lambda: seen.extend(self.peer.pids())
        self.turn()
        self.assertEqual(len(seen), 1)
        self.assertFalse(pathlib.Path(f"/proc/{seen[0]}").exists())
        self.assertFalse(self.peer.folder.exists())

    def test_children_of_what_was_started_end_with_it(self):
        self.peer.command = ["sh", "-c", "sleep 61 & wait"]
        self.peer.first_message = lambda: None
        self.peer.start()
        deadline = time.monotonic() + 10
        while len(pids := family(self.peer.pids())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(len(pids), 2)
        self.peer.wipe()
        states = [pathlib.Path(f"/proc/{pid}/stat") for pid in pids]
        while any(alive(state) for state in states) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(any(alive(state) for state in states))

    def test_a_tool_that_never_ends_is_ended_and_its_output_read(self):
        line = json.dumps({"records": 1, "bytes": 1, "seconds": 1.0})
        load = Load(["sh", "-c", f"echo '{line}'; exec sleep 60"], self.peer.read(1), 1, seconds=0.3)
        self.assertIn("records", cost.execute(load))

    def test_a_tool_that_is_not_there_is_an_os_error(self):
        with self.assertRaises(OSError):
            cost.execute(Load(["/no/such/tool"], str, 1))


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.facts = {"date": "2026-11-21", "command": "compare", "scale": 1.0, "host": HOST, "go": "go 1"}

    def results(self):
        results = Results(self.facts)
        for variant in ("kafka", "kafka-durable", "corelane"):
            results.variants[variant] = {"version": "1", "settings": "some", "commands": [f"start {variant}"]}
        for pair, (ours, theirs) in {"a": (800, 400), "b": (600, 100), "c": (700, 350)}.items():
            for variant, rate in (("corelane", ours), ("kafka", theirs)):
                figures = {"rec_s": rate * 1000, "MB_s": rate, "cpu_s_per_gb": 1, "cpu_s_per_million": 1, "command": f"load {variant}"}
                results.runs.append({"row": "produce-1k", "variant": variant, "pair": pair, "commit": "abc", **figures})
        refusal = {"variant": "kafka-durable", "pair": "a", "commit": "abc", "row": "produce-1k", "sentence": "it could not"}
        results.cannot = [refusal, {**refusal, "pair": "b"}]
        results.out = {"nats": "It cannot be set up here: Go is needed."}
        return results

    def test_ratios_are_of_the_runs_of_one_pair(self):
        self.assertEqual(self.results().ratios("produce-1k", "kafka", "MB_s"), [2, 6, 2])
        self.assertEqual(self.results().median("produce-1k", "kafka", "MB_s"), 350)

    def test_calls_gather_in_a_folder_unless_they_are_of_another_kind(self):
        self.results().write(self.folder)
        self.assertEqual(len(Results.gathered(self.folder, self.facts).runs), 6)
        self.assertEqual(len(Results.read(self.folder).cannot), 2)
        with self.assertRaisesRegex(Mixed, "scale differ"):
            Results.gathered(self.folder, {**self.facts, "scale": 0.1})

    def test_reports_name_no_places_of_the_machine(self):
        peer = Stub(Place(self.folder, 26390))
        peer.binary, peer.commands = pathlib.Path("/some/bin/stub"), [["/some/bin/stub", "--data", str(self.folder / "stub-run")]]
        turn = turns.Turn(peer, NoDevice(), lambda _: None)
        turn.samples, turn.cannot = [{"row": "start", "command": f"load {self.folder}/x"}], [{"row": "consume", "sentence": f"no {self.folder}"}]
        results = Results(self.facts)
        results.add(peer, turn, "a", "abc")
        self.assertEqual(results.variants["stub"]["commands"], ["stub --data WORK/stub-run"])
        self.assertEqual((results.runs[0]["command"], results.cannot[0]["sentence"]), ("load WORK/x", "no WORK"))

    def test_the_page_has_figures_sentences_and_commands(self):
        text = page.markdown(self.results(), turns.ROWS)
        for part in (
            "| corelane | 700,000 [600,000–800,000] | 700.0 [600.0–800.0] |",
            "| 2.00 [2.00–6.00] |",
            "| kafka | 1 | some | 3 |",
            "- kafka-durable, 2 times: it could not",
            "**nats**: It cannot be set up here: Go is needed.",
            "kafka: load kafka",
            "corelane: start corelane",
        ):
            self.assertIn(part, text)
        self.assertNotIn("Row `consume`", text)

    def test_the_chart_is_well_formed_for_light_and_dark_and_more_is_further_right(self):
        text = chart.svg(self.results())
        self.assertIn("prefers-color-scheme: dark", text)
        tree = xml.etree.ElementTree.fromstring(text)
        dots = [(dot.get("class"), float(dot.get("cx"))) for dot in tree.iter("{http://www.w3.org/2000/svg}circle") if float(dot.get("cy")) < 160]
        rates = dict(dots[:2])
        self.assertGreater(rates["ours"], rates["cached"])
        # 700 and 350 MB/s between 100 and 1000: a factor of two is as far as log10(2) of a power of ten.
        power = (chart.PANEL - 52) / 1
        self.assertAlmostEqual(rates["ours"] - rates["cached"], power * 0.30103, 0)
        self.assertIn("not given", text)

    def test_notes_are_linked_where_there_are_some(self):
        page.write(self.results(), turns.ROWS, self.folder)
        self.assertNotIn("notes.md", (self.folder / "README.md").read_text(encoding="utf-8"))
        (self.folder / "notes.md").write_text("why", encoding="utf-8")
        page.write(self.results(), turns.ROWS, self.folder)
        lines = (self.folder / "README.md").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[:3], ["# Corelane and its peers side by side, 2026-11-21", "", "What stands out, and why: [notes.md](notes.md)."])

    def test_payloads_are_shortened_on_the_page(self):
        self.assertEqual(page.shorten("XADD s * v " + "x" * 1024), "XADD s * v <1024 B>")


class Server(threading.Thread):
    """Takes one connection and answers with what it was told to, whatever is asked."""

    def __init__(self, *answers):
        super().__init__(daemon=True)
        self.answers, self.got = answers, b""
        self.listener = messages.socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        for answer in self.answers:
            self.got += connection.recv(65536)
            connection.sendall(answer)
        connection.close()
        self.listener.close()


def rocketmq_answer(code, fields):
    said = json.dumps({"code": code, "remark": "why", "extFields": fields}).encode()
    return struct.pack(">II", 4 + len(said), len(said)) + said


class Messages(unittest.TestCase):
    def test_redis_no_is_an_error_and_yes_is_returned(self):
        server = Server(b"$3\r\n1-0\r\n")
        self.assertIn("1-0", messages.redis(server.port, "XADD", "s", "*", "v", "a"))
        self.assertEqual(server.got, b"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\na\r\n")
        with self.assertRaisesRegex(messages.Refused, "LOADING"):
            messages.redis(Server(b"-LOADING Redis is loading\r\n").port, "XADD")

    def test_rocketmq_no_is_an_error_and_fields_are_returned(self):
        self.assertEqual(messages.rocketmq(Server(rocketmq_answer(0, {"offset": "7"})).port, 30, {}), {"offset": "7"})
        with self.assertRaisesRegex(messages.Refused, "14: why"):
            messages.rocketmq(Server(rocketmq_answer(14, {})).port, 10, {}, b"body")

    def test_a_peer_that_closes_the_connection_is_an_error(self):
        with self.assertRaises(OSError):
            messages.amqp(Server(b"").port, "q", "classic")


if __name__ == "__main__":
    unittest.main()
