// An HTTP/2 connection's state, over nghttp2: frames, HPACK, flow control, the life of streams (RFC 9113). No I/O: bytes that
// were received go in, what they mean comes out through `HTTP2Handlers`, and frames to send are asked for one by one.
//
// Bodies are not copied: a DATA frame's payload is handed on where it lies in the received bytes, and one that is sent is put
// behind its frame header by whoever has the bytes (`sendData`). Credit is given back only when the caller says that it has
// got rid of what came (`consume`), so that a slow reader at the far end stops the sender at this one.

import CNGHTTP2

/// What a session tells, as C functions over the caller's own context: one call for each event, nothing boxed. None of them may
/// call `receive` or `nextFrame`; what is submitted in them is sent later.
public struct HTTP2Handlers: Sendable {
  public typealias Context = UnsafeMutableRawPointer

  /// A head or a trailer section begins. False resets the stream, as one that was not looked at (REFUSED_STREAM).
  public let headBegan: @convention(c) (Context, Int32) -> Bool
  /// A field of it: name and value, valid during the call.
  public let field: @convention(c) (Context, Int32, UnsafePointer<UInt8>?, Int, UnsafePointer<UInt8>?, Int) -> Void
  /// It is whole. True: the stream ends with it.
  public let headEnded: @convention(c) (Context, Int32, Bool) -> Void
  /// Body bytes, inside what was given to `receive`.
  public let data: @convention(c) (Context, Int32, UnsafePointer<UInt8>, Int) -> Void
  /// The body is over.
  public let ended: @convention(c) (Context, Int32) -> Void
  /// The stream is gone; the error code says how (0: complete).
  public let closed: @convention(c) (Context, Int32, UInt32) -> Void
  /// A frame has begun that may be of no use, PRIORITY or WINDOW_UPDATE: its type. False ends the connection.
  public let began: @convention(c) (Context, UInt8) -> Bool
  /// A frame was received: type, flags, payload's length without padding (of GOAWAY its error code), and its stream. False ends
  /// the connection.
  public let received: @convention(c) (Context, UInt8, UInt8, Int, Int32) -> Bool
  /// A frame that breaks a rule was received on this stream.
  public let invalid: @convention(c) (Context, Int32) -> Bool
  /// How much of a body can be sent now, at most so many bytes, as an `HTTP2Supply`.
  public let supply: @convention(c) (Context, Int32, Int) -> Int
  /// Puts a frame header (9 bytes) and so many bytes of the stream's body behind what is to be sent. False ends the connection.
  public let sendData: @convention(c) (Context, Int32, UnsafePointer<UInt8>, Int) -> Bool
  /// A head is about to be sent on this stream.
  public let sent: @convention(c) (Context, Int32) -> Void
  /// The peer is about to be told that it broke a rule, with this code: of this stream, or of the connection (0).
  public let blamed: @convention(c) (Context, Int32, UInt32) -> Void

  public init(
    headBegan: @escaping @convention(c) (Context, Int32) -> Bool,
    field: @escaping @convention(c) (Context, Int32, UnsafePointer<UInt8>?, Int, UnsafePointer<UInt8>?, Int) -> Void,
    headEnded: @escaping @convention(c) (Context, Int32, Bool) -> Void,
    data: @escaping @convention(c) (Context, Int32, UnsafePointer<UInt8>, Int) -> Void,
    ended: @escaping @convention(c) (Context, Int32) -> Void,
    closed: @escaping @convention(c) (Context, Int32, UInt32) -> Void,
    began: @escaping @convention(c) (Context, UInt8) -> Bool,
    received: @escaping @convention(c) (Context, UInt8, UInt8, Int, Int32) -> Bool,
    invalid: @escaping @convention(c) (Context, Int32) -> Bool,
    supply: @escaping @convention(c) (Context, Int32, Int) -> Int,
    sendData: @escaping @convention(c) (Context, Int32, UnsafePointer<UInt8>, Int) -> Bool,
    sent: @escaping @convention(c) (Context, Int32) -> Void,
    blamed: @escaping @convention(c) (Context, Int32, UInt32) -> Void
  ) {
    self.headBegan = headBegan
    self.field = field
    self.headEnded = headEnded
    self.data = data
    self.ended = ended
    self.closed = closed
    self.began = began
    self.received = received
    self.invalid = invalid
    self.supply = supply
    self.sendData = sendData
    self.sent = sent
    self.blamed = blamed
  }
}

/// How much of a body can be sent: an answer to `HTTP2Handlers.supply` as one number.
public enum HTTP2Supply {
  /// Nothing now; `HTTP2Session.resume` says when there is.
  public static let later = -1
  /// So many bytes, which are not the last.
  @inlinable public static func some(_ count: Int) -> Int { count << 2 }
  /// So many bytes, which are the last; a trailer section follows where `trailers` says so.
  @inlinable public static func last(_ count: Int, trailers: Bool) -> Int { count << 2 | (trailers ? 3 : 1) }
}

/// Error codes of RFC 9113 section 7.
public enum HTTP2Error {
  public static let none: UInt32 = 0x0
  public static let `protocol`: UInt32 = 0x1
  public static let `internal`: UInt32 = 0x2
  public static let refusedStream: UInt32 = 0x7
  public static let cancel: UInt32 = 0x8
  public static let connect: UInt32 = 0xA
  public static let enhanceYourCalm: UInt32 = 0xB

  /// Whether a code says that the peer broke a rule.
  static func blames(_ code: UInt32) -> Bool {
    switch code {
    case `protocol`, 0x3...0x6, 0x9: true
    default: false
    }
  }
}

/// Frame types of RFC 9113 section 6 that a caller asks after.
public enum HTTP2Frame {
  public static let data: UInt8 = 0x0
  public static let headers: UInt8 = 0x1
  public static let priority: UInt8 = 0x2
  public static let reset: UInt8 = 0x3
  public static let settings: UInt8 = 0x4
  public static let ping: UInt8 = 0x6
  public static let goAway: UInt8 = 0x7
  public static let windowUpdate: UInt8 = 0x8
  public static let endStream: UInt8 = 0x1
  public static let acknowledgement: UInt8 = 0x1
}

/// What both sides of a session are made with. Made once; any thread.
public final class HTTP2Settings: @unchecked Sendable {
  // Written once, in `init`; nghttp2 only reads them.
  let callbacks: OpaquePointer
  let options: OpaquePointer
  let handlers: UnsafeMutablePointer<HTTP2Handlers>

  /// Streams a peer may have open at once.
  public let concurrentStreams: UInt32
  /// Bytes a peer may send on one stream, and on all, before credit is given back.
  public let streamWindow: UInt32
  public let connectionWindow: Int32
  public let headerListBytes: UInt32

  /// Nil when there is no memory.
  public init?(
    _ handlers: HTTP2Handlers, concurrentStreams: UInt32 = 100, streamWindow: UInt32 = 65_536,
    connectionWindow: Int32 = 1 << 20, headerListBytes: UInt32
  ) {
    var callbacks: OpaquePointer?
    var options: OpaquePointer?
    guard nghttp2_session_callbacks_new(&callbacks) == 0, let callbacks else { return nil }
    guard nghttp2_option_new(&options) == 0, let options else {
      nghttp2_session_callbacks_del(callbacks)
      return nil
    }
    self.callbacks = callbacks
    self.options = options
    self.concurrentStreams = concurrentStreams
    self.streamWindow = streamWindow
    self.connectionWindow = connectionWindow
    self.headerListBytes = headerListBytes
    self.handlers = .allocate(capacity: 1)
    self.handlers.initialize(to: handlers)
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_no_closed_streams(options, 1)
    // Answers to PING and SETTINGS that may wait for a peer that does not read (CVE-2019-9512, CVE-2019-9515).
    nghttp2_option_set_max_outbound_ack(options, 128)
    // Resets are counted with everything else a peer does that nobody needs; a limit of its own would end a connection as if we
    // had failed.
    nghttp2_option_set_stream_reset_rate_limit(options, 1 << 32, 1 << 32)
    HTTP2Settings.set(callbacks)
  }

  deinit {
    nghttp2_session_callbacks_del(callbacks)
    nghttp2_option_del(options)
    handlers.deinitialize(count: 1)
    handlers.deallocate()
  }

  /// What a session's callbacks are given: the handlers, and the caller's own context.
  struct Link {
    let handlers: UnsafeMutablePointer<HTTP2Handlers>
    let context: HTTP2Handlers.Context
    var pages = HTTP2Memory.Pages()
    /// Of the field section that is being received, as SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113 section 6.5.2).
    var fieldSectionBytes: UInt32 = 0
    let fieldSectionLimit: UInt32

    /// A field of so many bytes. False when the section has grown past all reason.
    mutating func takeField(_ count: Int) -> Bool {
      let (sum, isMuch) = fieldSectionBytes.addingReportingOverflow(UInt32(clamping: count + 32))
      fieldSectionBytes = sum
      return !isMuch && sum <= fieldSectionLimit
    }
  }

  /// A section that is longer than it may be is refused when it has ended; one that is so many times as long ends the connection.
  /// It takes a few bytes to name one long field a thousand times, and long to look through what they say (CVE-2016-6581).
  private static let fieldSectionExcess: UInt32 = 4

  var fieldSectionLimit: UInt32 {
    let (limit, isMuch) = headerListBytes.multipliedReportingOverflow(by: HTTP2Settings.fieldSectionExcess)
    return isMuch ? .max : limit
  }

  private static func set(_ callbacks: OpaquePointer) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, link in
      guard let frame, let place = link, let link = HTTP2Settings.link(place) else { return HTTP2Settings.failure }
      HTTP2Settings.change(place) { $0.fieldSectionBytes = 0 }
      let began = link.handlers.pointee.headBegan(link.context, frame.pointee.hd.stream_id)
      return began ? 0 : HTTP2Settings.resetStream
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, frame, name, nameLength, value, valueLength, _, link in
      guard let frame, let place = link, let link = HTTP2Settings.link(place) else { return HTTP2Settings.failure }
      guard HTTP2Settings.change(place, { $0.takeField(nameLength + valueLength) }) else {
        return HTTP2Settings.failure
      }
      link.handlers.pointee.field(
        link.context, frame.pointee.hd.stream_id, name, nameLength, value, valueLength)
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, link in
      guard let frame, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      let header = frame.pointee.hd
      let endsStream = header.flags & HTTP2Frame.endStream != 0
      let padding = header.type == HTTP2Frame.data ? frame.pointee.data.padlen : 0
      let number =
        header.type == HTTP2Frame.goAway ? Int(frame.pointee.goaway.error_code) : max(header.length - padding, 0)
      guard link.handlers.pointee.received(link.context, header.type, header.flags, number, header.stream_id)
      else { return HTTP2Settings.failure }
      if header.type == HTTP2Frame.headers {
        link.handlers.pointee.headEnded(link.context, header.stream_id, endsStream)
      } else if header.type == HTTP2Frame.data, endsStream {
        link.handlers.pointee.ended(link.context, header.stream_id)
      }
      return 0
    }
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, header, link in
      guard let header, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      switch header.pointee.type {
      case HTTP2Frame.priority, HTTP2Frame.windowUpdate:
        return link.handlers.pointee.began(link.context, header.pointee.type) ? 0 : HTTP2Settings.failure
      default: return 0
      }
    }
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, frame, _, link in
      guard let frame, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      return link.handlers.pointee.invalid(link.context, frame.pointee.hd.stream_id) ? 0 : HTTP2Settings.failure
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, bytes, count, link in
      guard let bytes, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      link.handlers.pointee.data(link.context, stream, bytes, count)
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, link in
      guard let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      link.handlers.pointee.closed(link.context, stream, code)
      return 0
    }
    nghttp2_session_callbacks_set_before_frame_send_callback(callbacks) { _, frame, link in
      guard let frame, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      switch frame.pointee.hd.type {
      case HTTP2Frame.headers: link.handlers.pointee.sent(link.context, frame.pointee.hd.stream_id)
      case HTTP2Frame.reset where HTTP2Error.blames(frame.pointee.rst_stream.error_code):
        link.handlers.pointee.blamed(
          link.context, frame.pointee.hd.stream_id, frame.pointee.rst_stream.error_code)
      case HTTP2Frame.goAway where HTTP2Error.blames(frame.pointee.goaway.error_code):
        link.handlers.pointee.blamed(link.context, 0, frame.pointee.goaway.error_code)
      default: break
      }
      return 0
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, header, count, _, link in
      guard let frame, let header, let link = HTTP2Settings.link(link) else { return HTTP2Settings.failure }
      return link.handlers.pointee.sendData(link.context, frame.pointee.hd.stream_id, header, count)
        ? 0 : HTTP2Settings.failure
    }
  }

  /// The link stands in the session's own memory as long as the session lives.
  private static func link(_ pointer: UnsafeMutableRawPointer?) -> Link? {
    pointer?.assumingMemoryBound(to: Link.self).pointee
  }

  private static func change<Result>(_ pointer: UnsafeMutableRawPointer, _ change: (inout Link) -> Result) -> Result {
    change(&pointer.assumingMemoryBound(to: Link.self).pointee)
  }

  static let failure = Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
  static let resetStream = Int32(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
}

/// One session. A handle; one thread. Whoever makes it destroys it, not inside a handler.
public struct HTTP2Session {
  /// The library's version, as it says itself.
  public static var nghttp2Version: String {
    nghttp2_version(0).flatMap { $0.pointee.version_str }.map { String(cString: $0) } ?? "unknown"
  }

  private let session: OpaquePointer
  private let link: UnsafeMutablePointer<HTTP2Settings.Link>

  /// A session that serves (`isServer`) or asks. Its settings are the first that it has to send. Nil when there is no memory.
  ///
  /// - Parameters:
  ///   - context: what its handlers are given.
  ///   - memory: outlives the session.
  public init?(isServer: Bool, _ settings: HTTP2Settings, context: HTTP2Handlers.Context, memory: HTTP2Memory) {
    link = .allocate(capacity: 1)
    link.initialize(
      to: HTTP2Settings.Link(
        handlers: settings.handlers, context: context, fieldSectionLimit: settings.fieldSectionLimit))
    var created: OpaquePointer?
    _ = memory.takeLatest()
    let result =
      isServer
      ? nghttp2_session_server_new3(&created, settings.callbacks, link, settings.options, memory.hooks)
      : nghttp2_session_client_new3(&created, settings.callbacks, link, settings.options, memory.hooks)
    guard result == 0, let created else {
      link.deallocate()
      return nil
    }
    session = created
    link.pointee.pages = memory.takeLatest()
    guard HTTP2Session.submitSettings(created, settings, isServer: isServer),
      nghttp2_session_set_local_window_size(created, 0, 0, settings.connectionWindow) == 0
    else {
      destroy()
      return nil
    }
  }

  private static func submitSettings(_ session: OpaquePointer, _ settings: HTTP2Settings, isServer: Bool) -> Bool {
    var entries = [
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue), value: settings.concurrentStreams),
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: settings.streamWindow),
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue), value: settings.headerListBytes),
      isServer
        ? nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL.rawValue), value: 1)
        : nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0),
    ]
    if isServer {
      entries.append(
        nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES.rawValue), value: 1))
    }
    return nghttp2_submit_settings(session, 0, entries, entries.count) == 0
  }

  public func destroy() {
    nghttp2_session_del(session)
    link.deallocate()
  }

  // MARK: Bytes

  /// What became of received bytes.
  public enum Reception: Sendable {
    case taken
    /// The connection cannot go on: what `nextFrame` still gives (GOAWAY) is its end.
    case broken
    /// The same, and nothing has been said yet: frames or fields without an end, or answers that the peer does not read.
    case flood
  }

  /// Takes received bytes.
  public func receive(_ bytes: UnsafeRawBufferPointer) -> Reception {
    guard let start = bytes.baseAddress else { return .taken }
    let taken = nghttp2_session_mem_recv(session, start.assumingMemoryBound(to: UInt8.self), bytes.count)
    if taken >= 0 { return .taken }
    if link.pointee.fieldSectionBytes > link.pointee.fieldSectionLimit { return .flood }
    switch Int32(truncatingIfNeeded: taken) {
    case Int32(NGHTTP2_ERR_FLOODED.rawValue), Int32(NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue): return .flood
    default: return .broken
    }
  }

  /// The next frames to send, valid until the next call on the session; nil when there is none now. DATA frames go through
  /// `HTTP2Handlers.sendData` instead.
  public func nextFrame() -> UnsafeRawBufferPointer? {
    var start: UnsafePointer<UInt8>?
    let count = nghttp2_session_mem_send(session, &start)
    guard count > 0, let start else { return nil }
    return UnsafeRawBufferPointer(start: start, count: count)
  }

  /// Whether anything is to be received or sent any more.
  public var isOver: Bool { nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0 }
  public var wantsToSend: Bool { nghttp2_session_want_write(session) != 0 }

  // MARK: Streams

  /// A request on a new stream; its number, or nil when there can be no more on this connection.
  public func submitRequest(_ fields: borrowing HTTP2Fields, hasBody: Bool) -> Int32? {
    var source = HTTP2Session.source
    let id =
      hasBody
      ? nghttp2_submit_request(session, nil, fields.entries, fields.count, &source, nil)
      : nghttp2_submit_request(session, nil, fields.entries, fields.count, nil, nil)
    return id > 0 ? id : nil
  }

  /// A final response head. Without a body it ends the stream.
  public func submitResponse(_ stream: Int32, _ fields: borrowing HTTP2Fields, hasBody: Bool) -> Bool {
    var source = HTTP2Session.source
    return
      (hasBody
      ? nghttp2_submit_response(session, stream, fields.entries, fields.count, &source)
      : nghttp2_submit_response(session, stream, fields.entries, fields.count, nil)) == 0
  }

  /// A 1xx head.
  public func submitInterim(_ stream: Int32, _ fields: borrowing HTTP2Fields) -> Bool {
    nghttp2_submit_headers(session, 0, stream, nil, fields.entries, fields.count, nil) == 0
  }

  /// A trailer section, which ends the stream; when the last of the body was given with `trailers`.
  public func submitTrailers(_ stream: Int32, _ fields: borrowing HTTP2Fields) -> Bool {
    nghttp2_submit_trailer(session, stream, fields.entries, fields.count) == 0
  }

  /// There is something to send on a stream whose `supply` had said "later".
  public func resume(_ stream: Int32) { nghttp2_session_resume_data(session, stream) }

  public func reset(_ stream: Int32, _ code: UInt32) { nghttp2_submit_rst_stream(session, 0, stream, code) }

  /// Gives credit back for so many received bytes of a body.
  public func consume(_ stream: Int32, _ count: Int) { nghttp2_session_consume(session, stream, count) }

  /// The same for bytes whose stream is gone.
  public func consumeConnection(_ count: Int) { nghttp2_session_consume_connection(session, count) }

  /// What the caller keeps for a stream; 0 for none.
  public func note(of stream: Int32) -> UInt {
    UInt(bitPattern: nghttp2_session_get_stream_user_data(session, stream))
  }

  public func setNote(_ note: UInt, of stream: Int32) {
    nghttp2_session_set_stream_user_data(session, stream, UnsafeMutableRawPointer(bitPattern: note))
  }

  /// Streams the peer lets us have open at once.
  public var peersStreamLimit: Int {
    Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
  }

  /// Whether the peer, a server, takes extended CONNECT (RFC 8441 section 3); false while its SETTINGS have not come.
  public var peerTakesExtendedConnect: Bool {
    nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
  }

  // MARK: The connection

  /// Says that it will end soon (RFC 9113 section 6.8): no stream is refused yet.
  public func announceEnd() { nghttp2_submit_shutdown_notice(session) }

  /// Takes no more streams; those that are open finish.
  public func refuseMore() {
    nghttp2_submit_goaway(session, 0, nghttp2_session_get_last_proc_stream_id(session), HTTP2Error.none, nil, 0)
  }

  /// Ends it, streams and all.
  public func terminate(_ code: UInt32) { nghttp2_session_terminate_session(session, code) }

  /// Gives back the memory that a session without streams can do without until it has some again. Not inside a handler.
  public func rest() {
    if !wantsToSend { HTTP2Memory.rest(link.pointee.pages) }
  }

  public func ping() { nghttp2_submit_ping(session, 0, nil) }

  private static let source = nghttp2_data_provider(
    source: nghttp2_data_source(ptr: nil),
    read_callback: { _, stream, _, room, flags, _, link in
      guard let flags, let link = link?.assumingMemoryBound(to: HTTP2Settings.Link.self).pointee else {
        return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
      }
      let supply = link.handlers.pointee.supply(link.context, stream, room)
      if supply < 0 { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
      let count = supply >> 2
      if count > 0 { flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_COPY.rawValue) }
      if supply & 1 != 0 { flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
      if supply & 2 != 0 { flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue) }
      return count
    })
}
