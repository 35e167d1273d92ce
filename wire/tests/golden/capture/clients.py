"""kafka-python and confluent-kafka (librdkafka): every codec out, a group in, some administration. usage: clients.py BOOTSTRAP"""

import sys

BOOTSTRAP = sys.argv[1]
CODECS = ["gzip", "snappy", "lz4", "zstd"]


def value(index):
    return (f"value {index} " * 5).encode()


def kafka_python():
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    for codec in [None, *CODECS]:
        topic = f"golden-kafka-python-{codec or 'none'}"
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, client_id="kafka-python", compression_type=codec, linger_ms=50, acks="all")
        for index in range(5):
            producer.send(topic, value(index), key=b"k%d" % index, headers=[("h", b"x")])
        producer.flush(10)
        producer.close()
    consumer = KafkaConsumer("golden-kafka-python-lz4", bootstrap_servers=BOOTSTRAP, client_id="kafka-python", group_id="golden-kafka-python",
                             auto_offset_reset="earliest", consumer_timeout_ms=5000)
    print("kafka-python", sum(1 for _ in zip(range(5), consumer)))
    partition = TopicPartition("golden-kafka-python-lz4", 0)
    print(consumer.beginning_offsets([partition]), consumer.end_offsets([partition]), consumer.offsets_for_times({partition: 1}))
    consumer.commit()
    consumer.close()


def confluent():
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

    conf = {"bootstrap.servers": BOOTSTRAP, "client.id": "librdkafka"}
    for codec in ["none", *CODECS]:
        producer = Producer({**conf, "compression.codec": codec, "enable.idempotence": True, "linger.ms": 50})
        for index in range(5):
            producer.produce(f"golden-librdkafka-{codec}", value(index), b"k", headers=[("h", b"x"), ("n", None)])
        producer.flush(10)
    consumer = Consumer({**conf, "group.id": "golden-librdkafka", "auto.offset.reset": "earliest"})
    consumer.subscribe(["golden-librdkafka-snappy"])
    print("librdkafka", len(consumer.consume(5, 10)))
    consumer.commit(asynchronous=False)
    print(consumer.committed([TopicPartition("golden-librdkafka-snappy", 0)], 5))
    consumer.close()
    admin = AdminClient(conf)
    for future in admin.create_topics([NewTopic("golden-librdkafka-admin", 1, 1)]).values():
        future.result()
    for future in admin.create_partitions([NewPartitions("golden-librdkafka-admin", 2)]).values():
        future.result()
    for future in admin.describe_configs([ConfigResource(ResourceType.TOPIC, "golden-librdkafka-admin")]).values():
        print(len(future.result()))
    admin.describe_cluster().result()
    for future in admin.delete_topics(["golden-librdkafka-admin"]).values():
        future.result()


def transactions():
    """One committed, one aborted; read with both isolation levels."""
    from confluent_kafka import Consumer, Producer

    conf = {"bootstrap.servers": BOOTSTRAP, "client.id": "librdkafka-txn"}
    producer = Producer({**conf, "transactional.id": "golden-transaction"})
    producer.init_transactions(20)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for index in range(2):
            producer.produce("golden-transactions", value(index), b"k")
        producer.flush(10)
        end(20)
    for level in ("read_uncommitted", "read_committed"):
        consumer = Consumer({**conf, "group.id": "golden-" + level, "auto.offset.reset": "earliest", "isolation.level": level, "enable.auto.commit": False})
        consumer.subscribe(["golden-transactions"])
        print(level, len(consumer.consume(4, 5)))
        consumer.close()


kafka_python()
confluent()
transactions()
