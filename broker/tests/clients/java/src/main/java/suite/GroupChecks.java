package suite;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Consumer groups of the classic protocol: sharing, rebalances, commits, static members. */
final class GroupChecks {
    private final Cluster cluster;

    GroupChecks(Cluster cluster) {
        this.cluster = cluster;
    }

    void run(Checks checks) {
        checks.check("commit, and a new consumer resumes after it", this::resume);
        checks.check("commits keep metadata and leader epoch, unknown groups have none", this::metadata);
        checks.check("auto-commit on close", this::autoCommit);
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            checks.check("two members share partitions, one leaves (" + assignor + ")", () -> share(assignor));
        }
        checks.check("a static member returns without a rebalance", this::staticMember);
        checks.check("a silent member is removed after its session", this::sessionTimeout);
        checks.check("a commit of a removed member fails", this::fencedCommit);
        checks.check("two groups read the same topic apart", this::independent);
        checks.check("a pattern subscription sees a new topic", this::pattern);
        checks.check("commit without a group's members (assign)", this::standalone);
    }

    private void fill(String topic, int partitions, int count) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            records.add(new ProducerRecord<>(topic, i % partitions, null, Integer.toString(i).getBytes()));
        }
        try (KafkaProducer<byte[], byte[]> producer = cluster.producer(Map.of())) {
            cluster.send(producer, records);
        }
    }

    private KafkaConsumer<byte[], byte[]> member(String group, Map<String, Object> extra) {
        Map<String, Object> config = new HashMap<>(Map.of("group.id", group, "session.timeout.ms", 6000,
            "heartbeat.interval.ms", 200, "metadata.max.age.ms", 500));
        config.putAll(extra);
        return cluster.consumer(config);
    }

    private void resume() throws Exception {
        String topic = cluster.topic("resume", 2);
        String group = cluster.name("resume-group");
        fill(topic, 2, 40);
        Set<String> seen = new HashSet<>();
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of("max.poll.records", 10))) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 20).forEach(r -> seen.add(new String(r.value())));
            consumer.commitSync();
        }
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            for (ConsumerRecord<byte[], byte[]> record : Cluster.poll(consumer, 20)) {
                Checks.that(seen.add(new String(record.value())), "twice: " + new String(record.value()));
            }
        }
        Checks.same(40, seen.size(), "different records");
    }

    private void metadata() throws Exception {
        String topic = cluster.topic("metadata", 2);
        String group = cluster.name("metadata-group");
        TopicPartition p = new TopicPartition(topic, 1);
        fill(topic, 2, 10);
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of())) {
            consumer.assign(List.of(p));
            consumer.commitSync(Map.of(p, new OffsetAndMetadata(3, java.util.Optional.of(0), "a note")));
        }
        Map<TopicPartition, OffsetAndMetadata> offsets =
            cluster.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        Checks.same(Map.of(p, new OffsetAndMetadata(3, java.util.Optional.of(0), "a note")), offsets, "offsets");
        try (KafkaConsumer<byte[], byte[]> consumer = member(cluster.name("other-group"), Map.of())) {
            Map<TopicPartition, OffsetAndMetadata> none = consumer.committed(Set.of(p));
            Checks.same(null, none.get(p), "offset of a group that never committed");
        }
    }

    private void autoCommit() throws Exception {
        String topic = cluster.topic("auto-commit", 1);
        String group = cluster.name("auto-commit-group");
        fill(topic, 1, 15);
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of("enable.auto.commit", true))) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 15);
        }
        TopicPartition p = new TopicPartition(topic, 0);
        Checks.same(15L, cluster.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(p)
            .offset(), "committed");
    }

    /** Polls all members in turn until their assignments have the wanted sizes. */
    @SafeVarargs
    private static void settle(int[] sizes, KafkaConsumer<byte[], byte[]>... members) {
        long deadline = System.nanoTime() + Cluster.PATIENCE.toNanos();
        while (System.nanoTime() < deadline) {
            boolean settled = true;
            for (int i = 0; i < members.length; i++) {
                members[i].poll(Duration.ofMillis(20));
                settled &= members[i].assignment().size() == sizes[i];
            }
            if (settled) {
                return;
            }
        }
        StringBuilder got = new StringBuilder();
        for (KafkaConsumer<byte[], byte[]> member : members) {
            got.append(member.assignment()).append(' ');
        }
        throw new AssertionError("assignments did not settle: " + got);
    }

    private void share(String assignor) throws Exception {
        String topic = cluster.topic("share-" + assignor, 4);
        String group = cluster.name("share-group-" + assignor);
        Map<String, Object> config = Map.of("partition.assignment.strategy",
            "org.apache.kafka.clients.consumer." + assignor);
        KafkaConsumer<byte[], byte[]> first = member(group, config);
        KafkaConsumer<byte[], byte[]> second = member(group, config);
        first.subscribe(List.of(topic));
        settle(new int[] {4}, first);
        second.subscribe(List.of(topic));
        settle(new int[] {2, 2}, first, second);
        Set<TopicPartition> all = new HashSet<>(first.assignment());
        all.addAll(second.assignment());
        Checks.same(4, all.size(), "partitions of both");
        fill(topic, 4, 100);
        Set<String> seen = new HashSet<>();
        long deadline = System.nanoTime() + Cluster.PATIENCE.toNanos();
        while (seen.size() < 100 && System.nanoTime() < deadline) {
            for (KafkaConsumer<byte[], byte[]> member : List.of(first, second)) {
                member.poll(Duration.ofMillis(20)).forEach(r -> Checks.that(seen.add(new String(r.value())), "twice"));
            }
        }
        Checks.same(100, seen.size(), "records of both");
        first.commitSync();
        second.commitSync();
        second.close();
        settle(new int[] {4}, first);
        fill(topic, 4, 20);
        Cluster.poll(first, 20);
        first.close();
    }

    private void staticMember() throws Exception {
        String topic = cluster.topic("static", 4);
        String group = cluster.name("static-group");
        AtomicInteger rebalances = new AtomicInteger();
        KafkaConsumer<byte[], byte[]> first = member(group, Map.of("group.instance.id", "one"));
        KafkaConsumer<byte[], byte[]> second = member(group, Map.of("group.instance.id", "two"));
        first.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(java.util.Collection<TopicPartition> partitions) {
                rebalances.incrementAndGet();
            }

            @Override
            public void onPartitionsAssigned(java.util.Collection<TopicPartition> partitions) {}
        });
        settle(new int[] {4}, first);
        second.subscribe(List.of(topic));
        settle(new int[] {2, 2}, first, second);
        Set<TopicPartition> before = second.assignment();
        int seen = rebalances.get();
        second.close();
        KafkaConsumer<byte[], byte[]> back = member(group, Map.of("group.instance.id", "two"));
        back.subscribe(List.of(topic));
        settle(new int[] {2, 2}, first, back);
        Checks.same(before, back.assignment(), "assignment of the member that came back");
        Checks.same(seen, rebalances.get(), "rebalances of the other member");
        back.close();
        first.close();
    }

    private void sessionTimeout() throws Exception {
        String topic = cluster.topic("silent", 2);
        String group = cluster.name("silent-group");
        // max.poll.interval.ms makes the client leave by itself; a static member does not leave, its session ends.
        KafkaConsumer<byte[], byte[]> silent = member(group, Map.of("group.instance.id", "silent"));
        KafkaConsumer<byte[], byte[]> other = member(group, Map.of());
        silent.subscribe(List.of(topic));
        settle(new int[] {2}, silent);
        silent.close();
        long start = System.nanoTime();
        other.subscribe(List.of(topic));
        settle(new int[] {2}, other);
        long ms = (System.nanoTime() - start) / 1_000_000;
        Checks.that(ms > 1500, "the session of the silent member ended early, after " + ms + " ms");
        other.close();
    }

    private void fencedCommit() throws Exception {
        String topic = cluster.topic("fenced", 2);
        String group = cluster.name("fenced-group");
        KafkaConsumer<byte[], byte[]> late = member(group, Map.of("max.poll.interval.ms", 500));
        late.subscribe(List.of(topic));
        settle(new int[] {2}, late);
        Thread.sleep(1200);
        Checks.fails(CommitFailedException.class, "commit after leaving",
            () -> late.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1))));
        late.close();
    }

    private void independent() throws Exception {
        String topic = cluster.topic("independent", 2);
        fill(topic, 2, 30);
        for (String group : List.of("a", "b")) {
            try (KafkaConsumer<byte[], byte[]> consumer = member(cluster.name("independent-" + group), Map.of())) {
                consumer.subscribe(List.of(topic));
                Cluster.poll(consumer, 30);
                consumer.commitSync();
            }
        }
    }

    private void pattern() throws Exception {
        cluster.topic("pattern-" + cluster.run + "-x", 1);
        try (KafkaConsumer<byte[], byte[]> consumer = member(cluster.name("pattern-group"), Map.of())) {
            consumer.subscribe(java.util.regex.Pattern.compile("java-pattern-" + cluster.run + "-.*"));
            settle(new int[] {1}, consumer);
            String later = cluster.topic("pattern-" + cluster.run + "-y", 1);
            fill(later, 1, 5);
            Cluster.poll(consumer, 5);
        }
    }

    private void standalone() throws Exception {
        String topic = cluster.topic("standalone", 1);
        TopicPartition p = new TopicPartition(topic, 0);
        String group = cluster.name("standalone-group");
        fill(topic, 1, 10);
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of("max.poll.records", 6))) {
            consumer.assign(List.of(p));
            Cluster.poll(consumer, 6);
            consumer.commitSync();
        }
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of())) {
            consumer.assign(List.of(p));
            Checks.same(6L, Cluster.poll(consumer, 4).get(0).offset(), "first offset after the commit");
        }
    }
}
