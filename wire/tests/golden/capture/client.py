"""A connection that sends one frame and waits for one, and hand-made record batches."""

import gzip
import socket
import struct

from schema import Writer


def crc32c_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
        table.append(crc)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def zigzag(value):
    out = Writer()
    out.uvarint((value << 1 ^ value >> 63) & (1 << 64) - 1)
    return bytes(out.out)


def nullable(data):
    return zigzag(-1) if data is None else zigzag(len(data)) + data


def record(delta, key=None, value=b"value", timestamp_delta=0, headers=(), body_only=False):
    body = b"\0" + zigzag(timestamp_delta) + zigzag(delta) + nullable(key) + nullable(value) + zigzag(len(headers))
    for name, data in headers:
        body += nullable(name) + nullable(data)
    return body if body_only else zigzag(len(body)) + body


def batch(records=None, count=None, last_delta=None, base_timestamp=None, max_timestamp=None, attributes=0, base_offset=0, magic=2,
          producer=(-1, -1, -1), crc=None, codec=0, epoch=-1, trailing=b""):
    """A record batch; every field may be made wrong."""
    import time

    records = [record(0)] if records is None else records
    base_timestamp = int(time.time() * 1000) if base_timestamp is None else base_timestamp
    count = len(records) if count is None else count
    body = b"".join(records) + trailing
    if codec == 1:
        body = gzip.compress(body)
    covered = struct.pack(
        ">hiqqqhii", attributes | codec, count - 1 if last_delta is None else last_delta, base_timestamp,
        base_timestamp if max_timestamp is None else max_timestamp, *producer, count) + body
    crc = crc32c(covered) if crc is None else crc
    return struct.pack(">qiibI", base_offset, len(covered) + 9, epoch, magic, crc) + covered


class Connection:
    def __init__(self, schemas, port, host="127.0.0.1"):
        self.schemas, self.socket, self.correlation = schemas, socket.create_connection((host, port), timeout=20), 100

    def send(self, frame):
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        """A frame without its length, or None when the peer closed."""
        data = b""
        want = 4
        while len(data) < want:
            try:
                got = self.socket.recv(1 << 16)
            except (ConnectionResetError, TimeoutError) as error:
                return None if isinstance(error, ConnectionResetError) else "timeout"
            if not got:
                return None
            data += got
            if want == 4 and len(data) >= 4:
                want = 4 + struct.unpack(">i", data[:4])[0]
        return data[4:want]

    def call(self, name, version, value=None):
        """The decoded response, or None when the connection was closed."""
        key = self.schemas.key(name) if isinstance(name, str) else name
        self.correlation += 1
        self.send(self.schemas.request_frame(key, version, self.correlation, value))
        frame = self.receive()
        if frame is None or frame == "timeout":
            return frame
        return self.schemas.decode_response(key, version, frame)
