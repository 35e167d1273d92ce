"""A TCP proxy that changes nothing and writes down every request and response frame of Kafka clients.

usage: proxy.py LISTEN_PORT BROKER_PORT OUT_FILE
The broker must advertise LISTEN_PORT, so that clients come back here. One line a frame, a response right after its request:
    CLIENT_ID KEY VERSION request|response HEX
A response is matched to the oldest request of its connection with its correlation id. Frames above 64 KiB are left out.
"""

import asyncio
import struct
import sys

FRAME_MAX = 64 * 1024


async def frames(reader, writer, seen):
    """Copies frames from one side to the other and shows each to `seen`."""
    try:
        while True:
            head = await reader.readexactly(4)
            frame = await reader.readexactly(struct.unpack(">i", head)[0])
            seen(frame)
            writer.write(head + frame)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def client_id(frame):
    """The client id of a request header v1 or v2: the same bytes in both."""
    size = struct.unpack(">h", frame[8:10])[0]
    return frame[10 : 10 + max(size, 0)].decode(errors="replace").replace(" ", "_") or "-"


async def main(listen, broker, out):
    async def serve(reader, writer):
        upstream, upstream_writer = await asyncio.open_connection("127.0.0.1", broker)
        waiting = {}

        def request(frame):
            key, version, correlation = struct.unpack(">hhi", frame[:8])
            waiting.setdefault(correlation, []).append((key, version, frame))

        def response(frame):
            correlation = struct.unpack(">i", frame[:4])[0]
            key, version, asked = waiting[correlation].pop(0)
            if max(len(asked), len(frame)) <= FRAME_MAX:
                who = client_id(asked)
                out.write(f"{who} {key} {version} request {asked.hex()}\n{who} {key} {version} response {frame.hex()}\n")
                out.flush()

        await asyncio.gather(frames(reader, upstream_writer, request), frames(upstream, writer, response))

    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with open(sys.argv[3], "a") as file:
        try:
            asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), file))
        except KeyboardInterrupt:
            pass
