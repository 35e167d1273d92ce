"""aiokafka against the broker at the first argument or $BOOTSTRAP."""

import asyncio
import logging
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

sys.path.append(str(Path(__file__).parent.parent / "kafka-python"))
from records import BOOTSTRAP, BROKERS, CODECS, PATIENCE_S, RUN, Checks, Record, compare, numbers, shapes  # noqa: E402

logging.disable(logging.CRITICAL)


def name(n):
    return f"aiokafka-{n}-{RUN}"


async def eventually(what, holds):
    deadline = time.monotonic() + PATIENCE_S
    while not await holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)


async def raises(expected, what, awaitable):
    try:
        await awaitable
    except expected:
        return
    raise AssertionError(f"{what}: expected {expected.__name__}, got success")


class Suite:
    def __init__(self, admin):
        self.admin = admin

    async def topic(self, n, partitions, configs=None):
        unique = name(n)
        await self.create(unique, partitions, configs)
        return unique

    async def create(self, unique, partitions, configs=None):
        answer = await self.admin.create_topics([NewTopic(unique, partitions, 1, topic_configs=configs or {})])
        for _, code, *_ in answer.topic_errors:
            if code:
                raise errors.for_code(code)
        await eventually(f"{unique} is led", lambda: self.led(unique, partitions))

    async def led(self, unique, partitions):
        """With acks=0 a record sent before may be lost."""
        description = (await self.admin.describe_topics([unique]))[0]
        if len(description["partitions"]) != partitions:
            return False
        c = consumer()
        await c.start()
        try:
            await asyncio.wait_for(c.end_offsets([TopicPartition(unique, p) for p in range(partitions)]), 2)
            return True
        except (errors.KafkaError, asyncio.TimeoutError):
            return False
        finally:
            await c.stop()

    async def describe_cluster(self):
        description = await self.admin.describe_cluster()
        assert len(description["brokers"]) == BROKERS and description["cluster_id"], description

    async def topics(self):
        t = await self.topic("admin", 3)
        assert t in await self.admin.list_topics()
        await raises(errors.TopicAlreadyExistsError, "existing", self.create(t, 3))
        await raises(errors.InvalidTopicError, "invalid name", self.create("no spaces", 1))
        await self.admin.delete_topics([t])

        async def gone():
            return t not in await self.admin.list_topics()

        await eventually("the topic is gone", gone)

    async def create_partitions(self):
        t = await self.topic("grown", 2)
        await self.admin.create_partitions({t: NewPartitions(5)})
        await eventually("five partitions", lambda: self.led(t, 5))
        await raises(errors.InvalidPartitionsError, "fewer", self.admin.create_partitions({t: NewPartitions(3)}))

    async def configs(self):
        t = await self.topic("configs", 1, {"retention.ms": "123456"})
        answer = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t)])
        entries = {entry[0]: entry[1] for response in answer for entry in response.resources[0][4]}
        assert entries["retention.ms"] == "123456" and entries["cleanup.policy"] == "delete", entries

    async def produce_shapes(self, codec, acks, idempotent):
        t = await self.topic(f"shapes-{codec}-{acks}-{idempotent}", 3)
        config = {"compression_type": codec, "acks": acks, "enable_idempotence": idempotent}
        sent = await send(t, shapes(3), **config)
        sent += await send(t, shapes(3), **config)
        compare(sent, await read_all(t, 3, len(sent)))

    async def large(self, codec):
        t = await self.topic(f"large-{codec}", 1)
        sent = []
        for _ in range(3):
            sent += await send(t, [Record(0, time.time_ns().to_bytes(8, "big") * 112_500)], compression_type=codec)
        compare(sent, await read_all(t, 1, 3))
        compare(sent, await read_all(t, 1, 3, max_partition_fetch_bytes=100, fetch_max_bytes=100))

    async def many_small(self):
        t = await self.topic("small", 4)
        sent = await send(t, numbers(4, 10_000), max_batch_size=4096)
        compare(sent, await read_all(t, 4, len(sent)))

    async def auto_create(self):
        t = name("auto")
        compare(await send(t, [Record(0, b"first")]), await read_all(t, 1, 1))

    async def oversized(self):
        t = await self.topic("oversized", 1)
        config = {"max_batch_size": 8_000_000}
        await raises(errors.MessageSizeTooLargeError, "2 MB", send(t, [Record(0, bytes(2_000_000))], **config))
        assert (await send(t, [Record(0, b"small")]))[0].offset == 0

    async def by_time(self):
        t = await self.topic("time", 1)
        start = int(time.time() - 3600) * 1000
        sent = await send(t, numbers(1, 50, start), max_batch_size=300)
        p = TopicPartition(t, 0)
        c = consumer()
        await c.start()
        c.assign([p])
        for at, offset in [(0, 0), (42_000, 42), (42_001, 43)]:
            assert (await c.offsets_for_times({p: start + at}))[p].offset == offset, f"offset at {at}"
        assert (await c.offsets_for_times({p: start + 49_001}))[p] is None
        assert (await c.beginning_offsets([p]))[p] == 0 and (await c.end_offsets([p]))[p] == 50
        c.seek(p, 33)
        compare(sent[33:], await poll(c, 17))
        await c.seek_to_beginning(p)
        compare(sent, await poll(c, 50))
        await c.seek_to_end(p)
        assert await c.position(p) == 50
        more = await send(t, numbers(1, 3))
        compare(more, await poll(c, 3))
        await c.stop()

    async def delete_records(self):
        t = await self.topic("purged", 1)
        sent = await send(t, numbers(1, 30))
        await self.admin.delete_records({TopicPartition(t, 0): RecordsToDelete(before_offset=20)})
        compare(sent[20:], await read_all(t, 1, 10))

    async def recreate(self):
        t = await self.topic("reborn", 1)
        await send(t, numbers(1, 20))
        await self.admin.delete_topics([t])

        async def made_again():
            try:
                await self.create(t, 1)
                return True
            except errors.TopicAlreadyExistsError:
                return False

        await eventually("made again", made_again)
        sent = await send(t, numbers(1, 4))
        assert sent[0].offset == 0
        compare(sent, await read_all(t, 1, 4))

    async def resume(self):
        t, group = await self.topic("resume", 1), name("resume-group")
        sent = await send(t, numbers(1, 30))
        first = await member(t, group)
        compare(sent, await poll(first, 30))
        p = TopicPartition(t, 0)
        await first.commit({p: OffsetAndMetadata(17, "a note")})
        await first.stop()
        second = await member(t, group)
        compare(sent[17:], await poll(second, 13))
        assert await second.committed(p) == 17
        await second.stop()
        offsets = await self.admin.list_consumer_group_offsets(group)
        assert offsets[p] == OffsetAndMetadata(17, "a note"), offsets

    async def share(self):
        t, group = await self.topic("share", 4), name("share-group")
        first = await member(t, group)
        await settle("first holds 4", (first, 4))
        second = await member(t, group)
        await settle("each holds 2", (first, 2), (second, 2))
        sent = await send(t, numbers(4, 80))
        got = []

        async def all_came():
            got.extend(await polled(first) + await polled(second))
            return len(got) >= 80

        await eventually("80 records", all_came)
        compare(sent, got)
        await first.commit()
        await second.commit()
        await second.stop()
        assert await settle("first holds 4 again", (first, 4)) == [], "committed records came again"
        more = await send(t, numbers(4, 20))
        compare(more, await poll(first, 20))
        await first.stop()

    async def static_member(self):
        t, group = await self.topic("static", 4), name("static-group")
        first = await member(t, group, group_instance_id="one")
        second = await member(t, group, group_instance_id="two")
        await settle("each holds 2", (first, 2), (second, 2))
        before = second.assignment()
        await second.stop()
        back = await member(t, group, group_instance_id="two")
        await settle("the member is back", (first, 2), (back, 2))
        assert back.assignment() == before
        await back.stop()
        await first.stop()


async def send(t, records, **config):
    """Sends and fills in the offsets that the broker answered."""
    config = {"linger_ms": 5, "max_request_size": 8_000_000, **config}
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
    await producer.start()
    try:
        futures = [
            await producer.send(t, r.value, r.key, r.partition, r.timestamp, r.headers or None) for r in records
        ]
        for record, future in zip(records, futures):
            metadata = await asyncio.wait_for(future, PATIENCE_S)
            if metadata is not None and config.get("acks") != 0:
                record.offset = metadata.offset
    finally:
        await producer.stop()
    return records


def consumer(**config):
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": 50, **config}
    return AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, **config)


async def member(t, group, **config):
    c = consumer(group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=200, **config)
    c.subscribe([t])
    await c.start()
    return c


async def polled(c, timeout_ms=50):
    batches = await c.getmany(timeout_ms=timeout_ms)
    return [
        Record(m.partition, m.value, m.key, list(m.headers), m.timestamp, m.offset)
        for messages in batches.values()
        for m in messages
    ]


async def poll(c, count):
    records = []
    deadline = time.monotonic() + PATIENCE_S
    while len(records) < count and time.monotonic() < deadline:
        records.extend(await polled(c, 100))
    assert len(records) == count, f"records consumed: expected {count}, got {len(records)}"
    return records


async def read_all(t, partitions, count, **config):
    c = consumer(**config)
    await c.start()
    c.assign([TopicPartition(t, p) for p in range(partitions)])
    try:
        return await poll(c, count)
    finally:
        await c.stop()


async def settle(what, *wanted):
    """Polls the members in turn until they hold the wanted numbers of partitions; what came meanwhile."""
    records = []

    async def settled():
        for c, _ in wanted:
            records.extend(await polled(c, 20))
        return all(len(c.assignment()) == count for c, count in wanted)

    await eventually(what, settled)
    return records


async def main():
    checks = Checks()
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    suite = Suite(admin)
    await checks.run_async("describe cluster", suite.describe_cluster)
    await checks.run_async("create, refuse and delete topics", suite.topics)
    await checks.run_async("create partitions", suite.create_partitions)
    await checks.run_async("describe topic configs", suite.configs)
    for codec in CODECS:
        for acks in (0, 1, "all"):
            await checks.run_async(f"produce {codec} acks={acks}", suite.produce_shapes, codec, acks, False)
        await checks.run_async(f"produce {codec} idempotent", suite.produce_shapes, codec, "all", True)
        await checks.run_async(f"produce {codec} 900 KB records", suite.large, codec)
    await checks.run_async("many small records keep their order", suite.many_small)
    await checks.run_async("auto-create by produce", suite.auto_create)
    await checks.run_async("record over max.message.bytes is refused", suite.oversized)
    await checks.run_async("offsets by time, positions", suite.by_time)
    await checks.run_async("delete records moves the beginning", suite.delete_records)
    await checks.run_async("a topic deleted and made again holds only new records", suite.recreate)
    await checks.run_async("commit, and a new member resumes after it", suite.resume)
    await checks.run_async("two members share partitions, one leaves", suite.share)
    await checks.run_async("a static member returns to its partitions", suite.static_member)
    await admin.close()
    checks.close()


asyncio.run(main())
