"""Makes the golden files out of what the proxy wrote down. usage: compact.py CLIENTS_JAR RAW_FILE OUT_DIR

One file an API, lines `vN request|response CLIENT HEX`, the frame without its length. Everything the probe sent is kept; of a client, the first
exchange of each API and version, and all that carry records, as far as they are small.
"""

import os
import re
import sys

from schema import Schemas

# The APIs that the crate speaks.
SPOKEN = {0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 32, 33, 35, 36, 37, 42, 44, 60, 75}
CLIENT_FRAME_MAX = 2500
PROBE_FRAME_MAX = 12000


def main(jar, raw, out):
    names = Schemas(jar).names
    kept, seen = {}, {}
    lines = [line.split() for line in open(raw)]
    for request, response in zip(lines[::2], lines[1::2]):
        client, key, version = request[0], int(request[1]), int(request[2])
        assert response[:3] == request[:3] and (request[3], response[3]) == ("request", "response")
        if key not in SPOKEN:
            continue
        probe = client == "golden"
        client = re.sub(r"-\d+$", "", client)
        size = max(len(request[4]), len(response[4])) // 2
        times = seen.get((client, key, version), 0)
        # With records: a few of each client, so that every codec is among them, both ways.
        wanted = times < (12 if key == 0 else 3 if key == 1 else 1)
        if key == 1 and not probe and size < 200:
            wanted = False
        if probe and size <= PROBE_FRAME_MAX or wanted and size <= CLIENT_FRAME_MAX:
            seen[client, key, version] = times + 1
            kept.setdefault(key, []).append((version, "probe" if probe else client, request[4], response[4]))
    os.makedirs(out, exist_ok=True)
    for key, exchanges in kept.items():
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", names[key]).lower()
        with open(os.path.join(out, f"{name}.txt"), "w") as file:
            for version, client, request, response in sorted(exchanges, key=lambda e: e[0]):
                file.write(f"v{version} request {client} {request}\nv{version} response {client} {response}\n")


main(*sys.argv[1:])
