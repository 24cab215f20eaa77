// One socket of a shard: what is in flight on it, what is queued for it, and where its protocol stands.
//
// Downstream and upstream sockets are the same thing here; `role` says on which side of an exchange they stand. A
// connection is a plain struct in a slab and is reached through its pointer. An idle one holds no buffer.
//
//   open ──► (connecting, upstream only) ──► serving ⇄ idle ──► lingering (downstream only) ──► closing ──► freed
//
// Closing waits until no operation is in flight; only then are the descriptor closed and the slot given back, so that
// neither can be reused under an operation that still names it.

import Base
import Capture
import EventLoop
import HTTP

typealias ConnectionPointer = UnsafeMutablePointer<Connection>

/// "No slot" in fields that name a slot.
let noSlot = UInt32.max

/// On which side of an exchange a connection stands.
enum ConnectionRole: UInt8 {
  case downstream
  case upstream
}

/// What is spoken on a connection. The exchange reaches both its sides through this, and only this.
enum ConnectionProtocol: UInt8 {
  case http1
  /// A stream of a connection that carries HTTP/2.
  case http2
  /// HTTP/2 itself: frames of many streams, which are connections of their own.
  case multiplexed
  /// Bytes both ways, without heads: what an upgraded connection becomes, and what is not HTTP.
  case tunnel
  /// Its first bytes will tell (downstream).
  case undetected
  /// A header of the PROXY protocol stands in front of everything (downstream).
  case proxyHeader
  /// TLS: its ClientHello will tell where it goes (downstream).
  case clientHello
}

/// The receive operation of a connection.
enum ReceiveState: UInt8 {
  /// Nothing armed.
  case off
  /// Armed until cancelled.
  case multishot
  /// Armed for one buffer: how long bodies are read, so that credit is kept buffer by buffer.
  case single
  /// A cancel is on its way; the final completion will come.
  case cancelling
}

struct ConnectionFlags: OptionSet {
  var rawValue: UInt32

  /// A connect is in flight; output waits.
  static let connecting = ConnectionFlags(rawValue: 1 << 0)
  /// A send is in flight.
  static let sending = ConnectionFlags(rawValue: 1 << 1)
  /// In the list of connections to flush at the end of the turn.
  static let dirty = ConnectionFlags(rawValue: 1 << 2)
  /// Being closed: no more events.
  static let closing = ConnectionFlags(rawValue: 1 << 3)
  /// Close with a reset, so that the peer cannot take what it got for the whole.
  static let abort = ConnectionFlags(rawValue: 1 << 4)
  /// The peer has sent its last byte.
  static let peerFinished = ConnectionFlags(rawValue: 1 << 5)
  /// We have sent, or will have sent when the output is empty, our last byte.
  static let finishAfterFlush = ConnectionFlags(rawValue: 1 << 6)
  static let finished = ConnectionFlags(rawValue: 1 << 7)
  /// After our last byte: read on for a while and throw away, so that the peer reads ours before a reset can come.
  static let lingering = ConnectionFlags(rawValue: 1 << 8)
  /// Reading is stopped by back-pressure.
  static let readPaused = ConnectionFlags(rawValue: 1 << 9)
  /// A long body is being read: arm single receives.
  static let longBody = ConnectionFlags(rawValue: 1 << 10)
  /// Its codec is running: do not enter it again.
  static let processing = ConnectionFlags(rawValue: 1 << 11)
  /// Received bytes wait in `input` until the exchange in progress is over.
  static let inputHeld = ConnectionFlags(rawValue: 1 << 12)
  /// Has served a request before: a failure may be that of a connection gone stale.
  static let reused = ConnectionFlags(rawValue: 1 << 13)
  /// The next response says `connection: close`.
  static let closeAfterExchange = ConnectionFlags(rawValue: 1 << 14)
  /// Waiting in the idle pool of its endpoint.
  static let pooled = ConnectionFlags(rawValue: 1 << 15)
  /// A receive ended for want of buffers; it is armed again when there are some.
  static let starved = ConnectionFlags(rawValue: 1 << 16)
  /// In the list of connections being closed.
  static let inClosingList = ConnectionFlags(rawValue: 1 << 17)
  /// Made to a capturing listener itself.
  static let straight = ConnectionFlags(rawValue: 1 << 18)
  /// Captured on its way to one of this proxy's own listeners.
  static let selfLoop = ConnectionFlags(rawValue: 1 << 19)
  /// Its protocol has just become known: what detection had gathered is to be taken first.
  static let detected = ConnectionFlags(rawValue: 1 << 20)
  /// Its answer is thrown away, and its exchange has gone on without it (upstream).
  static let discarding = ConnectionFlags(rawValue: 1 << 21)
  /// Without a socket: takes the response to a copy of a request, and throws it away.
  static let sink = ConnectionFlags(rawValue: 1 << 22)
  /// Without a socket: a stream of the connection that `session` names.
  static let stream = ConnectionFlags(rawValue: 1 << 23)
  /// Its first bytes must not be a header of the PROXY protocol: nobody here believes it.
  static let stranger = ConnectionFlags(rawValue: 1 << 24)
}

/// A socket. About 300 bytes, all of an idle connection's memory but 24 bytes of its slab and its timer.
struct Connection {
  let index: UInt32
  let generation: UInt32
  let descriptor: Int32
  let role: ConnectionRole
  var wire: ConnectionProtocol = .http1
  var receive: ReceiveState = .off
  var flags: ConnectionFlags = []
  /// Operations whose final completion has not come.
  var operationsInFlight: UInt16 = 0
  /// Who is calling (downstream): the workload's number, 0 for `other`.
  var workload: WorkloadNumber = 0
  /// The listener it came through, or the service it belongs to.
  var origin: UInt32
  /// The endpoint within the service (upstream).
  var endpoint: UInt32 = noSlot
  /// The exchange it serves.
  var exchange: UInt32 = noSlot
  /// Links of the list it stands in: the shard's downstream connections, or its endpoint's idle pool.
  var previous: UInt32 = noSlot
  var next: UInt32 = noSlot
  /// Received and not yet taken by the codec.
  var input = SegmentQueue()
  /// Waiting to be sent.
  var output = SegmentQueue()
  /// Lent to the send in flight.
  var inFlight = SegmentQueue()
  /// The vectors of the send in flight, where it has several.
  var sendVector: UInt32 = noSlot
  /// Of a connection that carries HTTP/2: its `HTTP2State`; of a stream: its connection.
  var session: UInt32 = noSlot
  /// The number of a stream as its session has it; 0 for none, or none any more.
  var streamNumber: Int32 = 0
  /// Bytes received on a stream whose credit has not been given back.
  var uncredited: UInt32 = 0
  /// Requests served.
  var requestCount: UInt32 = 0
  var codec = HTTP1Codec()
  var bytesReceived: UInt64 = 0
  var bytesSent: UInt64 = 0
  let openedAt: MonotonicInstant
  /// When bytes last came or went.
  var activeAt: MonotonicInstant
  var peer: PeerAddress
  /// The address of the other end of a captured connection: where its client meant to go (downstream), or whose address
  /// we speak from (upstream, TPROXY). None elsewhere.
  var original = PeerAddress()
  /// What the peer's kernel had acknowledged when silence was last looked into.
  var acknowledgedAtExpiry: UInt64 = 0

  init(
    index: UInt32, generation: UInt32, descriptor: Int32, role: ConnectionRole, origin: UInt32,
    openedAt: MonotonicInstant, peer: PeerAddress
  ) {
    self.index = index
    self.generation = generation
    self.descriptor = descriptor
    self.role = role
    self.origin = origin
    self.openedAt = openedAt
    activeAt = openedAt
    self.peer = peer
  }

  func tag(_ kind: OperationKind) -> OperationTag {
    OperationTag(kind: kind, slot: index, generation: generation)
  }

  /// Bytes that were accepted for this connection and that its peer's kernel has not taken yet.
  var unsentByteCount: Int { Int(output.byteCount) + Int(inFlight.byteCount) }
  var isServing: Bool { flags.isDisjoint(with: [.closing, .lingering]) }
}

/// The address of a peer: IPv6, or IPv4 mapped into it; all zero for a Unix socket.
struct PeerAddress: Equatable {
  var high: UInt64 = 0
  var low: UInt64 = 0
  var port: UInt16 = 0

  /// No address at all.
  var isNone: Bool { high == 0 && low == 0 }
}
