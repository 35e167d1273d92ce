package suite;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.record.TimestampType;

/** Producing: codecs, acks, idempotence, sizes, placement, and what the broker refuses. */
final class ProduceChecks {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private final Cluster cluster;

    ProduceChecks(Cluster cluster) {
        this.cluster = cluster;
    }

    void run(Checks checks) {
        for (String codec : CODECS) {
            for (String acks : List.of("0", "1", "all")) {
                checks.check("produce " + codec + " acks=" + acks, () -> shapes(codec, acks, false));
            }
            checks.check("produce " + codec + " idempotent", () -> shapes(codec, "all", true));
            checks.check("produce " + codec + " 900 KB records", () -> large(codec));
        }
        checks.check("many small records keep their order", this::manySmall);
        checks.check("keys go to their murmur2 partition", this::placement);
        checks.check("several idempotent producers share a partition", this::sharedPartition);
        checks.check("auto-create by produce", this::autoCreate);
        checks.check("record over max.message.bytes is refused", this::oversized);
        checks.check("topic's own max.message.bytes holds", this::topicLimit);
        checks.check("invalid topic name is refused", this::invalidName);
        checks.check("timestamp too far ahead is refused", this::futureTimestamp);
        checks.check("LogAppendTime stamps records", this::logAppendTime);
        checks.check("topic compression.type recompresses or keeps, content equal", this::topicCompression);
    }

    private void shapes(String codec, String acks, boolean idempotent) throws Exception {
        String topic = cluster.topic("shapes-" + codec + "-" + acks + (idempotent ? "-idem" : ""), 3);
        Map<String, Object> config = Map.of("compression.type", codec, "acks", acks, "linger.ms", 20,
            "enable.idempotence", idempotent);
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(config)) {
            List<Cluster.Sent> sent = cluster.send(producer, cluster.shapes(topic, 3, "a"));
            sent.addAll(cluster.send(producer, cluster.shapes(topic, 3, "b")));
            Cluster.compare(sent, cluster.readAll(topic, 3, sent.size()));
        }
    }

    private void large(String codec) throws Exception {
        String topic = cluster.topic("large-" + codec, 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            records.add(new ProducerRecord<>(topic, 0, null, cluster.bytes(900_000)));
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("compression.type", codec))) {
            List<Cluster.Sent> sent = cluster.send(producer, records);
            Cluster.compare(sent, cluster.readAll(topic, 1, sent.size()));
            // KIP-74: a batch larger than every limit is still returned, alone.
            try (KafkaConsumer<byte[], byte[]> consumer =
                    cluster.consumer(Map.of("max.partition.fetch.bytes", 100, "fetch.max.bytes", 100))) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                Cluster.compare(sent, Cluster.poll(consumer, sent.size()));
            }
        }
    }

    private void manySmall() throws Exception {
        String topic = cluster.topic("small", 4);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 40_000; i++) {
            records.add(new ProducerRecord<>(topic, i % 4, null, Integer.toString(i).getBytes()));
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("batch.size", 4096))) {
            List<Cluster.Sent> sent = cluster.send(producer, records);
            Cluster.compare(sent, cluster.readAll(topic, 4, sent.size()));
        }
    }

    private void placement() throws Exception {
        String topic = cluster.topic("placement", 7);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            records.add(new ProducerRecord<>(topic, ("user-" + i % 50).getBytes(), cluster.bytes(20)));
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            List<Cluster.Sent> sent = cluster.send(producer, records);
            List<ConsumerRecord<byte[], byte[]>> got = cluster.readAll(topic, 7, sent.size());
            Cluster.compare(sent, got);
            for (ConsumerRecord<byte[], byte[]> record : got) {
                Checks.same(BuiltInPartitioner.partitionForKey(record.key(), 7), record.partition(), "partition");
            }
        }
    }

    private void sharedPartition() throws Exception {
        String topic = cluster.topic("shared", 1);
        List<KafkaProducer<byte[], byte[]>> producers = new ArrayList<>();
        for (int p = 0; p < 3; p++) {
            producers.add(cluster.producer(Map.of("enable.idempotence", true, "linger.ms", 0)));
        }
        for (int i = 0; i < 600; i++) {
            producers.get(i % 3).send(new ProducerRecord<>(topic, 0, new byte[] {(byte) (i % 3)},
                Integer.toString(i / 3).getBytes()));
        }
        producers.forEach(KafkaProducer::close);
        int[] next = new int[3];
        for (ConsumerRecord<byte[], byte[]> record : cluster.readAll(topic, 1, 600)) {
            int producer = record.key()[0];
            Checks.same(Integer.toString(next[producer]++), new String(record.value()), "producer " + producer);
        }
    }

    private void autoCreate() throws Exception {
        String topic = cluster.name("auto");
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            List<Cluster.Sent> sent = cluster.send(producer, List.of(new ProducerRecord<>(topic, cluster.bytes(9))));
            Cluster.compare(sent, cluster.readAll(topic, 1, 1));
        }
    }

    private void oversized() throws Exception {
        String topic = cluster.topic("oversized", 1);
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            Checks.fails(RecordTooLargeException.class, "2 MB record",
                () -> producer.send(new ProducerRecord<>(topic, cluster.bytes(2_000_000))).get());
            Checks.same(0L, producer.send(new ProducerRecord<>(topic, cluster.bytes(10))).get().offset(), "offset");
        }
    }

    private void topicLimit() throws Exception {
        String topic = cluster.topic("limit", 1, Map.of("max.message.bytes", "5000"));
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("linger.ms", 50))) {
            Checks.fails(RecordTooLargeException.class, "6000 bytes",
                () -> producer.send(new ProducerRecord<>(topic, cluster.bytes(6000))).get());
            // Each record fits, their batch does not: the producer splits it after MESSAGE_TOO_LARGE.
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int i = 0; i < 12; i++) {
                records.add(new ProducerRecord<>(topic, 0, null, cluster.bytes(1000)));
            }
            List<Cluster.Sent> sent = cluster.send(producer, records);
            Cluster.compare(sent, cluster.readAll(topic, 1, sent.size()));
        }
    }

    private void invalidName() {
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("max.block.ms", 10000))) {
            Checks.fails(InvalidTopicException.class, "a name with a space",
                () -> producer.send(new ProducerRecord<>("no spaces", new byte[1])).get());
        }
    }

    private void futureTimestamp() throws Exception {
        String topic = cluster.topic("future", 1);
        long tomorrow = System.currentTimeMillis() + 86_400_000L;
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            Checks.fails(InvalidTimestampException.class, "tomorrow's record",
                () -> producer.send(new ProducerRecord<>(topic, 0, tomorrow, null, new byte[1])).get());
        }
    }

    private void logAppendTime() throws Exception {
        String topic = cluster.topic("append-time", 1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("compression.type", "lz4"))) {
            ProducerRecord<byte[], byte[]> old = new ProducerRecord<>(topic, 0, 1L, null, cluster.bytes(100));
            long acked = producer.send(old).get().timestamp();
            ConsumerRecord<byte[], byte[]> got = cluster.readAll(topic, 1, 1).get(0);
            Checks.same(TimestampType.LOG_APPEND_TIME, got.timestampType(), "timestamp type");
            Checks.same(acked, got.timestamp(), "timestamp of answer and record");
            Checks.that(acked >= before && acked <= System.currentTimeMillis(), "append time is now");
        }
    }

    private void topicCompression() throws Exception {
        String topic = cluster.topic("recompressed", 1, Map.of("compression.type", "zstd"));
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of("compression.type", "gzip"))) {
            List<Cluster.Sent> sent = cluster.send(producer, cluster.shapes(topic, 1, "z"));
            Cluster.compare(sent, cluster.readAll(topic, 1, sent.size()));
        }
    }
}
