#!/bin/bash
# Drives real clients through the proxy. usage: clients.sh BOOTSTRAP JAVA_CLASSPATH PYTHON NODE_MODULES GO_BINARY
# PYTHON has kafka-python and confluent-kafka; NODE_MODULES has kafkajs, kafkajs-snappy and kafkajs-lz4; GO_BINARY is clients.go, built.
set -u
cd "$(dirname "$0")" || exit 1
B=$1 CP=$2 PY=$3 JS=$4 GO=$5
java_tool() { java -Xmx128m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$CP" "$@" 2>&1 | tail -5; }
lines() { for i in $(seq 1 "$1"); do echo "key$i:value number $i of this topic, value number $i of this topic"; done; }

for codec in none gzip snappy lz4 zstd; do
  lines 5 | timeout 20 kcat -b "$B" -P -t "golden-kcat-$codec" -z "$codec" -K: -H "a=b" -X client.id=kcat
done
timeout 20 kcat -b "$B" -C -t golden-kcat-lz4 -o beginning -e -q -X client.id=kcat | head -1
timeout 20 kcat -b "$B" -X client.id=kcat -X auto.offset.reset=earliest -G golden-kcat-group -c 5 golden-kcat-zstd | head -1
timeout 20 kcat -b "$B" -Q -t golden-kcat-lz4:0:-1 -t golden-kcat-gzip:0:-2 -X client.id=kcat

"$PY" clients.py "$B"
NODE_PATH=$JS node clients.js "$B" 2>/dev/null
"$GO" "$B"

java_tool Clients.java "$B"
java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" --create --topic golden-java-admin --partitions 2 --config retention.ms=3600000
java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" --describe --topic golden-java-admin
java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" --alter --topic golden-java-admin --partitions 3
java_tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$B" --topic golden-java-lz4 --time -3
java_tool org.apache.kafka.tools.LogDirsCommand --bootstrap-server "$B" --describe --topic-list golden-java-lz4
DELETE=$(mktemp)
echo '{"partitions":[{"topic":"golden-java-gzip","partition":0,"offset":1}],"version":1}' >"$DELETE"
java_tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$B" --offset-json-file "$DELETE"
java_tool org.apache.kafka.tools.ClusterTool list-endpoints --bootstrap-server "$B"
java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" --delete --topic golden-java-admin
