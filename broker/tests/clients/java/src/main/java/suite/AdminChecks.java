package suite;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The admin client: topics, configs, the cluster, and the errors of each. */
final class AdminChecks {
    private final Cluster cluster;
    private final Admin admin;

    AdminChecks(Cluster cluster) {
        this.cluster = cluster;
        this.admin = cluster.admin;
    }

    void run(Checks checks) {
        checks.check("describe cluster", this::describeCluster);
        checks.check("create, list and describe a topic", this::createDescribe);
        checks.check("create answers configs and defaults", this::createAnswers);
        checks.check("validate-only creates nothing", this::validateOnly);
        checks.check("an existing topic is refused", this::existing);
        checks.check("invalid names, counts and factors are refused", this::invalid);
        checks.check("names that collide by . and _ are refused", this::collision);
        checks.check("an unknown topic is unknown", this::unknown);
        checks.check("describe topic configs", this::describeConfigs);
        checks.check("alter and reset a topic config", this::alterConfig);
        checks.check("unknown or wrong configs are refused", this::wrongConfig);
        checks.check("describe broker configs", this::brokerConfigs);
        checks.check("create partitions", this::createPartitions);
        checks.check("delete by name and by id", this::delete);
        checks.check("describe log dirs", this::logDirs);
    }

    private void describeCluster() throws Exception {
        DescribeClusterResult result = admin.describeCluster();
        Checks.that(!result.clusterId().get().isEmpty(), "cluster id");
        Checks.same(Cluster.BROKERS, result.nodes().get().size(), "nodes");
        Checks.that(result.nodes().get().contains(result.controller().get()), "the controller is a node");
    }

    private TopicDescription describe(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private void createDescribe() throws Exception {
        String topic = cluster.topic("created", 5);
        Checks.that(admin.listTopics().names().get().contains(topic), "listed");
        TopicDescription description = describe(topic);
        Checks.same(5, description.partitions().size(), "partitions");
        Checks.that(!description.isInternal(), "internal");
        Checks.that(!description.topicId().equals(Uuid.ZERO_UUID), "topic id");
        description.partitions().forEach(p -> {
            Checks.same(1, p.replicas().size(), "replicas");
            Checks.same(p.replicas(), p.isr(), "isr");
            Checks.same(p.replicas().get(0), p.leader(), "leader");
        });
        Uuid id = description.topicId();
        Map<Uuid, TopicDescription> byId =
            admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get();
        Checks.same(topic, byId.get(id).name(), "name by id");
    }

    private void createAnswers() throws Exception {
        String topic = cluster.name("answers");
        NewTopic defaults = new NewTopic(topic, java.util.Optional.empty(), java.util.Optional.empty())
            .configs(Map.of("retention.ms", "777000"));
        CreateTopicsResult result = admin.createTopics(List.of(defaults));
        Checks.same(1, result.numPartitions(topic).get(), "default partitions");
        Checks.same(1, result.replicationFactor(topic).get(), "default replication factor");
        Checks.same("777000", result.config(topic).get().get("retention.ms").value(), "retention.ms in the answer");
        Checks.same(describe(topic).topicId(), result.topicId(topic).get(), "topic id");
    }

    private void validateOnly() throws Exception {
        String topic = cluster.name("validated");
        admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1)), new CreateTopicsOptions().validateOnly(true))
            .all().get();
        Checks.that(!admin.listTopics().names().get().contains(topic), "must not exist");
    }

    private void existing() throws Exception {
        String topic = cluster.topic("existing", 1);
        Checks.fails(TopicExistsException.class, "second create",
            () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
    }

    private void invalid() {
        for (String bad : List.of("no spaces", "..", "sla/sh", "x".repeat(250))) {
            Checks.fails(InvalidTopicException.class, "name " + bad,
                () -> admin.createTopics(List.of(new NewTopic(bad, 1, (short) 1))).all().get());
        }
        Checks.fails(InvalidPartitionsException.class, "0 partitions",
            () -> admin.createTopics(List.of(new NewTopic(cluster.name("zero"), 0, (short) 1))).all().get());
        Checks.fails(InvalidReplicationFactorException.class, "99 replicas",
            () -> admin.createTopics(List.of(new NewTopic(cluster.name("many"), 1, (short) 99))).all().get());
        Checks.fails(InvalidConfigurationException.class, "unknown config",
            () -> cluster.topic("unknown-config", 1, Map.of("no.such.config", "1")));
        Checks.fails(InvalidConfigurationException.class, "wrong config value",
            () -> cluster.topic("wrong-config", 1, Map.of("retention.ms", "soon")));
    }

    private void collision() throws Exception {
        cluster.topic("dot.ted", 1);
        Checks.fails(InvalidTopicException.class, "dot_ted", () -> cluster.topic("dot_ted", 1));
    }

    private void unknown() {
        String topic = cluster.name("never");
        Checks.fails(UnknownTopicOrPartitionException.class, "describe", () -> describe(topic));
        Checks.fails(UnknownTopicOrPartitionException.class, "delete",
            () -> admin.deleteTopics(List.of(topic)).all().get());
        Checks.fails(UnknownTopicOrPartitionException.class, "configs", () -> config(topic));
    }

    private Config config(String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    private void describeConfigs() throws Exception {
        String topic = cluster.topic("configs", 1, Map.of("retention.ms", "123456"));
        Config config = config(topic);
        ConfigEntry retention = config.get("retention.ms");
        Checks.same("123456", retention.value(), "retention.ms");
        Checks.same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, retention.source(), "source of retention.ms");
        Map<String, String> expected = Map.of("cleanup.policy", "delete", "segment.bytes", "1073741824",
            "max.message.bytes", "1048588", "compression.type", "producer", "retention.bytes", "-1",
            "message.timestamp.type", "CreateTime", "min.insync.replicas", "1");
        expected.forEach((name, value) -> {
            Checks.that(config.get(name) != null, name + " is described");
            Checks.same(value, config.get(name).value(), name);
            Checks.that(config.get(name).source() != ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG,
                name + " is not set on the topic");
        });
    }

    private void alter(String topic, String name, String value, AlterConfigOp.OpType op) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Collection<AlterConfigOp> ops = List.of(new AlterConfigOp(new ConfigEntry(name, value), op));
        admin.incrementalAlterConfigs(Map.of(resource, ops)).all().get();
    }

    private void eventually(String topic, String name, String value) throws Exception {
        for (int i = 0; i < 100 && !value.equals(config(topic).get(name).value()); i++) {
            Thread.sleep(20);
        }
        Checks.same(value, config(topic).get(name).value(), name);
    }

    private void alterConfig() throws Exception {
        String topic = cluster.topic("altered", 1);
        alter(topic, "retention.ms", "60000000", AlterConfigOp.OpType.SET);
        eventually(topic, "retention.ms", "60000000");
        alter(topic, "retention.ms", "", AlterConfigOp.OpType.DELETE);
        eventually(topic, "retention.ms", "604800000");
    }

    private void wrongConfig() throws Exception {
        String topic = cluster.topic("wrong", 1);
        Checks.fails(InvalidConfigurationException.class, "unknown key",
            () -> alter(topic, "no.such.config", "1", AlterConfigOp.OpType.SET));
        Checks.fails(InvalidConfigurationException.class, "wrong value",
            () -> alter(topic, "segment.bytes", "-5", AlterConfigOp.OpType.SET));
    }

    private void brokerConfigs() throws Exception {
        String node = admin.describeCluster().nodes().get().iterator().next().idString();
        ConfigResource resource = new ConfigResource(ConfigResource.Type.BROKER, node);
        Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        Checks.that(config.get("num.partitions") != null, "num.partitions is described");
        Checks.same("true", config.get("auto.create.topics.enable").value(), "auto.create.topics.enable");
    }

    private void createPartitions() throws Exception {
        String topic = cluster.topic("grown", 2);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(6))).all().get();
        for (int i = 0; i < 100 && describe(topic).partitions().size() != 6; i++) {
            Thread.sleep(20);
        }
        Checks.same(6, describe(topic).partitions().size(), "partitions");
        Checks.fails(InvalidPartitionsException.class, "fewer partitions",
            () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get());
        Checks.fails(UnknownTopicOrPartitionException.class, "unknown topic",
            () -> admin.createPartitions(Map.of(cluster.name("none"), NewPartitions.increaseTo(3))).all().get());
    }

    private void delete() throws Exception {
        String byName = cluster.topic("deleted", 1);
        String byId = cluster.topic("deleted-by-id", 1);
        Uuid id = describe(byId).topicId();
        admin.deleteTopics(List.of(byName)).all().get();
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        Set<String> left = Set.of(byName, byId);
        for (int i = 0; i < 100 && admin.listTopics().names().get().stream().anyMatch(left::contains); i++) {
            Thread.sleep(20);
        }
        Set<String> still = admin.listTopics().names().get().stream().filter(left::contains)
            .collect(Collectors.toSet());
        Checks.same(Set.of(), still, "topics left");
    }

    private void logDirs() throws Exception {
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        String topic = cluster.topic("on-disk", 2);
        boolean found = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node).values().stream()
            .flatMap(dir -> dir.replicaInfos().keySet().stream()).anyMatch(p -> p.topic().equals(topic));
        Checks.that(found, "the topic is in a log dir");
    }
}
