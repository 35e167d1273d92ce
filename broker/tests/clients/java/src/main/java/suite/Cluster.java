package suite;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The broker under test and what the suite remembers of the records it sent there. */
final class Cluster {
    /** How many brokers the cluster has. */
    static final int BROKERS = Integer.parseInt(System.getenv().getOrDefault("BROKERS", "1"));
    static final Duration PATIENCE = Duration.ofSeconds(20);

    /** A record and where the broker said it went; {@code acked} is null for acks=0. */
    record Sent(ProducerRecord<byte[], byte[]> record, RecordMetadata acked) {}

    final String bootstrap;
    final String run = Long.toString(System.currentTimeMillis(), 36);
    final Random random = new Random(42);
    final Admin admin;

    Cluster(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(config(Map.of()));
    }

    Map<String, Object> config(Map<String, Object> extra) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("request.timeout.ms", 15000);
        config.put("default.api.timeout.ms", 20000);
        config.putAll(extra);
        return config;
    }

    KafkaProducer<byte[], byte[]> producer(Map<String, Object> extra) {
        Map<String, Object> config = config(Map.of("delivery.timeout.ms", 25000, "max.request.size", 8 << 20));
        config.remove("default.api.timeout.ms");
        config.putAll(extra);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> extra) {
        Map<String, Object> config = config(Map.of("auto.offset.reset", "earliest", "enable.auto.commit", false));
        // A consumer's close waits for its last fetch.
        config.put("fetch.max.wait.ms", 50);
        config.putAll(extra);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    String topic(String name, int partitions) throws Exception {
        return topic(name, partitions, Map.of());
    }

    String topic(String name, int partitions, Map<String, String> configs) throws Exception {
        String unique = name(name);
        admin.createTopics(List.of(new NewTopic(unique, partitions, (short) 1).configs(configs))).all().get();
        return unique;
    }

    String name(String name) {
        return "java-" + name + "-" + run;
    }

    byte[] bytes(int length) {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        return bytes;
    }

    /** Every shape of record: keyed, keyless, null and empty values, headers with null and repeated keys. */
    List<ProducerRecord<byte[], byte[]>> shapes(String topic, int partitions, String label) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        // Not older: retention deletes by the records' own time.
        long start = System.currentTimeMillis() - 3_600_000;
        for (int i = 0; i < 24; i++) {
            byte[] key = i % 3 == 0 ? null : (label + "-key-" + i).getBytes(StandardCharsets.UTF_8);
            byte[] value = i % 6 == 4 ? null : i % 6 == 5 ? new byte[0] : bytes(10 + i * 40);
            List<Header> headers = i % 4 != 0 ? List.of() : List.of(
                new RecordHeader("trace", bytes(16)), new RecordHeader("twice", new byte[] {1}),
                new RecordHeader("twice", new byte[] {2}), new RecordHeader("none", (byte[]) null));
            records.add(new ProducerRecord<>(topic, i % partitions, start + i, key, value, headers));
        }
        return records;
    }

    List<Sent> send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records)
            throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : records) {
            futures.add(producer.send(record));
        }
        producer.flush();
        List<Sent> sent = new ArrayList<>();
        for (int i = 0; i < records.size(); i++) {
            sent.add(new Sent(records.get(i), futures.get(i).get()));
        }
        return sent;
    }

    /** All of a topic from its beginning until {@code count} records came; fails when they do not come in time. */
    List<ConsumerRecord<byte[], byte[]>> readAll(String topic, int partitions, int count) {
        List<TopicPartition> assigned = new ArrayList<>();
        for (int p = 0; p < partitions; p++) {
            assigned.add(new TopicPartition(topic, p));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            consumer.assign(assigned);
            consumer.seekToBeginning(assigned);
            return poll(consumer, count);
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (records.size() < count && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        Checks.same(count, records.size(), "records consumed");
        return records;
    }

    /** Each record sent is at its partition and offset, equal to the last byte, and offsets run without a gap. */
    static void compare(List<Sent> sent, List<ConsumerRecord<byte[], byte[]>> got) {
        Checks.same(sent.size(), got.size(), "count");
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> byPartition = new HashMap<>();
        got.forEach(r -> byPartition.computeIfAbsent(r.partition(), p -> new ArrayList<>()).add(r));
        Map<Integer, Integer> next = new HashMap<>();
        for (Sent s : sent) {
            int partition = s.acked().partition();
            int index = next.merge(partition, 1, Integer::sum) - 1;
            List<ConsumerRecord<byte[], byte[]>> read = byPartition.getOrDefault(partition, List.of());
            Checks.that(index < read.size(), "partition " + partition + " has only " + read.size() + " records");
            compare(s, read.get(index), index);
        }
        byPartition.values().forEach(list -> {
            for (int i = 1; i < list.size(); i++) {
                Checks.same(list.get(i - 1).offset() + 1, list.get(i).offset(), "next offset");
            }
        });
    }

    private static void compare(Sent s, ConsumerRecord<byte[], byte[]> got, int index) {
        String where = "record " + index + " of partition " + got.partition();
        if (s.acked().hasOffset()) {
            Checks.same(s.acked().offset(), got.offset(), where + " offset");
        }
        Checks.that(Arrays.equals(s.record().key(), got.key()), where + " key");
        Checks.that(Arrays.equals(s.record().value(), got.value()), where + " value");
        if (s.record().timestamp() != null) {
            Checks.same(s.record().timestamp(), got.timestamp(), where + " timestamp");
        }
        Checks.same(Arrays.asList(s.record().headers().toArray()), Arrays.asList(got.headers().toArray()),
            where + " headers");
    }
}
