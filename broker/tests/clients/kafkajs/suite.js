'use strict'

// KafkaJS against the broker at the first argument or $BOOTSTRAP.

const assert = require('node:assert/strict')
const { ConfigResourceTypes } = require('kafkajs')
const { check, close, fails } = require('./check')
const cluster = require('./cluster')
const {
  admin, brokerCount, bytes, compare, CompressionTypes, eventually, kafka, led, Member, name, pause, readAll, send, shapes,
  topic
} = cluster

// KafkaJS has no LZ4 or zstd of its own.
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy }

async function adminChecks() {
  await check('describe cluster', async () => {
    const description = await admin.describeCluster()
    assert.equal(description.brokers.length, brokerCount)
    assert.ok(description.clusterId)
    assert.ok(description.brokers.some(({ nodeId }) => nodeId === description.controller))
  })
  await check('create, describe, refuse and delete topics', async () => {
    const t = await topic('admin', 3)
    const metadata = await admin.fetchTopicMetadata({ topics: [t] })
    assert.equal(metadata.topics[0].partitions.length, 3)
    assert.ok((await admin.listTopics()).includes(t))
    // createTopics answers false for a topic that exists.
    const again = { topics: [{ topic: t, numPartitions: 3, replicationFactor: 1 }] }
    assert.equal(await admin.createTopics(again), false)
    await fails('INVALID_TOPIC_EXCEPTION', 'invalid name',
      admin.createTopics({ topics: [{ topic: 'no spaces', numPartitions: 1, replicationFactor: 1 }] }))
    await fails('INVALID_REPLICATION_FACTOR', '99 replicas',
      admin.createTopics({ topics: [{ topic: name('factor'), numPartitions: 1, replicationFactor: 99 }] }))
    await admin.deleteTopics({ topics: [t] })
    await eventually('the topic is gone', async () => !(await admin.listTopics()).includes(t))
  })
  await check('create partitions', async () => {
    const t = await topic('grown', 2)
    await admin.createPartitions({ topicPartitions: [{ topic: t, count: 5 }] })
    await led(t, 5)
    await fails('INVALID_PARTITIONS', 'fewer partitions', admin.createPartitions({ topicPartitions: [{ topic: t, count: 3 }] }))
  })
  await check('describe topic configs', async () => {
    const t = await topic('configs', 1, [{ name: 'retention.ms', value: '123456' }])
    const value = async key => {
      const resources = [{ type: ConfigResourceTypes.TOPIC, name: t, configNames: [key] }]
      const answer = await admin.describeConfigs({ resources, includeSynonyms: false })
      return answer.resources[0].configEntries.find(e => e.configName === key).configValue
    }
    assert.equal(await value('retention.ms'), '123456')
    assert.equal(await value('cleanup.policy'), 'delete')
  })
}

async function produceShapes(label, acks, compression, idempotent) {
  const t = await topic(`shapes-${label}`, 3)
  const sent = await send(t, shapes(3), { idempotent, maxInFlightRequests: idempotent ? 1 : null }, { acks, compression })
  sent.push(...(await send(t, shapes(3), { idempotent }, { acks, compression })))
  compare(sent, await readAll(t, sent.length))
}

async function produceChecks() {
  for (const [codec, compression] of Object.entries(CODECS)) {
    for (const acks of [0, 1, -1]) {
      await check(`produce ${codec} acks=${acks}`, () => produceShapes(`${codec}-${acks}`, acks, compression, false))
    }
    await check(`produce ${codec} idempotent`, () => produceShapes(`${codec}-idempotent`, -1, compression, true))
    await check(`produce ${codec} 900 KB records`, async () => {
      const t = await topic(`large-${codec}`, 1)
      const sent = []
      for (let i = 0; i < 3; i++) {
        sent.push(...(await send(t, [{ partition: 0, value: bytes(900000) }], {}, { compression })))
      }
      compare(sent, await readAll(t, sent.length))
      compare(sent, await readAll(t, sent.length, { maxBytesPerPartition: 100, maxBytes: 100 }))
    })
  }
  await check('many small records keep their order', async () => {
    const t = await topic('small', 4)
    const producer = kafka.producer({ allowAutoTopicCreation: false })
    await producer.connect()
    const sent = Array.from({ length: 20000 }, (_, i) => ({ partition: i % 4, value: Buffer.from(String(i)) }))
    for (let i = 0; i < sent.length; i += 400) {
      await producer.send({ topic: t, messages: sent.slice(i, i + 400) })
    }
    await producer.disconnect()
    compare(sent, await readAll(t, sent.length))
  })
  await check('keys go to one partition each', async () => {
    const t = await topic('placement', 7)
    const messages = Array.from({ length: 300 }, (_, i) => ({ key: Buffer.from(`user-${i % 30}`), value: Buffer.from(String(i)) }))
    await send(t, messages)
    const byKey = new Map()
    for (const record of await readAll(t, 300)) {
      const key = record.key.toString()
      assert.equal(byKey.get(key) ?? record.partition, record.partition, key)
      byKey.set(key, record.partition)
    }
  })
  await check('auto-create by produce', async () => {
    const t = name('auto')
    await send(t, [{ value: Buffer.from('first') }], { allowAutoTopicCreation: true })
    assert.equal((await readAll(t, 1))[0].value.toString(), 'first')
  })
  await check('record over max.message.bytes is refused', async () => {
    const t = await topic('oversized', 1)
    await fails('MESSAGE_TOO_LARGE', '2 MB record', send(t, [{ partition: 0, value: bytes(2000000) }]))
    const sent = await send(t, [{ partition: 0, value: Buffer.from('small') }])
    assert.equal(sent[0].offset, '0', 'offset after the refusal')
  })
  await check('an unknown topic stays unknown without auto-create', async () => {
    await fails('UNKNOWN_TOPIC_OR_PARTITION', 'produce',
      send(name('never'), [{ value: Buffer.from('x') }], { retry: { retries: 0 } }))
  })
}

/** Numbers in partition 0, one second apart. */
async function fill(t, count) {
  const start = Math.floor(Date.now() / 1000) * 1000 - 3600000
  const messages = Array.from({ length: count }, (_, i) => ({
    partition: 0, value: Buffer.from(String(i)), timestamp: String(start + i * 1000),
  }))
  const sent = []
  for (let i = 0; i < count; i += 10) sent.push(...(await send(t, messages.slice(i, i + 10))))
  return { sent, start }
}

async function consumeChecks() {
  await check('offsets by timestamp', async () => {
    const t = await topic('time', 1)
    const { start } = await fill(t, 50)
    for (const [at, offset] of [[0, 0], [42000, 42], [42001, 43], [49001, 50]]) {
      const [answer] = await admin.fetchTopicOffsetsByTimestamp(t, start + at)
      assert.equal(answer.offset, String(offset), `offset at ${at} ms`)
    }
    const [offsets] = await admin.fetchTopicOffsets(t)
    assert.deepEqual([offsets.low, offsets.high], ['0', '50'])
  })
  await check('seek to an offset', async () => {
    const t = await topic('seek', 1)
    const { sent } = await fill(t, 30)
    const member = new Member(name('seek-group'))
    await member.start(t)
    await member.wait(30)
    member.records.length = 0
    member.consumer.seek({ topic: t, partition: 0, offset: '21' })
    compare(sent.slice(21), await member.wait(9))
    await member.stop()
  })
  await check('a group without commits starts at the end', async () => {
    const t = await topic('latest', 1)
    await fill(t, 10)
    const member = new Member(name('latest-group'))
    await member.start(t, { fromBeginning: false })
    await eventually('joined', () => member.assigned !== null)
    await pause(500)
    const { sent } = await fill(t, 5)
    compare(sent, await member.wait(5))
    await member.stop()
  })
  await check('delete records moves the beginning', async () => {
    const t = await topic('purged', 1)
    const { sent } = await fill(t, 30)
    await admin.deleteTopicRecords({ topic: t, partitions: [{ partition: 0, offset: '20' }] })
    assert.equal((await admin.fetchTopicOffsets(t))[0].low, '20')
    compare(sent.slice(20), await readAll(t, 10))
  })
  await check('a topic deleted and made again holds only new records', async () => {
    const t = await topic('reborn', 1)
    await fill(t, 20)
    await admin.deleteTopics({ topics: [t] })
    await eventually('made again', () => admin.createTopics({ topics: [{ topic: t, numPartitions: 1, replicationFactor: 1 }] }))
    await led(t, 1)
    const { sent } = await fill(t, 4)
    assert.equal(sent[0].offset, '0')
    compare(sent, await readAll(t, 4))
  })
}

async function groupChecks() {
  await check('commit, and a new member resumes after it', async () => {
    const t = await topic('resume', 1)
    const group = name('resume-group')
    const { sent } = await fill(t, 30)
    const first = new Member(group)
    await first.start(t)
    await first.wait(30)
    await first.consumer.commitOffsets([{ topic: t, partition: 0, offset: '17', metadata: 'a note' }])
    await first.stop()
    const offsets = await admin.fetchOffsets({ groupId: group, topics: [t] })
    assert.equal(offsets[0].partitions[0].offset, '17')
    assert.equal(offsets[0].partitions[0].metadata, 'a note')
    const second = new Member(group)
    await second.start(t)
    compare(sent.slice(17), await second.wait(13))
    await second.stop()
  })
  await check('two members share partitions, one leaves', async () => {
    const t = await topic('share', 4)
    const group = name('share-group')
    const first = new Member(group)
    const second = new Member(group)
    await first.start(t, { autoCommit: true })
    await eventually('first holds 4', () => first.assigned?.length === 4)
    await second.start(t, { autoCommit: true })
    await eventually('each holds 2', () => first.assigned.length === 2 && second.assigned?.length === 2)
    const messages = Array.from({ length: 80 }, (_, i) => ({ partition: i % 4, value: Buffer.from(String(i)) }))
    const sent = await send(t, messages)
    await eventually('80 records', () => first.records.length + second.records.length >= 80)
    assert.ok(first.records.length > 0 && second.records.length > 0, 'both read')
    compare(sent, [...first.records, ...second.records])
    await second.stop()
    await eventually('first holds 4 again', () => first.assigned.length === 4)
    const before = first.records.length
    await send(t, Array.from({ length: 20 }, (_, i) => ({ partition: i % 4, value: Buffer.from(String(i)) })))
    await first.wait(before + 20)
    await first.stop()
  })
}

async function main() {
  await admin.connect()
  await adminChecks()
  await produceChecks()
  await consumeChecks()
  await groupChecks()
  await admin.disconnect()
  close()
}

main()
