// Drive utp-native (libutp) from the command line: listen or connect, send a seeded stream, digest what arrives.
//
//   node utp_native.cjs listen  [options]      accept any number of connections
//   node utp_native.cjs connect [options]      open --count connections to --host and --port
//
// Each event is one line of JSON on standard output; `id` numbers the connections of this process from 0. The
// process lives until its standard input ends, so that libutp goes on answering late packets, and never outlives
// the test that started it.
'use strict'

const crypto = require('crypto')
const path = require('path')
const { createRequire } = require('module')
const { parseArgs } = require('util')

const utp = createRequire(path.resolve(__dirname, '../../../.peers/package.json'))('utp-native')

const { positionals: [role], values: options } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    count: { type: 'string', default: '1' }, // connections to open
    buffer: { type: 'string', default: String(4 << 20) }, // SO_RCVBUF and SO_SNDBUF, bytes; 0 leaves the default
    send: { type: 'string', default: '0' }, // bytes to send on each connection
    seed: { type: 'string', default: '' }, // of the stream that is sent
    start: { type: 'string', default: 'connect' }, // when to send: connect, or end (once the other side has ended)
    first: { type: 'string', default: '0' }, // bytes of the stream to send at once, whatever --start says
    finish: { type: 'string', default: 'sent' }, // when to end our side: sent, end (once the other side has too), never
    echo: { type: 'boolean', default: false }, // send back what arrives, in place of a stream of our own
    progress: { type: 'string', default: '0' }, // milliseconds between reports of what has come; 0 for none
    plain: { type: 'boolean', default: false }, // zeros and no digest: what is timed is the transport
    cycle: { type: 'string', default: '0' }, // so many bytes of the stream, made beforehand, over and over; 0: all of it
    keep: { type: 'string', default: '0' } // keep so many bytes, and digest them once what is timed is over
  }
})
const CHUNK = 1 << 16
// What node itself needs to start, and to make what is sent, is not counted.
let started = process.cpuUsage()

function cpuSeconds () {
  const { user, system } = process.cpuUsage(started)
  return (user + system) / 1e6
}

function report (event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

// AES-128 in counter mode over zeros, keyed by the seed: any length, the same in every language.
function seededStream (seed) {
  const key = crypto.createHash('sha256').update(seed).digest().subarray(0, 16)
  const cipher = crypto.createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(CHUNK)
  return (size) => cipher.update(zeros.subarray(0, size))
}

function plainStream () {
  const zeros = Buffer.alloc(CHUNK)
  return (size) => zeros.subarray(0, size)
}

const cycle = []
const cycled = seededStream(options.seed)
for (let made = 0; made < Number(options.cycle); made += CHUNK) cycle.push(cycled(CHUNK))

function cycledStream () {
  let turn = 0
  return (size) => cycle[turn++ % cycle.length].subarray(0, size)
}

function stream () {
  if (options.plain) return plainStream()
  return cycle.length ? cycledStream() : seededStream(options.seed)
}

const isTimed = options.plain || options.cycle !== '0' || options.keep !== '0'
const kept = Buffer.alloc(Number(options.keep), 1) // not zeros: those would be no memory yet

class Count {
  constructor () {
    this.bytes = 0
    this.hash = isTimed ? null : crypto.createHash('sha256')
    this.began = null
  }

  add (data) {
    if (this.began === null) this.began = process.hrtime.bigint()
    if (kept.length) data.copy(kept, this.bytes)
    this.bytes += data.length
    if (this.hash) this.hash.update(data)
  }

  progress () {
    const nanoseconds = this.began === null ? 0n : process.hrtime.bigint() - this.began
    return { bytes: this.bytes, seconds: Number(nanoseconds) / 1e9, cpuSeconds: cpuSeconds() }
  }

  result () {
    const progress = this.progress()
    if (kept.length) this.hash = crypto.createHash('sha256').update(kept.subarray(0, this.bytes))
    return { ...progress, sha256: this.hash && this.hash.digest('hex') }
  }
}

function converse (connection, id) {
  const sent = new Count()
  const received = new Count()
  const next = stream()
  let left = Number(options.send)
  let otherEnded = false

  function send (limit) {
    while (left > limit) {
      const chunk = next(Math.min(left - limit, CHUNK))
      left -= chunk.length
      sent.add(chunk)
      if (!connection.write(chunk)) return connection.once('drain', () => send(limit))
    }
    finish()
  }

  function finish () {
    if (left > 0 || options.finish === 'never') return
    if (options.finish === 'sent' || otherEnded) connection.end()
  }

  connection.on('data', (data) => {
    received.add(data)
    if (options.echo) {
      sent.add(data)
      connection.write(data)
    }
  })
  if (options.progress !== '0') {
    const reports = setInterval(() => report('progress', { id, ...received.progress() }), Number(options.progress))
    connection.on('close', () => clearInterval(reports))
  }
  connection.on('end', () => {
    otherEnded = true
    report('received', { id, ...received.result() })
    if (options.start === 'end') send(0)
    else finish()
  })
  connection.on('finish', () => report('sent', { id, ...sent.result() }))
  connection.on('error', (error) => report('error', { id, code: error.code, received: received.bytes }))
  connection.on('close', () => {
    report('closed', { id, cpuSeconds: cpuSeconds() })
  })
  // Only now: what libutp is told to finish before it is connected, it never does. An accepted connection is
  // connected when its first byte arrives, for libutp sends nothing before.
  connection.once('connect', () => {
    if (options.echo) return
    send(options.start === 'connect' ? 0 : left - Number(options.first))
  })
}

function enlargeBuffers (socket) {
  const size = Number(options.buffer)
  if (size === 0) return
  socket.setRecvBufferSize(size)
  socket.setSendBufferSize(size)
}

function listen () {
  const server = utp()
  let accepted = 0
  server.on('connection', (connection) => {
    const id = accepted++
    report('connected', { id, host: connection.remoteAddress, port: connection.remotePort })
    converse(connection, id)
  })
  server.on('error', (error) => report('error', { code: error.code || error.message }))
  server.listen(Number(options.port), options.host, () => {
    enlargeBuffers(server)
    const { address, port } = server.address()
    report('listening', { host: address, port, receiveBuffer: server.getRecvBufferSize() })
  })
}

function connect () {
  const socket = utp()
  socket.bind(0, '0.0.0.0', () => {
    enlargeBuffers(socket)
    for (let id = 0; id < Number(options.count); id++) {
      const connection = socket.connect(Number(options.port), options.host)
      connection.on('connect', () => report('connected', { id, host: options.host, port: Number(options.port) }))
      converse(connection, id)
    }
  })
}

started = process.cpuUsage()
process.stdin.on('end', () => process.exit(0)).resume()
const roles = { listen, connect }
roles[role]()
