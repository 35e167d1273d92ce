// KafkaJS: gzip by itself, snappy and LZ4 by its plug-ins. usage: node clients.js BOOTSTRAP (in a folder with kafkajs, kafkajs-snappy, kafkajs-lz4)
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
try { CompressionCodecs[CompressionTypes.LZ4] = new (require('kafkajs-lz4'))().codec } catch (error) { console.log('no lz4: ' + error.message) }

async function main () {
  const kafka = new Kafka({ clientId: 'kafkajs', brokers: [process.argv[2]], logLevel: logLevel.ERROR })
  const producer = kafka.producer()
  await producer.connect()
  for (const codec of ['None', 'GZIP', 'Snappy', 'LZ4']) {
    const messages = [0, 1, 2, 3, 4].map(i => ({ key: 'key' + i, value: 'value '.repeat(8) + i, headers: { h: 'x' } }))
    await producer.send({ topic: 'golden-kafkajs-' + codec.toLowerCase(), compression: CompressionTypes[codec], acks: -1, messages }).catch(e => console.log(codec, e.message))
  }
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: 'golden-kafkajs' })
  await consumer.connect()
  await consumer.subscribe({ topic: 'golden-kafkajs-snappy', fromBeginning: true })
  let count = 0
  await new Promise(resolve => { setTimeout(resolve, 10000); consumer.run({ eachMessage: async () => { if (++count === 5) setTimeout(resolve, 500) } }) })
  console.log('kafkajs', count)
  await consumer.disconnect()
}
main().then(() => process.exit(0), error => { console.log(error); process.exit(1) })
