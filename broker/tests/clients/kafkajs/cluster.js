'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { Kafka, logLevel, CompressionTypes, CompressionCodecs } = require('kafkajs')
const snappy = require('kafkajs-snappy')

const PATIENCE_MS = 20000
const run = Date.now().toString(36)
const broker = process.argv[2] || process.env.BOOTSTRAP || '127.0.0.1:9092'
// How many brokers the cluster has.
const brokerCount = Number(process.env.BROKERS || 1)

CompressionCodecs[CompressionTypes.Snappy] = snappy

const kafka = new Kafka({
  clientId: 'kafkajs-suite',
  brokers: [broker],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 12 },
})
const admin = kafka.admin()

const name = n => `kafkajs-${n}-${run}`
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const bytes = n => crypto.randomBytes(n)

async function eventually(what, holds) {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`)
    await pause(10)
  }
}

/** A new topic, led: with acks=0 a record sent before may be lost. */
async function topic(n, partitions, configEntries = []) {
  const unique = name(n)
  await admin.createTopics({ topics: [{ topic: unique, numPartitions: partitions, replicationFactor: 1, configEntries }] })
  await led(unique, partitions)
  return unique
}

async function led(unique, partitions) {
  await eventually(`${unique} is led`, async () => {
    try {
      return (await admin.fetchTopicOffsets(unique)).length === partitions
    } catch {
      return false
    }
  })
}

/** Keyed and keyless records, null and empty values, headers with values that repeat. */
function shapes(partitions) {
  const start = Date.now() - 3600000
  return Array.from({ length: 24 }, (_, i) => ({
    partition: i % partitions,
    key: i % 3 === 0 ? null : Buffer.from(`key-${i}`),
    value: i % 6 === 4 ? null : i % 6 === 5 ? Buffer.alloc(0) : bytes(10 + i * 40),
    timestamp: String(start + i),
    headers: i % 4 === 0 ? { trace: bytes(16), twice: [Buffer.from([1]), Buffer.from([2])] } : {},
  }))
}

/** Sends and fills in the offset that the broker answered, where it did. */
async function send(topicName, messages, producerConfig = {}, sendConfig = {}) {
  const producer = kafka.producer({ allowAutoTopicCreation: false, ...producerConfig })
  await producer.connect()
  try {
    const answers = await producer.send({ topic: topicName, messages, ...sendConfig })
    const next = new Map((answers || []).map(a => [a.partition, BigInt(a.baseOffset)]))
    for (const message of messages) {
      const offset = next.get(message.partition)
      if (offset === undefined || offset < 0n) continue
      message.offset = offset.toString()
      next.set(message.partition, offset + 1n)
    }
  } finally {
    await producer.disconnect()
  }
  return messages
}

/** A group member that keeps what it received and which partitions it holds. */
class Member {
  constructor(groupId, config = {}) {
    this.consumer = kafka.consumer({
      groupId, maxWaitTimeInMs: 50, sessionTimeout: 6000, heartbeatInterval: 200, rebalanceTimeout: 10000,
      allowAutoTopicCreation: false, ...config,
    })
    this.records = []
    this.assigned = null
    this.joins = 0
    this.crash = null
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.joins++
      this.assigned = Object.values(payload.memberAssignment).flat().sort()
    })
    this.consumer.on(this.consumer.events.CRASH, ({ payload }) => (this.crash = payload.error))
  }

  async start(topicName, { fromBeginning = true, autoCommit = false } = {}) {
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [topicName], fromBeginning })
    await this.consumer.run({
      autoCommit,
      eachMessage: async ({ partition, message }) => {
        this.records.push({ partition, ...message })
      },
    })
  }

  async wait(count) {
    await eventually(`${count} records, ${this.records.length} came`, () => {
      if (this.crash) throw this.crash
      return this.records.length >= count
    })
    assert.equal(this.records.length, count, 'records consumed')
    return this.records
  }

  async stop() {
    await this.consumer.disconnect()
  }
}

async function readAll(topicName, count, config = {}) {
  const member = new Member(`${topicName}-reader-${bytes(4).toString('hex')}`, config)
  await member.start(topicName)
  try {
    return await member.wait(count)
  } finally {
    await member.stop()
  }
}

/** Each record sent is in its partition in order, equal to the last byte, and offsets have no gap. */
function compare(sent, got) {
  assert.equal(got.length, sent.length, 'count')
  const read = new Map()
  for (const record of got) {
    const list = read.get(record.partition) || read.set(record.partition, []).get(record.partition)
    if (list.length > 0) assert.equal(BigInt(record.offset), BigInt(list.at(-1).offset) + 1n, 'next offset')
    list.push(record)
  }
  const next = new Map()
  for (const s of sent) {
    const index = next.get(s.partition) || 0
    next.set(s.partition, index + 1)
    const g = (read.get(s.partition) || [])[index]
    const where = `record ${index} of partition ${s.partition}`
    assert.ok(g, `${where} is missing`)
    if (s.offset !== undefined) assert.equal(g.offset, s.offset, `${where}: offset`)
    assert.deepEqual(g.key, s.key ?? null, `${where}: key`)
    assert.deepEqual(g.value, s.value, `${where}: value`)
    if (s.timestamp !== undefined) assert.equal(g.timestamp, s.timestamp, `${where}: timestamp`)
    assert.deepEqual(g.headers || {}, s.headers || {}, `${where}: headers`)
  }
}

module.exports = {
  admin, brokerCount, bytes, compare, CompressionTypes, eventually, kafka, led, Member, name, pause, readAll, send, shapes,
  topic,
}
