package suite;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Consuming without a group: positions, offsets by time, deleted records, topics that come back. */
final class ConsumeChecks {
    /** An hour ago: retention deletes by the records' own time. */
    private static final long T0 = System.currentTimeMillis() - 3_600_000;
    private final Cluster cluster;

    ConsumeChecks(Cluster cluster) {
        this.cluster = cluster;
    }

    void run(Checks checks) {
        checks.check("seek to beginning, end and an offset", this::seek);
        checks.check("offsets and seek by timestamp", this::byTime);
        checks.check("earliest, latest and max-timestamp offsets", this::offsetSpecs);
        checks.check("a waiting fetch is answered when a record arrives", this::longPoll);
        checks.check("an offset out of range resets, or fails without a policy", this::outOfRange);
        checks.check("delete records moves the beginning", this::deleteRecords);
        checks.check("delete records of an unknown offset is refused", this::deleteRecordsRefused);
        checks.check("a topic deleted and made again holds only new records", this::recreate);
        checks.check("a consumer without auto-create leaves an unknown topic unknown", this::noAutoCreate);
        checks.check("read_committed reads all of a plain topic", this::readCommitted);
        checks.check("lag and positions", this::lag);
        checks.check("40 partitions of 3 topics in one fetch session", this::manyPartitions);
    }

    private List<Cluster.Sent> fill(String topic, int count) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            records.add(new ProducerRecord<>(topic, 0, T0 + i * 1000L, null, ("v" + i).getBytes()));
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("batch.size", 100))) {
            return cluster.send(producer, records);
        }
    }

    private static String value(KafkaConsumer<byte[], byte[]> consumer) {
        long deadline = System.nanoTime() + Cluster.PATIENCE.toNanos();
        while (System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                return new String(record.value());
            }
        }
        throw new AssertionError("no record came");
    }

    private void seek() throws Exception {
        String topic = cluster.topic("seek", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 100);
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("max.poll.records", 1))) {
            consumer.assign(List.of(p));
            Checks.same("v0", value(consumer), "first");
            consumer.seek(p, 57);
            Checks.same("v57", value(consumer), "offset 57");
            consumer.seekToBeginning(List.of(p));
            Checks.same("v0", value(consumer), "beginning");
            consumer.seekToEnd(List.of(p));
            Checks.same(100L, consumer.position(p), "position at the end");
            fill(topic, 1);
            Checks.same("v0", value(consumer), "the record after the end");
            Checks.same(101L, consumer.position(p), "position");
        }
    }

    private void byTime() throws Exception {
        String topic = cluster.topic("by-time", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 100);
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("max.poll.records", 1))) {
            consumer.assign(List.of(p));
            OffsetAndTimestamp exact = consumer.offsetsForTimes(Map.of(p, T0 + 42_000)).get(p);
            Checks.same(42L, exact.offset(), "offset at 42 s");
            Checks.same(T0 + 42_000, exact.timestamp(), "timestamp at 42 s");
            OffsetAndTimestamp between = consumer.offsetsForTimes(Map.of(p, T0 + 42_001)).get(p);
            Checks.same(43L, between.offset(), "offset after 42 s");
            Checks.same(0L, consumer.offsetsForTimes(Map.of(p, 0L)).get(p).offset(), "offset at 1970");
            Checks.same(null, consumer.offsetsForTimes(Map.of(p, T0 + 100_000)).get(p), "offset after the last");
            consumer.seek(p, between.offset());
            Checks.same("v43", value(consumer), "record after 42 s");
        }
    }

    private void offsetSpecs() throws Exception {
        String topic = cluster.topic("specs", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            cluster.send(producer, List.of(
                new ProducerRecord<>(topic, 0, T0, null, new byte[1]),
                new ProducerRecord<>(topic, 0, T0 + 9000, null, new byte[1]),
                new ProducerRecord<>(topic, 0, T0 + 5000, null, new byte[1])));
        }
        Checks.same(0L, offset(p, OffsetSpec.earliest()).offset(), "earliest");
        Checks.same(3L, offset(p, OffsetSpec.latest()).offset(), "latest");
        Checks.same(1L, offset(p, OffsetSpec.maxTimestamp()).offset(), "offset of the max timestamp");
        Checks.same(T0 + 9000, offset(p, OffsetSpec.maxTimestamp()).timestamp(), "max timestamp");
        Checks.same(1L, offset(p, OffsetSpec.forTimestamp(T0 + 1)).offset(), "by time");
    }

    private ListOffsetsResultInfo offset(TopicPartition p, OffsetSpec spec) throws Exception {
        return cluster.admin.listOffsets(Map.of(p, spec)).partitionResult(p).get();
    }

    private void longPoll() throws Exception {
        String topic = cluster.topic("long-poll", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("fetch.max.wait.ms", 2500));
                KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            consumer.assign(List.of(p));
            Checks.that(consumer.poll(Duration.ofMillis(300)).isEmpty(), "nothing yet");
            long start = System.nanoTime();
            producer.send(new ProducerRecord<>(topic, "now".getBytes())).get();
            Checks.same("now", value(consumer), "record");
            long ms = (System.nanoTime() - start) / 1_000_000;
            Checks.that(ms < 1500, "the parked fetch took " + ms + " ms");
        }
    }

    private void outOfRange() throws Exception {
        String topic = cluster.topic("range", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 10);
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("max.poll.records", 1))) {
            consumer.assign(List.of(p));
            consumer.seek(p, 5000);
            Checks.same("v0", value(consumer), "after the reset to earliest");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(p));
            consumer.seek(p, 5000);
            Checks.fails(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, "no policy",
                () -> value(consumer));
        }
    }

    private void deleteRecords() throws Exception {
        String topic = cluster.topic("purged", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 50);
        long low = cluster.admin.deleteRecords(Map.of(p, RecordsToDelete.beforeOffset(20))).lowWatermarks().get(p)
            .get().lowWatermark();
        Checks.same(20L, low, "low watermark");
        Checks.same(20L, offset(p, OffsetSpec.earliest()).offset(), "earliest");
        List<ConsumerRecord<byte[], byte[]>> got = cluster.readAll(topic, 1, 30);
        Checks.same(20L, got.get(0).offset(), "first offset");
        Checks.same("v20", new String(got.get(0).value()), "first value");
        // -1 means all: the log is empty and goes on at its end.
        cluster.admin.deleteRecords(Map.of(p, RecordsToDelete.beforeOffset(-1))).all().get();
        Checks.same(50L, offset(p, OffsetSpec.earliest()).offset(), "earliest after all");
        Checks.same(50L, fill(topic, 1).get(0).acked().offset(), "offset after all");
        cluster.readAll(topic, 1, 1);
    }

    private void deleteRecordsRefused() throws Exception {
        String topic = cluster.topic("purge-refused", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 5);
        Checks.fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, "beyond the end",
            () -> cluster.admin.deleteRecords(Map.of(p, RecordsToDelete.beforeOffset(500))).all().get());
    }

    private void recreate() throws Exception {
        String topic = cluster.topic("reborn", 2);
        fill(topic, 30);
        cluster.admin.deleteTopics(List.of(topic)).all().get();
        for (int i = 0; i < 100 && cluster.admin.listTopics().names().get().contains(topic); i++) {
            Thread.sleep(20);
        }
        cluster.topic("reborn", 2);
        List<Cluster.Sent> sent;
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            sent = cluster.send(producer, cluster.shapes(topic, 2, "second life"));
        }
        Checks.same(0L, sent.get(0).acked().offset(), "first offset of the new topic");
        Cluster.compare(sent, cluster.readAll(topic, 2, sent.size()));
    }

    private void noAutoCreate() throws Exception {
        String topic = cluster.name("not-made");
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(
                Map.of("allow.auto.create.topics", false, "default.api.timeout.ms", 1500))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            Checks.that(consumer.poll(Duration.ofMillis(700)).isEmpty(), "no records");
        }
        Checks.that(!cluster.admin.listTopics().names().get().contains(topic), "must not exist");
    }

    private void readCommitted() throws Exception {
        String topic = cluster.topic("committed", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 20);
        try (KafkaConsumer<byte[], byte[]> consumer =
                cluster.consumer(Map.of("isolation.level", "read_committed"))) {
            consumer.assign(List.of(p));
            Cluster.poll(consumer, 20);
            Checks.same(20L, consumer.endOffsets(List.of(p)).get(p), "last stable offset");
        }
    }

    private void lag() throws Exception {
        String topic = cluster.topic("lag", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        fill(topic, 10);
        try (KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of("max.poll.records", 4))) {
            consumer.assign(List.of(p));
            value(consumer);
            Checks.same(6L, consumer.currentLag(p).getAsLong(), "lag");
            Checks.same(Map.of(p, 0L), consumer.beginningOffsets(List.of(p)), "beginning");
            Checks.same(Map.of(p, 10L), consumer.endOffsets(List.of(p)), "end");
        }
    }

    private void manyPartitions() throws Exception {
        List<TopicPartition> assigned = new ArrayList<>();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (String name : List.of("wide-a", "wide-b", "wide-c")) {
            String topic = cluster.topic(name, 40);
            for (int p = 0; p < 40; p++) {
                assigned.add(new TopicPartition(topic, p));
                for (int i = 0; i < 10; i++) {
                    records.add(new ProducerRecord<>(topic, p, null, cluster.bytes(50)));
                }
            }
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of());
                KafkaConsumer<byte[], byte[]> consumer = cluster.consumer(Map.of())) {
            consumer.assign(assigned);
            // Twice, so that the second round goes through the incremental session of the first.
            for (int round = 0; round < 2; round++) {
                cluster.send(producer, records);
                Cluster.poll(consumer, records.size());
            }
            for (TopicPartition p : assigned) {
                Checks.same(20L, consumer.position(p), "position of " + p);
            }
        }
    }
}
