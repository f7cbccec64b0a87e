// Drive udx-native from the command line: one side of a stream of zeros.
//
//   node udx.cjs receive       print the port, then how much has come, twenty times a second
//   node udx.cjs send PORT     send without end
//
// Each event is one line of JSON on standard output. The process lives until its standard input ends.
'use strict'

const path = require('path')
const { createRequire } = require('module')

const UDX = createRequire(path.resolve(__dirname, '../../.peers/package.json'))('udx-native')

const [role, port] = process.argv.slice(2)
const BUFFER = 4 << 20 // SO_RCVBUF and SO_SNDBUF, bytes
const BLOCK = Buffer.alloc(1 << 16)
const SENDER = 1
const RECEIVER = 2

function report (event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

function open (id, options) {
  const udx = new UDX()
  const socket = udx.createSocket()
  socket.bind(0, '127.0.0.1')
  socket.setRecvBufferSize(BUFFER)
  socket.setSendBufferSize(BUFFER)
  const stream = udx.createStream(id, options)
  stream.on('error', (error) => report('error', { code: error.code || error.message }))
  return { socket, stream }
}

function receive () {
  let bytes = 0
  let began = null
  const { socket, stream } = open(RECEIVER, {
    // Asked when a stranger's first packet comes: the only way to learn where it comes from.
    firewall (socket, port, host) {
      stream.connect(socket, SENDER, port, host)
      return false
    }
  })
  stream.on('data', (data) => {
    if (began === null) began = process.hrtime.bigint()
    bytes += data.length
  })
  setInterval(() => {
    if (began !== null) report('progress', { bytes, seconds: Number(process.hrtime.bigint() - began) / 1e9 })
  }, 50)
  report('listening', { port: socket.address().port })
}

function send () {
  const { socket, stream } = open(SENDER)
  stream.connect(socket, RECEIVER, Number(port), '127.0.0.1')
  function more () {
    while (stream.write(BLOCK));
    stream.once('drain', more)
  }
  more()
}

process.stdin.on('end', () => process.exit(0)).resume()
const roles = { receive, send }
roles[role]()
