#!/usr/bin/env bash
# Apache Kafka's own command line tools against the broker at the first argument or $BOOTSTRAP.
set -euo pipefail
cd "$(dirname "$0")"
source ../checks.sh

T=tools-$RUN

# tool CLASS ARGS...: a JVM that lives for a second needs no second compiler.
tool() {
    timeout 40 java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp 'target/lib/*' "$@"
}

topics() { tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
offsets() { tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$BOOTSTRAP" "$@"; }
groups() { tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$BOOTSTRAP" "$@"; }

api_versions() {
    tool org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$BOOTSTRAP" >"$WORK/versions"
    contains "Produce(0): 0 to 1" "$WORK/versions"
    contains "Fetch(1): 4 to 1" "$WORK/versions"
    contains "JoinGroup(11): " "$WORK/versions"
    contains "DescribeTopicPartitions(75): 0" "$WORK/versions"
}

create_describe() {
    topics --create --topic "$T" --partitions 3 --config retention.ms=3600000
    topics --list >"$WORK/list"
    contains "$T" "$WORK/list"
    topics --describe --topic "$T" >"$WORK/describe"
    contains "PartitionCount: 3" "$WORK/describe"
    contains "ReplicationFactor: 1" "$WORK/describe"
    contains "retention.ms=3600000" "$WORK/describe"
    contains "Partition: 2" "$WORK/describe"
    ! topics --create --topic "$T" >"$WORK/again" 2>&1 || return 1
    contains "already exists" "$WORK/again"
    topics --create --topic "$T" --if-not-exists
}

alter_partitions() {
    topics --alter --topic "$T" --partitions 5
    topics --describe --topic "$T" >"$WORK/describe"
    contains "PartitionCount: 5" "$WORK/describe"
}

alter_configs() {
    configs --alter --entity-type topics --entity-name "$T" --add-config max.message.bytes=2000000
    configs --describe --entity-type topics --entity-name "$T" >"$WORK/configs"
    contains "max.message.bytes=2000000" "$WORK/configs"
    contains "retention.ms=3600000" "$WORK/configs"
    configs --alter --entity-type topics --entity-name "$T" --delete-config max.message.bytes
    configs --describe --all --entity-type topics --entity-name "$T" >"$WORK/configs"
    contains "max.message.bytes=1048588" "$WORK/configs"
}

console() {
    seq -f "key-%g:value" 1 300 >"$WORK/console.in"
    tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$BOOTSTRAP" --topic "$T" \
        --reader-property parse.key=true --reader-property key.separator=: --compression-codec zstd <"$WORK/console.in"
    tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$BOOTSTRAP" --topic "$T" --from-beginning \
        --group "$T-group" --max-messages 300 --timeout-ms 20000 \
        --formatter-property print.key=true --formatter-property key.separator=: >"$WORK/console.out"
    sort "$WORK/console.in" | same - <(sort "$WORK/console.out")
}

end_offsets() {
    offsets --topic "$T" >"$WORK/offsets"
    [ "$(wc -l <"$WORK/offsets")" -eq 5 ]
    [ "$(awk -F: '{ sum += $3 } END { print sum }' "$WORK/offsets")" -eq 300 ]
    offsets --topic "$T" --time earliest >"$WORK/offsets"
    [ "$(awk -F: '{ sum += $3 } END { print sum }' "$WORK/offsets")" -eq 0 ]
    offsets --topic "$T" --time max-timestamp >"$WORK/offsets"
}

consumer_groups() {
    groups --list >"$WORK/groups"
    contains "$T-group" "$WORK/groups"
    groups --describe --group "$T-group" >"$WORK/group"
    [ "$(awk -v t="$T" '$2 == t { lag += $6 } END { print lag }' "$WORK/group")" -eq 0 ]
}

delete_records() {
    printf '{"partitions":[{"topic":"%s","partition":0,"offset":5}],"version":1}' "$T" >"$WORK/delete.json"
    tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$BOOTSTRAP" \
        --offset-json-file "$WORK/delete.json" >"$WORK/deleted"
    contains "low_watermark: 5" "$WORK/deleted"
    offsets --topic-partitions "$T:0" --time earliest | same <(echo "$T:0:5") -
}

log_dirs() {
    tool org.apache.kafka.tools.LogDirsCommand --bootstrap-server "$BOOTSTRAP" --describe --topic-list "$T" >"$WORK/dirs"
    contains "\"partition\":\"$T-4\"" "$WORK/dirs"
}

verifiable_producer() {
    tool org.apache.kafka.tools.VerifiableProducer --bootstrap-server "$BOOTSTRAP" --topic "$T" --max-messages 5000 \
        --acks -1 >"$WORK/verifiable"
    contains '"sent":5000,"acked":5000' "$WORK/verifiable"
}

verifiable_consumer() {
    tool org.apache.kafka.tools.VerifiableConsumer --bootstrap-server "$BOOTSTRAP" --topic "$T" --group-id "$T-verifiable" \
        --reset-policy earliest --max-messages 5000 >"$WORK/verifiable"
    contains '"name":"shutdown_complete"' "$WORK/verifiable"
    contains '"success":true' "$WORK/verifiable"
}

delete_topic() {
    topics --delete --topic "$T"
    gone() { ! topics --list | grep -qF "$T"; }
    eventually gone
}

check "BrokerApiVersionsCommand" api_versions
check "TopicCommand creates, lists, describes and refuses" create_describe
check "TopicCommand adds partitions" alter_partitions
check "ConfigCommand sets, describes and resets" alter_configs
check "ConsoleProducer and ConsoleConsumer with a group" console
check "GetOffsetShell" end_offsets
check "ConsumerGroupCommand lists and describes" consumer_groups
check "DeleteRecordsCommand" delete_records
check "LogDirsCommand" log_dirs
check "VerifiableProducer" verifiable_producer
check "VerifiableConsumer" verifiable_consumer
check "TopicCommand deletes" delete_topic
echo "$passed passed, 0 failed"
