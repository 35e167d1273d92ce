package main

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func adminChecks() {
	check("broker metadata and api versions", brokerMetadata)
	check("create, describe, refuse and delete topics", topics)
	check("create partitions", createPartitions)
	check("describe, alter and reset topic configs", configs)
	check("describe log dirs", logDirs)
}

func fails(expected *kerr.Error, got error, what string) {
	that(errors.Is(got, expected), "%s: expected %s, got %v", what, expected.Message, got)
}

func brokerMetadata() {
	metadata, err := admin.BrokerMetadata(within(patience))
	must(err, "metadata")
	same(brokerCount, len(metadata.Brokers), "brokers")
	that(metadata.Cluster != "", "cluster id")
	that(slices.Contains(metadata.Brokers.NodeIDs(), metadata.Controller), "controller")
	versions, err := admin.ApiVersions(within(patience))
	must(err, "api versions")
	for _, v := range versions {
		must(v.Err, "api versions")
		_, produceMax, ok := v.KeyVersions(0)
		that(ok && produceMax >= 12, "Produce up to %d", produceMax)
	}
}

func topics() {
	t := topic("admin", 3)
	details, err := admin.ListTopics(within(patience), t)
	must(err, "list topics")
	same(3, len(details[t].Partitions), "partitions")
	that(details[t].ID != kadm.TopicID{}, "topic id")
	_, err = admin.CreateTopic(within(patience), 1, 1, nil, t)
	fails(kerr.TopicAlreadyExists, err, "existing topic")
	_, err = admin.CreateTopic(within(patience), 1, 1, nil, "no spaces")
	fails(kerr.InvalidTopicException, err, "invalid name")
	_, err = admin.CreateTopic(within(patience), 1, 99, nil, name("factor"))
	fails(kerr.InvalidReplicationFactor, err, "99 replicas")
	_, err = admin.CreateTopic(within(patience), 0, 1, nil, name("zero"))
	fails(kerr.InvalidPartitions, err, "0 partitions")
	_, err = admin.DeleteTopic(within(patience), t)
	must(err, "delete")
	_, err = admin.DeleteTopic(within(patience), name("never"))
	fails(kerr.UnknownTopicOrPartition, err, "delete unknown")
	details, err = admin.ListTopics(within(patience), name("never"))
	must(err, "list unknown")
	fails(kerr.UnknownTopicOrPartition, details[name("never")].Err, "unknown topic")
}

func createPartitions() {
	t := topic("grown", 2)
	responses, err := admin.UpdatePartitions(within(patience), 5, t)
	must(err, "create partitions")
	must(responses[t].Err, "create partitions")
	led(t, 5)
	responses, err = admin.UpdatePartitions(within(patience), 3, t)
	must(err, "create partitions")
	fails(kerr.InvalidPartitions, responses[t].Err, "fewer partitions")
}

func config(t, key string) string {
	configs, err := admin.DescribeTopicConfigs(within(patience), t)
	must(err, "describe configs")
	resource, err := configs.On(t, nil)
	must(err, "describe configs")
	must(resource.Err, "describe configs")
	for _, c := range resource.Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	that(false, "%s is not described", key)
	return ""
}

func alter(t string, op kadm.IncrementalOp, key, value string) error {
	responses, err := admin.AlterTopicConfigs(within(patience), []kadm.AlterConfig{{Op: op, Name: key, Value: &value}}, t)
	must(err, "alter configs")
	return responses[0].Err
}

func eventually(t, key, value string) {
	for deadline := time.Now().Add(patience); config(t, key) != value; time.Sleep(10 * time.Millisecond) {
		that(time.Now().Before(deadline), "%s: expected %s, got %s", key, value, config(t, key))
	}
}

func configs() {
	retention := "123456"
	t := topicWith("configs", 1, map[string]*string{"retention.ms": &retention})
	same("123456", config(t, "retention.ms"), "retention.ms")
	same("delete", config(t, "cleanup.policy"), "cleanup.policy")
	must(alter(t, kadm.SetConfig, "retention.ms", "7200000"), "set")
	eventually(t, "retention.ms", "7200000")
	must(alter(t, kadm.DeleteConfig, "retention.ms", ""), "reset")
	eventually(t, "retention.ms", "604800000")
	fails(kerr.InvalidConfig, alter(t, kadm.SetConfig, "no.such.config", "1"), "unknown config")
	fails(kerr.InvalidConfig, alter(t, kadm.SetConfig, "retention.ms", "soon"), "wrong value")
}

func logDirs() {
	t := topic("dirs", 2)
	dirs, err := admin.DescribeAllLogDirs(within(patience), nil)
	must(err, "log dirs")
	found := 0
	dirs.Each(func(d kadm.DescribedLogDir) {
		found += len(d.Topics[t])
	})
	same(2, found, "partitions in log dirs")
}
