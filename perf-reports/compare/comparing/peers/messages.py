"""As much of each peer's protocol as it takes to have one message acknowledged: Redis, NATS, AMQP 0-9-1, RocketMQ.

Each opens a connection, asks, and closes it; whatever is not a yes is an OSError.
"""

import contextlib
import ctypes
import json
import os
import socket
import struct

CLONE_NEWNET = 0x40000000
TIMEOUT = 30


class Refused(OSError):
    """The peer said no, or something that is not understood."""


def exactly(connection, count):
    out = b""
    while len(out) < count:
        part = connection.recv(count - len(out))
        if not part:
            raise ConnectionError("the peer has closed the connection")
        out += part
    return out


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# --- Redis


def redis(port, *words):
    """One command in RESP2; the first line of the answer, and what follows it in the first packet."""
    with connect(port) as connection:
        parts = [word.encode() for word in words]
        connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        answer = connection.recv(65536)
        if not answer or answer[:1] == b"-":
            # -LOADING, too, while it reads its log.
            raise Refused(answer.decode().strip() or "no answer")
        return answer.decode()


# --- NATS


class Nats:
    """A connection that asks and takes one answer at a time."""

    def __init__(self, port):
        self.socket = connect(port)
        self.lines = self.socket.makefile("rb")
        if not self.lines.readline().startswith(b"INFO"):
            self.close()
            raise Refused("no INFO")
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":false}\r\nSUB answers 1\r\n')

    def request(self, subject, body):
        self.socket.sendall(b"PUB %s answers %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        while True:
            line = self.lines.readline()
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG"):
                answer = json.loads(self.lines.read(int(line.split()[-1]) + 2))
                if "error" in answer:
                    raise Refused(answer["error"]["description"])
                return answer
            elif not line or line.startswith(b"-ERR"):
                raise Refused(line.decode().strip() or "no answer")

    def close(self):
        self.lines.close()
        self.socket.close()


def nats(port, stream):
    """Makes a stream on disk and has one message acknowledged."""
    connection = Nats(port)
    try:
        settings = {"name": stream, "subjects": [f"{stream}.*"], "storage": "file", "num_replicas": 1}
        connection.request(f"$JS.API.STREAM.CREATE.{stream}", json.dumps(settings).encode())
        answer = connection.request(f"{stream}.0", b"first")
        if answer.get("stream") != stream:
            raise Refused(json.dumps(answer))
    finally:
        connection.close()


# --- AMQP 0-9-1

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_END = 1, 2, 3, 0xCE
START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = (10, 10), (10, 11), (10, 30), (10, 31), (10, 40), (10, 41)
CHANNEL_OPEN, CHANNEL_OPEN_OK, DECLARE, DECLARE_OK = (20, 10), (20, 11), (50, 10), (50, 11)
CONFIRM, CONFIRM_OK, PUBLISH, ACK, BASIC_CLASS = (85, 10), (85, 11), (60, 40), (60, 80), 60
QUEUE_DURABLE, DELIVERY_MODE_FLAG, PERSISTENT = 2, 0x1000, 2


def short_string(text):
    return bytes([len(text)]) + text.encode()


def long_string(data):
    return struct.pack(">I", len(data)) + data


class Amqp:
    """A connection with one channel."""

    def __init__(self, port):
        self.socket = connect(port)
        try:
            self.open()
        except OSError:
            self.socket.close()
            raise

    def open(self):
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.expect(START)
        plain = long_string(b"\x00guest\x00guest")
        self.method(0, START_OK, long_string(b"") + short_string("PLAIN") + plain + short_string("en_US"))
        tune = self.expect(TUNE)
        # What it proposes, but no heartbeats.
        self.method(0, TUNE_OK, tune[:6] + b"\x00\x00")
        self.method(0, OPEN, short_string("/") + b"\x00\x00")
        self.expect(OPEN_OK)
        self.method(1, CHANNEL_OPEN, b"\x00")
        self.expect(CHANNEL_OPEN_OK)

    def frame(self, kind, channel, body):
        self.socket.sendall(struct.pack(">BHI", kind, channel, len(body)) + body + bytes([FRAME_END]))

    def method(self, channel, which, arguments):
        self.frame(FRAME_METHOD, channel, struct.pack(">HH", *which) + arguments)

    def expect(self, which):
        """The arguments of the next method, which has to be this one."""
        kind, _, length = struct.unpack(">BHI", exactly(self.socket, 7))
        body = exactly(self.socket, length + 1)
        if kind != FRAME_METHOD or struct.unpack(">HH", body[:4]) != which:
            raise Refused(f"frame {kind} {body[:80]!r} instead of method {which}")
        return body[4:-1]

    def declare(self, queue, kind):
        table = short_string("x-queue-type") + b"S" + long_string(kind.encode())
        self.method(1, DECLARE, b"\x00\x00" + short_string(queue) + bytes([QUEUE_DURABLE]) + long_string(table))
        self.expect(DECLARE_OK)

    def publish_confirmed(self, queue, body):
        self.method(1, CONFIRM, b"\x00")
        self.expect(CONFIRM_OK)
        self.method(1, PUBLISH, b"\x00\x00" + short_string("") + short_string(queue) + b"\x00")
        header = struct.pack(">HHQHB", BASIC_CLASS, 0, len(body), DELIVERY_MODE_FLAG, PERSISTENT)
        self.frame(FRAME_HEADER, 1, header)
        self.frame(FRAME_BODY, 1, body)
        self.expect(ACK)

    def close(self):
        self.socket.close()


def amqp(port, queue, kind):
    """Declares a durable queue of a kind and has one persistent message confirmed."""
    connection = Amqp(port)
    try:
        connection.declare(queue, kind)
        connection.publish_confirmed(queue, b"first")
    finally:
        connection.close()


# --- RocketMQ

SEND_MESSAGE, UPDATE_TOPIC, GET_MAX_OFFSET = 10, 17, 30
READ_WRITE = "6"


def rocketmq(port, code, fields, body=b""):
    """One request of its remoting protocol, with a header in JSON; the fields of the answer."""
    header = {"code": code, "language": "OTHER", "version": 0, "opaque": 1, "flag": 0, "extFields": fields}
    said = json.dumps(header).encode()
    with connect(port) as connection:
        connection.sendall(struct.pack(">II", 4 + len(said) + len(body), len(said)) + said + body)
        length, header_length = struct.unpack(">II", exactly(connection, 8))
        rest = exactly(connection, length - 4)
    answer = json.loads(rest[: header_length & 0xFFFFFF])
    if answer["code"]:
        raise Refused(f"{answer['code']}: {answer.get('remark')}")
    return answer.get("extFields", {})


def rocketmq_topic(port, topic, queues):
    names = {"topic": topic, "defaultTopic": "TBW102", "readQueueNums": str(queues), "writeQueueNums": str(queues)}
    more = {"perm": READ_WRITE, "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
    rocketmq(port, UPDATE_TOPIC, {**names, **more})


def rocketmq_send(port, topic):
    names = {"producerGroup": "first", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "1"}
    more = {"queueId": "0", "sysFlag": "0", "bornTimestamp": "0", "flag": "0", "reconsumeTimes": "0", "unitMode": "false"}
    rocketmq(port, SEND_MESSAGE, {**names, **more, "batch": "false"}, b"first")


def rocketmq_messages(port, topic, queues):
    """How many messages a topic has."""
    asked = ({"topic": topic, "queueId": str(queue)} for queue in range(queues))
    return sum(int(rocketmq(port, GET_MAX_OFFSET, fields)["offset"]) for fields in asked)


@contextlib.contextmanager
def network_of(name):
    """Sockets that are made here are in a network namespace; this thread alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as ours, open(f"/run/netns/{name}", "rb") as theirs:
        if libc.setns(theirs.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            libc.setns(ours.fileno(), CLONE_NEWNET)
