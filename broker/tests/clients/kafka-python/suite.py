"""kafka-python against the broker at the first argument or $BOOTSTRAP."""

import logging
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from records import BOOTSTRAP, BROKERS, CODECS, PATIENCE_S, RUN, Checks, Record, compare, numbers, raises, shapes

logging.disable(logging.CRITICAL)
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def name(n):
    return f"kafka-python-{n}-{RUN}"


def eventually(what, holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


def topic(n, partitions, configs=None):
    unique = name(n)
    options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs or {}}
    admin.create_topics({unique: options}, wait_for_metadata=True)
    return unique


def send(t, records, **config):
    """Sends and fills in the offsets that the broker answered."""
    config = {"linger_ms": 5, "max_request_size": 8_000_000, **config}
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
    try:
        futures = [
            producer.send(t, r.value, r.key, r.headers or None, r.partition, r.timestamp) for r in records
        ]
        producer.flush(PATIENCE_S)
        for record, future in zip(records, futures):
            metadata = future.get(PATIENCE_S)
            record.offset = metadata.offset if config.get("acks") != 0 else None
    finally:
        producer.close()
    return records


def consumer(**config):
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": 50, **config}
    return KafkaConsumer(bootstrap_servers=BOOTSTRAP, **config)


def record_of(m):
    return Record(m.partition, m.value, m.key, list(m.headers), m.timestamp, m.offset)


def polled(c, timeout_ms=100):
    return [record_of(m) for messages in c.poll(timeout_ms=timeout_ms).values() for m in messages]


def poll(c, count):
    records = []
    deadline = time.monotonic() + PATIENCE_S
    while len(records) < count and time.monotonic() < deadline:
        records.extend(polled(c))
    assert len(records) == count, f"records consumed: expected {count}, got {len(records)}"
    return records


def read_all(t, partitions, count, **config):
    c = consumer(**config)
    c.assign([TopicPartition(t, p) for p in range(partitions)])
    c.seek_to_beginning()
    try:
        return poll(c, count)
    finally:
        c.close()


def describe_cluster():
    description = admin.describe_cluster()
    assert len(description["brokers"]) == BROKERS and description["cluster_id"], description


def topics():
    t = topic("admin", 3)
    assert t in admin.list_topics()
    assert len(admin.describe_topics([t])[0]["partitions"]) == 3
    one = {"num_partitions": 1, "replication_factor": 1}
    raises(errors.TopicAlreadyExistsError, "existing", admin.create_topics, {t: one})
    raises(errors.InvalidTopicError, "invalid name", admin.create_topics, {"no spaces": one})
    raises(errors.InvalidReplicationFactorError, "99 replicas", admin.create_topics,
           {name("factor"): {"num_partitions": 1, "replication_factor": 99}})
    raises(errors.InvalidPartitionsError, "0 partitions", admin.create_topics,
           {name("zero"): {"num_partitions": 0, "replication_factor": 1}})
    admin.delete_topics([t])
    eventually("the topic is gone", lambda: t not in admin.list_topics())
    raises(errors.UnknownTopicOrPartitionError, "delete unknown", admin.delete_topics, [name("never")])


def create_partitions():
    t = topic("grown", 2)
    admin.create_partitions({t: 5})
    eventually("five partitions", lambda: len(admin.describe_topics([t])[0]["partitions"]) == 5)
    raises(errors.InvalidPartitionsError, "fewer", admin.create_partitions, {t: 3})


def config_value(t, key):
    resource = ConfigResource(ConfigResourceType.TOPIC, t)
    answer = admin.describe_configs([resource], config_filter="all")
    entry = answer["topic"][t][key]
    return entry["value"] if isinstance(entry, dict) else entry


def configs():
    t = topic("configs", 1, {"retention.ms": "123456"})
    assert config_value(t, "retention.ms") == "123456"
    assert config_value(t, "cleanup.policy") == "delete"
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, t, {"retention.ms": "7200000"})])
    eventually("7200000", lambda: config_value(t, "retention.ms") == "7200000")


def produce_shapes(codec, **config):
    t = topic(f"shapes-{codec}-{config['acks']}-{config['enable_idempotence']}", 3)
    sent = send(t, shapes(3), compression_type=codec, **config)
    sent += send(t, shapes(3), compression_type=codec, **config)
    compare(sent, read_all(t, 3, len(sent)))


def large(codec):
    t = topic(f"large-{codec}", 1)
    sent = []
    for _ in range(3):
        sent += send(t, [Record(0, time.time_ns().to_bytes(8, "big") * 112_500)], compression_type=codec)
    compare(sent, read_all(t, 1, 3))
    compare(sent, read_all(t, 1, 3, max_partition_fetch_bytes=100, fetch_max_bytes=100))


def many_small():
    t = topic("small", 4)
    sent = send(t, numbers(4, 10_000), batch_size=4096)
    compare(sent, read_all(t, 4, len(sent)))


def placement():
    t = topic("placement", 7)
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
    futures = [producer.send(t, b"x", b"user-%d" % (i % 30)) for i in range(300)]
    producer.close()
    answered = [f.get(PATIENCE_S).partition for f in futures]
    found = {(r.key, r.partition) for r in read_all(t, 7, 300)}
    assert found == {(b"user-%d" % (i % 30), p) for i, p in enumerate(answered)}
    assert len(found) == 30, "each key in one partition"


def auto_create():
    t = name("auto")
    compare(send(t, [Record(0, b"first")]), read_all(t, 1, 1))


def oversized():
    t = topic("oversized", 1)
    raises(errors.MessageSizeTooLargeError, "2 MB", send, t, [Record(0, bytes(2_000_000))])
    assert send(t, [Record(0, b"small")])[0].offset == 0


def by_time():
    t = topic("time", 1)
    start = int(time.time() - 3600) * 1000
    sent = send(t, numbers(1, 50, start), batch_size=300)
    p = TopicPartition(t, 0)
    c = consumer()
    c.assign([p])
    for at, offset in [(0, 0), (42_000, 42), (42_001, 43)]:
        assert c.offsets_for_times({p: start + at})[p].offset == offset, f"offset at {at}"
    assert c.offsets_for_times({p: start + 49_001})[p] is None
    assert (c.beginning_offsets([p])[p], c.end_offsets([p])[p]) == (0, 50)
    c.seek(p, 33)
    compare(sent[33:], poll(c, 17))
    c.seek_to_beginning(p)
    compare(sent, poll(c, 50))
    c.seek_to_end(p)
    assert c.position(p) == 50
    more = send(t, numbers(1, 3))
    compare(more, poll(c, 3))
    c.close()


def delete_records():
    t = topic("purged", 1)
    sent = send(t, numbers(1, 30))
    admin.delete_records({TopicPartition(t, 0): 20})
    compare(sent[20:], read_all(t, 1, 10))


def recreate():
    t = topic("reborn", 1)
    send(t, numbers(1, 20))
    admin.delete_topics([t])

    def made_again():
        try:
            admin.create_topics({t: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
            return True
        except errors.TopicAlreadyExistsError:
            return False

    eventually("made again", made_again)
    sent = send(t, numbers(1, 4))
    assert sent[0].offset == 0
    compare(sent, read_all(t, 1, 4))


def member(t, group, **config):
    c = consumer(group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=200, **config)
    c.subscribe([t])
    return c


def settle(what, *wanted):
    """Polls the members in turn until they hold the wanted numbers of partitions; what came meanwhile."""
    records = []

    def settled():
        for c, _ in wanted:
            # A poll that ends before the join it began may forget the assignment.
            records.extend(polled(c, 300))
        return all(len(c.assignment()) == count for c, count in wanted)

    eventually(what, settled)
    return records


def resume():
    t, group = topic("resume", 1), name("resume-group")
    sent = send(t, numbers(1, 30))
    first = member(t, group)
    compare(sent, poll(first, 30))
    p = TopicPartition(t, 0)
    first.commit({p: OffsetAndMetadata(17, "a note", -1)})
    first.close()
    second = member(t, group)
    compare(sent[17:], poll(second, 13))
    assert second.committed(p) == 17
    second.close()
    answer = admin.list_group_offsets({group: None})[group][p]
    assert (answer.offset, answer.metadata) == (17, "a note"), answer


def share():
    t, group = topic("share", 4), name("share-group")
    first = member(t, group)
    settle("first holds 4", (first, 4))
    second = member(t, group)
    settle("each holds 2", (first, 2), (second, 2))
    sent = send(t, numbers(4, 80))
    got = []

    def all_came():
        got.extend(polled(first, 20) + polled(second, 20))
        return len(got) >= 80

    eventually("80 records", all_came)
    compare(sent, got)
    first.commit()
    second.commit()
    second.close()
    assert settle("first holds 4 again", (first, 4)) == [], "committed records came again"
    more = send(t, numbers(4, 20))
    compare(more, poll(first, 20))
    first.close()


def static_member():
    t, group = topic("static", 4), name("static-group")
    first = member(t, group, group_instance_id="one")
    second = member(t, group, group_instance_id="two")
    settle("each holds 2", (first, 2), (second, 2))
    before = second.assignment()
    second.close()
    back = member(t, group, group_instance_id="two")
    settle("the member is back", (first, 2), (back, 2))
    assert back.assignment() == before
    back.close()
    first.close()


def main():
    checks = Checks()
    checks.run("describe cluster", describe_cluster)
    checks.run("create, describe, refuse and delete topics", topics)
    checks.run("create partitions", create_partitions)
    checks.run("describe and alter topic configs", configs)
    for codec in CODECS:
        for acks in (0, 1, "all"):
            config = {"acks": acks, "enable_idempotence": False}
            checks.run(f"produce {codec} acks={acks}", lambda: produce_shapes(codec, **config))
        idempotent = {"acks": "all", "enable_idempotence": True}
        checks.run(f"produce {codec} idempotent", lambda: produce_shapes(codec, **idempotent))
        checks.run(f"produce {codec} 900 KB records", large, codec)
    checks.run("many small records keep their order", many_small)
    checks.run("keys go to one partition each", placement)
    checks.run("auto-create by produce", auto_create)
    checks.run("record over max.message.bytes is refused", oversized)
    checks.run("offsets by time, positions", by_time)
    checks.run("delete records moves the beginning", delete_records)
    checks.run("a topic deleted and made again holds only new records", recreate)
    checks.run("commit, and a new member resumes after it", resume)
    checks.run("two members share partitions, one leaves", share)
    checks.run("a static member returns to its partitions", static_member)
    admin.close()
    checks.close()


main()
