"""As much of Kafka's protocol as the comparison needs, in versions without tagged fields: topics, their settings, one record."""

import socket
import struct
import time

CRC32C_POLYNOMIAL = 0x82F63B78
TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC = 36, 3
PRODUCE, CREATE_TOPICS, DELETE_TOPICS, DESCRIBE_CONFIGS = 0, 19, 20, 32


class ProtocolError(Exception):
    """The broker answered with an error."""

    def __init__(self, what, code):
        super().__init__(f"{what}: error {code}")
        self.code = code


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (CRC32C_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def string(text):
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def record_batch(value):
    """A batch of one record without key (record batch v2, KIP-98)."""
    # attributes, timestamp delta, offset delta: 0; key: null; value; no headers. Lengths here fit a varint of a byte.
    assert len(value) < 50
    body = b"\x00\x00\x00\x01" + bytes([len(value) << 1]) + value + b"\x00"
    record = bytes([len(body) << 1]) + body
    after_crc = struct.pack(">hiqqqhii", 0, 0, 0, 0, -1, -1, -1, 1) + record
    head = struct.pack(">ibI", -1, 2, crc32c(after_crc))
    return struct.pack(">qi", 0, len(head) + len(after_crc)) + head + after_crc


class Answer:
    """Reads an answer's fields one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def string(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def array(self, item):
        return [item() for _ in range(self.take("i"))]


class Client:
    """One connection."""

    def __init__(self, port, timeout=60.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, key, version, body):
        self.correlation += 1
        frame = struct.pack(">hhi", key, version, self.correlation) + string("compare") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        answer = Answer(self.exactly(struct.unpack(">i", self.exactly(4))[0]))
        if answer.take("i") != self.correlation:
            raise ProtocolError("an answer to another request", 0)
        return answer

    def exactly(self, count):
        out = b""
        while len(out) < count:
            part = self.socket.recv(count - len(out))
            if not part:
                raise ConnectionError("the broker has closed the connection")
            out += part
        return out

    def create_topic(self, name, partitions, configs=(), may_exist=False):
        settings = b"".join(string(key) + string(value) for key, value in configs)
        topic = string(name) + struct.pack(">ihii", partitions, 1, 0, len(configs)) + settings
        answer = self.call(CREATE_TOPICS, 2, struct.pack(">i", 1) + topic + struct.pack(">ib", 60_000, 0))
        answer.take("i")
        for _, code, message in answer.array(lambda: (answer.string(), answer.take("h"), answer.string())):
            if code and not (may_exist and code == TOPIC_ALREADY_EXISTS):
                raise ProtocolError(f"create topic {name}: {message}", code)

    def delete_topics(self, names):
        body = struct.pack(">i", len(names)) + b"".join(map(string, names)) + struct.pack(">i", 60_000)
        answer = self.call(DELETE_TOPICS, 1, body)
        answer.take("i")
        for name, code in answer.array(lambda: (answer.string(), answer.take("h"))):
            if code:
                raise ProtocolError(f"delete topic {name}", code)

    def topic_configs(self, name):
        """The settings in force for a topic; waits for one that was just created."""
        for attempt in range(300):
            try:
                return self.describe_topic(name)
            except ProtocolError as error:
                if error.code != UNKNOWN_TOPIC or attempt == 299:
                    raise
            time.sleep(0.1)
        return {}

    def describe_topic(self, name):
        body = struct.pack(">ib", 1, 2) + string(name) + struct.pack(">ib", -1, 0)
        answer = self.call(DESCRIBE_CONFIGS, 1, body)
        answer.take("i")

        def config():
            name, value = answer.string(), answer.string()
            answer.take("bbb")
            answer.array(lambda: (answer.string(), answer.string(), answer.take("b")))
            return name, value

        def resource():
            code, message = answer.take("h"), answer.string()
            if code:
                raise ProtocolError(f"describe topic {name}: {message}", code)
            answer.take("b"), answer.string()
            return answer.array(config)

        return dict(answer.array(resource)[0])

    def produce(self, topic, value):
        """Appends one record to partition 0 with acks=all; raises unless it is acknowledged."""
        batch = record_batch(value)
        partition = struct.pack(">ii", 0, len(batch)) + batch
        topics = struct.pack(">i", 1) + string(topic) + struct.pack(">i", 1) + partition
        answer = self.call(PRODUCE, 3, struct.pack(">hhi", -1, -1, 30_000) + topics)

        def of_partition():
            return answer.take("ihqq")

        ((_, partitions),) = answer.array(lambda: (answer.string(), answer.array(of_partition)))
        if partitions[0][1]:
            raise ProtocolError(f"produce to {topic}", partitions[0][1])
