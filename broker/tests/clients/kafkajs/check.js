'use strict'

/** Runs named checks one after another; the first that fails ends the program with its cause. */
let passed = 0

async function check(name, body) {
  const start = Date.now()
  try {
    await body()
  } catch (cause) {
    console.log(`FAIL ${name}`)
    console.log(cause)
    console.log(`${passed} passed, 1 failed`)
    process.exit(1)
  }
  passed++
  console.log(`ok   ${name} (${Date.now() - start} ms)`)
}

function close() {
  console.log(`${passed} passed, 0 failed`)
}

/** The promise must fail with this error type of the protocol. */
async function fails(type, what, promise) {
  try {
    await promise
  } catch (error) {
    const types = [error, error.cause, ...(error.errors || [])].filter(Boolean).map(e => e.type)
    if (!types.includes(type)) throw new Error(`${what}: expected ${type}, got ${types} ${error.message}`)
    return
  }
  throw new Error(`${what}: expected ${type}, got success`)
}

module.exports = { check, close, fails }
