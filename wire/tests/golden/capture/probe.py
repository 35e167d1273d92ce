"""Sends every API that Corelane speaks at every version of a live broker, through the proxy. usage: probe.py CLIENTS_JAR PORT

The requests are made from the schemas in the jar; values are chosen so that the answers hold something, errors among them.
"""

import sys
import time

from client import Connection, batch, record
from schema import Schemas

SCHEMAS = Schemas(sys.argv[1])
PORT = int(sys.argv[2])
TOPIC = "golden-probe"
# ConsumerProtocolSubscription v0 of one topic: the broker reads it, and never answers one that it cannot read.
SUBSCRIPTION = b"\0\0\0\0\0\1\0\x0c" + TOPIC.encode() + b"\xff\xff\xff\xff"


def has(kind, name, version, path):
    """Whether a field, by its path of names, exists in this version."""
    message = (SCHEMAS.requests if kind == "request" else SCHEMAS.responses)[SCHEMAS.key(name)]
    from schema import versions

    fields = message.fields
    for part in path.split("."):
        field = next((f for f in fields if f["name"].lower() == part.lower()), None)
        if field is None or version not in versions(field["versions"]):
            return False
        fields = field.get("fields") or message.structs.get(field["type"].removeprefix("[]"), [])
    return True


class Probe:
    def __init__(self):
        self.connection = Connection(SCHEMAS, PORT)

    def __call__(self, name, version, value):
        """Sends what of `value` the version has; tops only, inner dicts are the caller's business."""
        kept = {k: v for k, v in value.items() if has("request", name, version, k)}
        answer = self.connection.call(name, version, kept)
        if answer is None or answer == "timeout":
            print(f"{name} v{version}: {answer}")
            self.connection = Connection(SCHEMAS, PORT)
        return answer

    def every(self, name, value, inner=None, lowest=None):
        """The answers of all versions; `inner(version)` gives fields that depend on it."""
        valid = SCHEMAS.requests[SCHEMAS.key(name)].valid
        last = valid[-1] - (1 if SCHEMAS.requests[SCHEMAS.key(name)].unstable else 0)
        for version in range(valid[0] if lowest is None else lowest, last + 1):
            self(name, version, {**value, **(inner(version) if inner else {})})


def ready(p):
    """Creates the topic of the other probes and waits until it is led; its id."""
    for _ in range(60):
        p("CreateTopics", 7, {"topics": [{"name": TOPIC, "numPartitions": 1, "replicationFactor": 1}], "timeoutMs": 5000})
        topic = p("Metadata", 12, {"topics": [{"name": TOPIC}], "allowAutoTopicCreation": False})["Topics"][0]
        if topic["ErrorCode"] == 0 and topic["Partitions"][0]["LeaderId"] == 1:
            time.sleep(0.5)
            return topic["TopicId"]
        time.sleep(0.5)
    raise SystemExit("no topic")


def main():
    p = Probe()
    p.every("ApiVersions", {"clientSoftwareName": "golden", "clientSoftwareVersion": "1.0"})
    p.every("CreateTopics", {"timeoutMs": 5000}, lambda v: {"topics": [
        {"name": f"{TOPIC}-{v}", "numPartitions": 2, "replicationFactor": 1, "configs": [{"name": "retention.ms", "value": "3600000"}]},
        {"name": f"{TOPIC}-a{v}", "numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": [1]}]},
        {"name": "bad name", "numPartitions": 1, "replicationFactor": 1}]})
    topic_id = ready(p)

    p.every("Metadata", {"includeTopicAuthorizedOperations": True, "includeClusterAuthorizedOperations": True},
            lambda v: {"topics": [{"name": TOPIC}, {"name": "no-such-topic" if v >= 4 else "bad name"}], "allowAutoTopicCreation": False})  # below v4 it would be created
    p("Metadata", 12, {"topics": None})
    p("Metadata", 1, {"topics": []})
    p("Metadata", 0, {"topics": []})

    def topic(version, name_field, since_id, **rest):
        return {"topicId": topic_id, **rest} if version >= since_id else {name_field: TOPIC, **rest}

    p.every("Produce", {"acks": -1, "timeoutMs": 3000}, lambda v: {"topicData": [topic(v, "name", 13, partitionData=[
        {"index": 0, "records": batch([record(0, b"k"), record(1, None, b"v", 5, [(b"h", b"x"), (b"n", None)])])}])]}, lowest=3)
    for version in (3, 8, 9, 13):
        p("Produce", version, {"acks": 1, "timeoutMs": 3000, "topicData": [topic(version, "name", 13, partitionData=[
            {"index": 0, "records": batch([record(0), record(1, timestamp_delta=7_200_000)])}, {"index": 9, "records": batch()}])]})

    def fetch_topics(version, offset):
        partition = {"partition": 0, "fetchOffset": offset, "partitionMaxBytes": 1 << 20}
        if version >= 9:
            partition["currentLeaderEpoch"] = 0
        if version >= 12:
            partition["lastFetchedEpoch"] = 0
        return {"topics": [topic(version, "topic", 13, partitions=[partition])]}

    p.every("Fetch", {"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1 << 20, "rackId": "r1"}, lambda v: {"isolationLevel": v % 2, **fetch_topics(v, 0)})
    for version in (4, 12, 16):
        p("Fetch", version, {"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1 << 20, **fetch_topics(version, 999)})
    session = p("Fetch", 11, {"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1 << 20, "sessionId": 0, "sessionEpoch": 0, **fetch_topics(11, 0)})["SessionId"]
    p("Fetch", 11, {"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1 << 20, "sessionId": session, "sessionEpoch": 1, "topics": [],
                    "forgottenTopicsData": [{"topic": TOPIC, "partitions": [0]}]})
    p("Fetch", 16, {"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1 << 20, "sessionId": 77, "sessionEpoch": 5, "topics": [],
                    "forgottenTopicsData": [{"topicId": topic_id, "partitions": [0, 1]}]})

    for timestamp in (-1, -2, -3, 5):
        p.every("ListOffsets", {"replicaId": -1, "isolationLevel": 1}, lambda v: {"timeoutMs": 1000, "topics": [
            {"name": TOPIC, "partitions": [{"partitionIndex": 0, "timestamp": timestamp} | ({"currentLeaderEpoch": 0} if v >= 4 else {})]}]})
    p.every("InitProducerId", {"transactionalId": None, "transactionTimeoutMs": 60000})
    for _ in range(20):
        if p("InitProducerId", 4, {"transactionalId": None, "transactionTimeoutMs": 60000})["ErrorCode"] == 0:
            break
        time.sleep(0.3)
    p.every("InitProducerId", {"transactionalId": None, "transactionTimeoutMs": 60000})
    p.every("OffsetForLeaderEpoch", {"replicaId": -1}, lambda v: {"topics": [
        {"topic": TOPIC, "partitions": [{"partition": 0, "leaderEpoch": 0, "currentLeaderEpoch": -1}, {"partition": 9, "leaderEpoch": 0}]}]})
    p.every("DeleteRecords", {"timeoutMs": 1000, "topics": [{"name": TOPIC, "partitions": [{"partitionIndex": 0, "offset": 1}, {"partitionIndex": 9, "offset": 1}]}]})
    keys = ["retention.ms", "cleanup.policy", "min.insync.replicas"]
    p.every("DescribeConfigs", {"includeSynonyms": True}, lambda v: {"includeDocumentation": True, "resources": [
        {"resourceType": 2, "resourceName": f"{TOPIC}-2", "configurationKeys": keys}, {"resourceType": 2, "resourceName": "no-such-topic", "configurationKeys": None}]})
    p("DescribeConfigs", 4, {"resources": [{"resourceType": 2, "resourceName": TOPIC, "configurationKeys": None}]})
    p.every("IncrementalAlterConfigs", {"validateOnly": False, "resources": [
        {"resourceType": 2, "resourceName": TOPIC, "configs": [{"name": "retention.ms", "configOperation": 0, "value": "1000000"}, {"name": "segment.ms", "configOperation": 1, "value": None}]},
        {"resourceType": 2, "resourceName": f"{TOPIC}-3", "configs": [{"name": "nope", "configOperation": 0, "value": "1"}]}]})
    p.every("CreatePartitions", {"timeoutMs": 5000, "validateOnly": False}, lambda v: {"topics": [
        {"name": f"{TOPIC}-2", "count": 3 + v, "assignments": None if v % 2 else [{"brokerIds": [1]}]}, {"name": "no-such-topic", "count": 2, "assignments": None}]})
    p.every("DescribeCluster", {"includeClusterAuthorizedOperations": True, "endpointType": 1, "includeFencedBrokers": True})
    p.every("DescribeCluster", {"endpointType": 2}, lowest=1)
    p.every("DescribeTopicPartitions", {"topics": [{"name": f"{TOPIC}-2"}, {"name": "no-such-topic"}], "responsePartitionLimit": 1})
    p.every("DescribeTopicPartitions", {"topics": [{"name": f"{TOPIC}-2"}], "responsePartitionLimit": 1, "cursor": {"topicName": f"{TOPIC}-2", "partitionIndex": 1}})
    p.every("DescribeLogDirs", {"topics": [{"topic": TOPIC, "partitions": [0]}]})
    groups(p, topic_id)
    p.every("DeleteTopics", {"timeoutMs": 5000}, lambda v: {"topics": [{"name": f"{TOPIC}-{v}"}, {"name": None, "topicId": "11" * 16}]}
            if v >= 6 else {"topicNames": [f"{TOPIC}-{v + 1}", "no-such-topic"]})


def groups(p, topic_id):
    group = "golden-probe-group"
    for _ in range(30):
        if p("FindCoordinator", 4, {"keyType": 0, "coordinatorKeys": [group]})["Coordinators"][0]["ErrorCode"] == 0:
            break
        time.sleep(0.3)
    p.every("FindCoordinator", {"keyType": 0}, lambda v: {"coordinatorKeys": [group, "other"]} if v >= 4 else {"key": group})
    time.sleep(1)
    for version in range(10):
        name = f"{group}-{version}"
        ask = {"groupId": name, "sessionTimeoutMs": 10000, "rebalanceTimeoutMs": 10000, "memberId": "", "protocolType": "consumer", "reason": "golden",
               "protocols": [{"name": "range", "metadata": SUBSCRIPTION}, {"name": "roundrobin", "metadata": b""}]}
        joined = p("JoinGroup", version, ask)
        if joined["ErrorCode"] == 79:
            joined = p("JoinGroup", version, {**ask, "memberId": joined["MemberId"]})
        member, generation = joined["MemberId"], joined["GenerationId"]
        on = {"groupId": name, "generationId": generation, "memberId": member}
        p("SyncGroup", min(version, 5), {**on, "protocolType": "consumer", "protocolName": "range", "assignments": [{"memberId": member, "assignment": b"asg"}]})
        p("Heartbeat", min(version, 4), on)
        partition = {"partitionIndex": 0, "committedOffset": 2, "committedMetadata": "m"}
        if version >= 6:
            partition["committedLeaderEpoch"] = 0
        p("OffsetCommit", max(version, 2), {"groupId": name, "generationIdOrMemberEpoch": generation, "memberId": member, "retentionTimeMs": -1,
                                            "topics": [{"name": TOPIC, "partitions": [partition]}]})
        if version == 9:
            partition = {"partitionIndex": 0, "committedOffset": 2, "committedLeaderEpoch": 0, "committedMetadata": None}
            p("OffsetCommit", 10, {"groupId": name, "generationIdOrMemberEpoch": generation, "memberId": member,
                                   "topics": [{"topicId": topic_id, "partitions": [partition]}]})
        if version <= 5:
            p("LeaveGroup", version, {"groupId": name, "memberId": member} if version <= 2 else {"groupId": name, "members": [
                {"memberId": member} | ({"reason": "done"} if version >= 5 else {}), {"memberId": "x", "groupInstanceId": "static"}]})
    name = f"{group}-9"
    p.every("OffsetFetch", {"requireStable": True}, lambda v: {"groupId": name, "topics": [{"name": TOPIC, "partitionIndexes": [0, 1]}]} if v < 8 else
            {"groups": [{"groupId": name, "topics": [{"topicId": topic_id, "partitionIndexes": [0]}] if v >= 10 else [{"name": TOPIC, "partitionIndexes": [0, 1]}]},
                        {"groupId": "other", "topics": None}]})
    p("OffsetFetch", 7, {"groupId": name, "topics": None})
    static = {"groupId": f"{group}-static", "sessionTimeoutMs": 10000, "rebalanceTimeoutMs": 10000, "groupInstanceId": "i1", "protocolType": "consumer",
              "protocols": [{"name": "range", "metadata": SUBSCRIPTION}]}
    for version in (5, 9):
        joined = p("JoinGroup", version, static)
        on = {"groupId": static["groupId"], "generationId": joined["GenerationId"], "memberId": joined["MemberId"], "groupInstanceId": "i1"}
        p("SyncGroup", 3, {**on, "assignments": [{"memberId": joined["MemberId"], "assignment": b""}]})
        p("Heartbeat", 3, on)
        p("Heartbeat", 4, {**on, "memberId": "another"})
    p("LeaveGroup", 5, {"groupId": static["groupId"], "members": [{"memberId": "", "groupInstanceId": "i1", "reason": None}]})
    p.every("DescribeGroups", {"groups": [name, "no-such-group"], "includeAuthorizedOperations": True})
    p.every("ListGroups", {"statesFilter": ["Stable"], "typesFilter": ["classic"]})
    p.every("DeleteGroups", {"groupsNames": [f"{group}-0", "no-such-group"]})
    p.every("AlterConfigs", {"validateOnly": False, "resources": [
        {"resourceType": 2, "resourceName": TOPIC, "configs": [{"name": "retention.ms", "value": "1000000"}]}, {"resourceType": 2, "resourceName": "no-such-topic", "configs": []}]})
    # Errors that have their own shapes.
    p("JoinGroup", 9, {"groupId": "", "protocolType": "consumer"})
    p("SyncGroup", 5, {"groupId": "other", "generationId": 1, "memberId": "x"})


main()
