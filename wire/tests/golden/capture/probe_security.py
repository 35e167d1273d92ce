"""As probe.py, for logins and transactions. usage: probe_security.py CLIENTS_JAR PORT SASL_PORT

The second port is that of a proxy before a SASL_PLAINTEXT listener that offers PLAIN and SCRAM-SHA-256 and knows alice by the
password "alice-secret".
"""

import sys
import time

from client import Connection
from schema import Schemas

SCHEMAS = Schemas(sys.argv[1])
PORT, SASL_PORT = int(sys.argv[2]), int(sys.argv[3])
TOPIC, WHO = "golden-probe-transactions", "golden-transactions"


def logins():
    for version in (0, 1):
        for mechanism in ("PLAIN", "GSSAPI"):
            print(Connection(SCHEMAS, SASL_PORT).call("SaslHandshake", version, {"mechanism": mechanism}))
    for version in range(3):
        for password in ("alice-secret", "wrong"):
            connection = Connection(SCHEMAS, SASL_PORT)
            connection.call("SaslHandshake", 1, {"mechanism": "PLAIN"})
            print(connection.call("SaslAuthenticate", version, {"authBytes": f"\0alice\0{password}".encode()}))
        connection = Connection(SCHEMAS, SASL_PORT)
        connection.call("SaslHandshake", 1, {"mechanism": "SCRAM-SHA-256"})
        print(connection.call("SaslAuthenticate", version, {"authBytes": b"n,,n=alice,r=abcdefgh"}))


def transactions():
    p = Connection(SCHEMAS, PORT)
    p.call("CreateTopics", 7, {"topics": [{"name": TOPIC, "numPartitions": 2, "replicationFactor": 1}], "timeoutMs": 5000})
    for _ in range(60):
        made = p.call("InitProducerId", 4, {"transactionalId": WHO, "transactionTimeoutMs": 60000, "producerId": -1, "producerEpoch": -1})
        if made["ErrorCode"] == 0:
            break
        p.call("FindCoordinator", 4, {"keyType": 1, "coordinatorKeys": [WHO]})
        time.sleep(0.5)
    on = {"producerId": made["ProducerId"], "producerEpoch": made["ProducerEpoch"]}
    topics = [{"name": TOPIC, "partitions": [0, 1]}]
    for version in range(6):
        for wanted in (topics, [{"name": TOPIC, "partitions": [0, 9]}]):
            if version < 4:
                ask = {"v3AndBelowTransactionalId": WHO, "v3AndBelowProducerId": on["producerId"],
                       "v3AndBelowProducerEpoch": on["producerEpoch"], "v3AndBelowTopics": wanted}
            else:
                ask = {"transactions": [{"transactionalId": WHO, **on, "verifyOnly": False, "topics": wanted},
                                        {"transactionalId": "other", **on, "verifyOnly": True, "topics": wanted}]}
            for _ in range(40):  # the transaction before may still be ending
                answer = p.call("AddPartitionsToTxn", version, ask)
                if "'PartitionErrorCode': 51" not in str(answer):
                    break
                time.sleep(0.1)
            print(version, answer)
        ended = p.call("EndTxn", version, {"transactionalId": WHO, **on, "committed": version % 2 == 0})
        print(version, ended)
        if version >= 5 and ended["ErrorCode"] == 0:
            on = {"producerId": ended["ProducerId"], "producerEpoch": ended["ProducerEpoch"]}
        print(p.call("EndTxn", version, {"transactionalId": WHO, "producerId": 1, "producerEpoch": 7, "committed": True}))


logins()
transactions()
