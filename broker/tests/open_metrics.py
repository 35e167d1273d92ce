"""Reads a running broker's metrics with a parser that others wrote, before and after traffic.

open_metrics.py URL LOADGEN HOST:PORT
"""

import subprocess
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

RECORDS = 20000


def scrape(url):
    with urllib.request.urlopen(url) as answer:
        kind = answer.headers["content-type"]
        assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
        families = list(text_string_to_metric_families(answer.read().decode()))
    for family in families:
        assert family.documentation, f"{family.name} has no help"
        assert not family.unit or family.name.endswith("_" + family.unit), family.name
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def main():
    url, loadgen, bootstrap = sys.argv[1:]
    before = scrape(url)
    run = ["produce", "--partitions", "4", "--records", str(RECORDS), "--size", "100"]
    subprocess.run([loadgen, *run, "--bootstrap", bootstrap], check=True, stdout=subprocess.DEVNULL)
    after = scrape(url)
    records = ("corelane_appended_records_total", ())
    assert after[records] - before[records] == RECORDS, (before[records], after[records])
    fallen = [key for key, value in before.items() if key[0].endswith("_total") and after[key] < value]
    assert not fallen, fallen
    print(f"{len(after)} samples read, {len(before)} before traffic")


main()
