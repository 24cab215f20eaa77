// What a shard has for HTTP/2: the state of its connections, the memory of their sessions, and the tables heads pass through.
//
// A connection that carries HTTP/2 is a `Connection` whose wire is `.multiplexed`: it has the socket, and an `HTTP2State` with
// the session. Each of its streams is a `Connection` of its own, without a socket (`.stream`): what an exchange is paired with,
// with the same queues, credit and end as any other. So an exchange cannot tell a stream from a connection.
//
//     socket ──► Connection .multiplexed ──► HTTP2State ──► session (nghttp2)
//                     ▲                          │ firstStream
//                     └── Connection .stream ◄───┴──► Connection .stream … ──► exchange

import Base
import EventLoop
import HTTP
import Policy

/// The part of a connection that only HTTP/2 has. In a slab: it does not move, and its address is its session's context.
struct HTTP2State {
  let session: HTTP2Session
  let shard: Unmanaged<Shard>
  /// The connection it belongs to.
  let connection: UInt32
  /// Its streams, linked by `Connection.next`.
  var firstStream: UInt32 = noSlot
  var streamCount: UInt32 = 0
  /// The head that is being received: at most one at a time (RFC 9113 section 4.3).
  var text: HTTP2HeadText?
  var textChunk: UInt = 0
  /// Whose bytes are being received just now.
  var owner: BufferOwner?
  /// What its peer has done that nobody needs (`HTTP2Conduct`).
  var conduct = HTTP2Conduct()
  /// Of a connection towards an endpoint: whether that is there, and since when there is no stream.
  var keepAlive = HTTP2KeepAlive()
  var idleSince = MonotonicInstant(nanoseconds: 0)
  /// The peer's SETTINGS have come; and they have not been looked at yet.
  var hasSettings = false
  var hasNewSettings = false
  /// Our GOAWAY has been sent, or theirs has come: no more streams.
  var isLeaving = false
  /// Theirs has come, without an error: it serves no more streams here, and has nothing against us.
  var peerLeaves = false
  /// The session has failed: what is left to send is its GOAWAY.
  var hasFailed = false
  /// It has been idle for a while, and given back what it can do without.
  var isResting = false
}

/// Keeps account of a peer that makes work for nothing: resets, pings, settings, empty frames, frames that break a rule. Each
/// costs a point, and every answered request earns some back; who has lost too many is sent away (ENHANCE_YOUR_CALM). It is
/// what all floods have in common, so that the next one need not be known by name (CVE-2019-9511 to 9518, CVE-2023-44487,
/// CVE-2025-8671).
struct HTTP2Conduct {
  private(set) var points: Int32 = 0
  /// WINDOW_UPDATE frames that cost nothing.
  private var updates: Int32 = HTTP2Conduct.updateLimit

  /// When time was last taken into account.
  private var forgivenAt = MonotonicInstant(nanoseconds: 0)

  /// Before each buffer that comes: what a peer does now and then, as pings that keep a connection alive, never adds up.
  mutating func forgive(now: MonotonicInstant) {
    let seconds = now.nanoseconds(since: forgivenAt) / 1_000_000_000
    guard seconds > 0 else { return }
    forgivenAt = now
    points = max(points - Int32(min(seconds, 1000)) * HTTP2Conduct.forgivenPerSecond, 0)
    updates = min(updates + HTTP2Conduct.forgivenPerSecond, HTTP2Conduct.updateLimit)
  }

  /// A point lost. False when that was one too many.
  mutating func lose(_ count: Int32 = 1) -> Bool {
    points &+= count
    return points <= HTTP2Conduct.limit
  }

  /// A request was served to its end.
  mutating func earn() { points = max(points - HTTP2Conduct.earned, 0) }

  /// Credit for a body that goes out has come. False when that was one frame too many for what has gone out.
  mutating func takeUpdate() -> Bool {
    if updates == 0 { return lose() }
    updates -= 1
    return true
  }

  /// A head was received: its sender may want to widen that stream's window.
  mutating func allowUpdates() { updates = min(updates + HTTP2Conduct.updatesForFrame, HTTP2Conduct.updateLimit) }

  /// So much of a body goes out in a frame. `isCut`: for want of credit there is no more in it.
  mutating func send(_ count: Int, isCut: Bool) -> Bool {
    allowUpdates()
    if isCut, count < HTTP2Conduct.smallFrame { return lose() }
    if count >= HTTP2Conduct.largeFrame { points = max(points - 1, 0) }
    return true
  }

  /// A client that cancels most of what it asks for stays below it; a flood is over in a few milliseconds.
  static let limit: Int32 = 512
  private static let earned: Int32 = 4
  private static let forgivenPerSecond: Int32 = 16
  /// A head that is longer than it may be takes long to decode, however short it came.
  static let longHead: Int32 = 16
  /// A receiver gives credit piece by piece, for the stream and for the connection.
  private static let updatesForFrame: Int32 = 8
  private static let updateLimit: Int32 = 1024
  /// Who gives so little credit at a time has us make a frame for every byte (CVE-2019-9511).
  private static let smallFrame = 64
  private static let largeFrame = 4096
}

/// One shard's. Only its thread.
final class ShardHTTP2 {
  let states: Slab<HTTP2State>
  let memory: HTTP2Memory
  let server: HTTP2Settings
  let client: HTTP2Settings
  /// Heads on their way out.
  let fields: UnsafeMutablePointer<HTTP2Fields>
  /// A value for one of them, until it is submitted.
  let timeoutText: UnsafeMutableRawBufferPointer
  /// Heads that were written as text and are parsed again to be sent as fields.
  let requestHead: UnsafeMutablePointer<RequestHead>
  let responseHead: UnsafeMutablePointer<ResponseHead>

  /// 400 MiB of addresses, which cost nothing until they are used.
  private static let restingSessions: UInt32 = 16_384

  init(capacity: UInt32, limits: HTTP1Limits) throws {
    states = try Slab(capacity: capacity)
    memory = try HTTP2Memory(sessions: min(capacity, ShardHTTP2.restingSessions))
    let bytes = UInt32(clamping: limits.headerBytes)
    guard let server = HTTP2Settings(.ofShards, headerListBytes: bytes),
      let client = HTTP2Settings(.ofShards, headerListBytes: bytes)
    else { throw MappingError(byteCount: 0, errnoValue: 12) }
    self.server = server
    self.client = client
    // Lines of our own come on top of what a head may have.
    let maximum = limits.headers + 16
    fields = .allocate(capacity: 1)
    fields.initialize(to: HTTP2Fields(maximumFields: maximum))
    timeoutText = .allocate(byteCount: GRPCTimeout.encodedByteCount, alignment: 1)
    requestHead = .allocate(capacity: 1)
    requestHead.initialize(to: RequestHead(maximumFields: maximum))
    responseHead = .allocate(capacity: 1)
    responseHead.initialize(to: ResponseHead(maximumFields: maximum))
  }

  /// After every session is gone.
  func destroy() {
    memory.destroy()
    states.destroy()
    fields.deinitialize(count: 1)
    fields.deallocate()
    timeoutText.deallocate()
    requestHead.deinitialize(count: 1)
    requestHead.deallocate()
    responseHead.deinitialize(count: 1)
    responseHead.deallocate()
  }
}

extension HTTP2Handlers {
  /// Each event goes to the shard the session belongs to.
  static let ofShards = HTTP2Handlers(
    headBegan: { context, stream in onShard(context) { $0.headBegan($1, stream) } },
    field: { context, _, name, nameCount, value, valueCount in
      context.assumingMemoryBound(to: HTTP2State.self).pointee.text?.add(
        name: UnsafeRawBufferPointer(start: name, count: nameCount),
        value: UnsafeRawBufferPointer(start: value, count: valueCount))
    },
    headEnded: { context, stream, endsStream in onShard(context) { $0.headEnded($1, stream, endsStream: endsStream) } },
    data: { context, stream, bytes, count in onShard(context) { $0.dataArrived($1, stream, bytes, count) } },
    ended: { context, stream in onShard(context) { $0.streamEnded($1, stream) } },
    closed: { context, stream, code in onShard(context) { $0.streamClosed($1, stream, code) } },
    began: { context, type in onShard(context) { $0.frameBegan($1, type: type) } },
    received: { context, type, flags, count, stream in
      onShard(context) { $0.frameArrived($1, type: type, flags: flags, count, stream) }
    },
    invalid: { context, _ in onShard(context) { $0.lose($1) } },
    supply: { context, stream, room in onShard(context) { $0.supply($1, stream, room) } },
    sendData: { context, stream, header, count in onShard(context) { $0.sendData($1, stream, header, count) } },
    sent: { context, stream in onShard(context) { $0.headSent($1, stream) } },
    blamed: { context, stream, _ in onShard(context) { $0.blamed($1, stream) } })
}

@inline(__always)
private func onShard<Result>(
  _ context: HTTP2Handlers.Context, _ body: (Shard, UnsafeMutablePointer<HTTP2State>) -> Result
) -> Result {
  // The slab's slot outlives the session, and the shard all its sessions.
  let state = context.assumingMemoryBound(to: HTTP2State.self)
  return state.pointee.shard._withUnsafeGuaranteedRef { body($0, state) }
}
