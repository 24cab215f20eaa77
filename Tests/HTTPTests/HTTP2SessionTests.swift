// Two sessions that talk to each other in memory: what one submits the other tells, and what breaks a rule ends where it should.

import HTTP
import Testing

/// One side, with everything its session told. Whoever makes it calls `end`.
private final class Side {
  struct Stream {
    var fields: [String] = []
    var body = ""
    var isWhole = false
    var code: UInt32?
    /// What is to be sent, and whether it is the last.
    var output: [UInt8] = []
    var isLast = false
    var trailers: [(String, String)] = []
  }

  var streams: [Int32: Stream] = [:]
  var frames: [UInt8] = []
  var sent: [UInt8] = []
  var invalid = 0
  var blamed: [UInt32] = []
  var refusesHeads = false
  private var session: HTTP2Session?
  private let memory: HTTP2Memory
  private let settings: HTTP2Settings

  init(isServer: Bool, streams: UInt32 = 100, window: UInt32 = 65_536, headerList: UInt32 = 65_536) throws {
    memory = try HTTP2Memory(sessions: 1)
    settings = try #require(
      HTTP2Settings(.ofSides, concurrentStreams: streams, streamWindow: window, headerListBytes: headerList))
    session = HTTP2Session(
      isServer: isServer, settings, context: Unmanaged.passUnretained(self).toOpaque(), memory: memory)
  }

  func end() {
    session?.destroy()
    session = nil
    memory.destroy()
  }

  func use<Result>(_ body: (HTTP2Session) throws -> Result) throws -> Result { try body(try #require(session)) }

  /// All that is to be sent now.
  func takeOutput() throws -> [UInt8] {
    try use { session in
      while let frames = session.nextFrame() { sent += frames }
      defer { sent = [] }
      return sent
    }
  }

  @discardableResult
  func receive(_ bytes: [UInt8]) throws -> HTTP2Session.Reception {
    try use { session in bytes.withUnsafeBytes { session.receive($0) } }
  }

  func submit(_ fields: [(String, String)], as submit: (HTTP2Session, borrowing HTTP2Fields) -> Bool) throws {
    var table = HTTP2Fields(maximumFields: 16)
    // The table points into these until it is submitted.
    let texts = fields.map { (Array($0.0.utf8), Array($0.1.utf8)) }
    let copies = texts.map { name, value in (copy(name), copy(value)) }
    defer {
      for (name, value) in copies {
        name.deallocate()
        value.deallocate()
      }
    }
    for (name, value) in copies { table.add(UnsafeRawBufferPointer(name), UnsafeRawBufferPointer(value)) }
    #expect(try use { submit($0, table) })
  }

  private func copy(_ bytes: [UInt8]) -> UnsafeMutableRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 1)
    memory.copyBytes(from: bytes)
    return UnsafeMutableRawBufferPointer(rebasing: memory[..<bytes.count])
  }
}

extension HTTP2Handlers {
  fileprivate static let ofSides = HTTP2Handlers(
    headBegan: {
      side($0).streams[$1, default: Side.Stream()].isWhole = false; return !side($0).refusesHeads
    },
    field: { context, stream, name, nameCount, value, valueCount in
      let name = String(decoding: UnsafeBufferPointer(start: name, count: nameCount), as: UTF8.self)
      let value = String(decoding: UnsafeBufferPointer(start: value, count: valueCount), as: UTF8.self)
      side(context).streams[stream]?.fields.append("\(name): \(value)")
    },
    headEnded: { context, stream, endsStream in side(context).streams[stream]?.isWhole = endsStream },
    data: { context, stream, bytes, count in
      side(context).streams[stream]?.body += String(
        decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    },
    ended: { context, stream in side(context).streams[stream]?.isWhole = true },
    closed: { context, stream, code in side(context).streams[stream, default: Side.Stream()].code = code },
    began: { _, _ in true },
    received: { context, type, _, _, _ in
      side(context).frames.append(type)
      return true
    },
    invalid: { context, _ in
      side(context).invalid += 1
      return true
    },
    supply: { context, number, room in
      guard let stream = side(context).streams[number] else { return HTTP2Supply.later }
      let count = min(stream.output.count, room)
      if stream.isLast, count == stream.output.count {
        if stream.trailers.isEmpty { return HTTP2Supply.last(count, trailers: false) }
        try? side(context).submit(stream.trailers) { $0.submitTrailers(number, $1) }
        return HTTP2Supply.last(count, trailers: true)
      }
      return count > 0 ? HTTP2Supply.some(count) : HTTP2Supply.later
    },
    sendData: { context, number, header, count in
      let bytes = side(context).streams[number]?.output.prefix(count) ?? []
      side(context).streams[number]?.output.removeFirst(bytes.count)
      side(context).sent += UnsafeBufferPointer(start: header, count: 9)
      side(context).sent += bytes
      return bytes.count == count
    },
    sent: { _, _ in },
    blamed: { context, _, code in side(context).blamed.append(code) })
}

private func side(_ context: HTTP2Handlers.Context) -> Side { Unmanaged.fromOpaque(context).takeUnretainedValue() }

private let get = [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "/a")]

@Suite("HTTP2Session")
struct HTTP2SessionTests {
  /// A client and a server that have exchanged their settings.
  private func withPair(
    streams: UInt32 = 100, window: UInt32 = 65_536, headerList: UInt32 = 65_536, _ body: (Side, Side) throws -> Void
  ) throws {
    let client = try Side(isServer: false)
    let server = try Side(isServer: true, streams: streams, window: window, headerList: headerList)
    defer {
      client.end()
      server.end()
    }
    try talk(client, server)
    try body(client, server)
  }

  /// Carries bytes both ways until neither has any.
  private func talk(_ client: Side, _ server: Side) throws {
    while true {
      let (there, back) = (try client.takeOutput(), try server.takeOutput())
      if there.isEmpty, back.isEmpty { return }
      if !there.isEmpty { try server.receive(there) }
      if !back.isEmpty { try client.receive(back) }
    }
  }

  private func ask(
    _ client: Side, _ fields: [(String, String)] = get, hasBody: Bool = false
  ) throws -> Int32 {
    var number: Int32 = 0
    try client.submit(fields) { session, table in
      number = session.submitRequest(table, hasBody: hasBody) ?? 0
      return number > 0
    }
    return number
  }

  @Test("a request and its response, each with a body and trailers")
  func exchange() throws {
    try withPair { client, server in
      let number = try ask(client, [(":method", "POST")] + get.dropFirst(), hasBody: true)
      client.streams[number, default: .init()].output = Array("hello".utf8)
      client.streams[number]?.isLast = true
      client.streams[number]?.trailers = [("x-sum", "5")]
      try client.use { $0.resume(number) }
      try talk(client, server)
      let request = try #require(server.streams[number])
      #expect(request.fields == [":method: POST", ":scheme: http", ":authority: web", ":path: /a", "x-sum: 5"])
      #expect(request.body == "hello" && request.isWhole && request.code == nil)

      server.streams[number]?.output = Array("world".utf8)
      server.streams[number]?.isLast = true
      try server.submit([(":status", "200")]) { $0.submitResponse(number, $1, hasBody: true) }
      try talk(client, server)
      let response = try #require(client.streams[number])
      #expect(response.fields == [":status: 200"] && response.body == "world" && response.isWhole)
      #expect(response.code == 0 && server.streams[number]?.code == 0)
    }
  }

  @Test("an interim head comes before the response")
  func interim() throws {
    try withPair { client, server in
      let number = try ask(client)
      try talk(client, server)
      try server.submit([(":status", "103"), ("link", "</a>")]) { $0.submitInterim(number, $1) }
      try server.submit([(":status", "204")]) { $0.submitResponse(number, $1, hasBody: false) }
      try talk(client, server)
      #expect(client.streams[number]?.fields == [":status: 103", "link: </a>", ":status: 204"])
      #expect(client.streams[number]?.code == 0)
    }
  }

  @Test("no more of a body is sent than the receiver gave credit for")
  func credit() throws {
    try withPair(window: 1000) { client, server in
      let number = try ask(client, [(":method", "POST")] + get.dropFirst(), hasBody: true)
      client.streams[number, default: .init()].output = Array(repeating: 0x79, count: 5000)
      client.streams[number]?.isLast = true
      try client.use { $0.resume(number) }
      try talk(client, server)
      #expect(server.streams[number]?.body.utf8.count == 1000)
      var given = 1000
      while server.streams[number]?.isWhole == false {
        try server.use { $0.consume(number, given) }
        let before = server.streams[number]?.body.utf8.count ?? 0
        try talk(client, server)
        given = (server.streams[number]?.body.utf8.count ?? 0) - before
        try #require(given > 0)
      }
      #expect(server.streams[number]?.body.utf8.count == 5000)
    }
  }

  @Test(
    "fields are told up to four times of what a head may have, and one more ends the session", arguments: [false, true])
  func fieldSection(isOver: Bool) throws {
    try withPair(headerList: 4096) { client, server in
      // As the sum of names, values and 32 for each.
      let limit = 4 * 4096
      let sum = get.reduce(0) { $0 + $1.0.utf8.count + $1.1.utf8.count + 32 }
      let count = 12
      let rest = limit - sum + (isOver ? 1 : 0)
      let fields = (0..<count).map { place in
        let share = rest / count + (place < rest % count ? 1 : 0)
        return ("x", String(repeating: "v", count: share - 33))
      }
      let number = try ask(client, get + fields)
      let reception = try server.receive(try client.takeOutput())
      #expect(isOver ? reception == .flood : reception == .taken)
      #expect(server.streams[number]?.fields.count == get.count + count - (isOver ? 1 : 0))
      #expect(server.streams[number]?.isWhole == !isOver)
    }
  }

  @Test("a head that is not wanted is refused as not looked at")
  func refused() throws {
    try withPair { client, server in
      server.refusesHeads = true
      let number = try ask(client)
      try talk(client, server)
      let code = try #require(client.streams[number]?.code)
      #expect([HTTP2Error.refusedStream, HTTP2Error.internal].contains(code))
    }
  }

  @Test("a reset arrives with its code", arguments: [HTTP2Error.cancel, HTTP2Error.refusedStream, HTTP2Error.internal])
  func reset(_ code: UInt32) throws {
    try withPair { client, server in
      let number = try ask(client)
      try talk(client, server)
      try server.use { $0.reset(number, code) }
      try talk(client, server)
      #expect(client.streams[number]?.code == code)
      #expect(server.blamed.isEmpty, "a reset that blames nobody")
    }
  }

  @Test("streams that a GOAWAY leaves out are refused, those before it finish, and then the session is over")
  func goAway() throws {
    try withPair { client, server in
      let first = try ask(client)
      try talk(client, server)
      try server.use { $0.refuseMore() }
      let second = try ask(client)
      try talk(client, server)
      #expect(client.streams[second]?.code == HTTP2Error.refusedStream)
      try server.submit([(":status", "204")]) { $0.submitResponse(first, $1, hasBody: false) }
      try talk(client, server)
      #expect(client.streams[first]?.code == 0)
      #expect(try server.use { $0.isOver })
    }
  }

  @Test("a malformed head is blamed on its stream, a broken frame on the connection")
  func blame() throws {
    try withPair { client, server in
      _ = try ask(client, get + [("connection", "close")])
      try talk(client, server)
      #expect(server.blamed == [HTTP2Error.protocol] && server.invalid == 1)
      // DATA on stream 0.
      try server.receive([0, 0, 1, 0, 0, 0, 0, 0, 0, 0x78])
      _ = try server.takeOutput()
      #expect(server.blamed == [HTTP2Error.protocol, HTTP2Error.protocol])
      #expect(try server.use { $0.isOver })
    }
  }

  @Test("a header block without an end is a flood")
  func continuations() throws {
    try withPair { _, server in
      var reception = try server.receive([0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82])
      for _ in 0..<100 where reception == .taken { reception = try server.receive([0, 0, 0, 9, 0, 0, 0, 0, 1]) }
      #expect(reception == .flood)
    }
  }

  @Test("answers that nobody takes are a flood")
  func unread() throws {
    try withPair { _, server in
      var reception = HTTP2Session.Reception.taken
      let ping: [UInt8] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
      for _ in 0..<1000 where reception == .taken { reception = try server.receive(ping) }
      #expect(reception == .flood)
    }
  }

  @Test("cut anywhere, the same bytes mean the same")
  func cuts() throws {
    let client = try Side(isServer: false)
    defer { client.end() }
    let number = try ask(client, get + [("x", String(repeating: "y", count: 300))])
    let bytes = try client.takeOutput()
    for cut in stride(from: 0, to: bytes.count, by: 7) {
      let server = try Side(isServer: true)
      defer { server.end() }
      try server.receive(Array(bytes[..<cut]))
      try server.receive(Array(bytes[cut...]))
      #expect(server.streams[number]?.fields.count == 5 && server.streams[number]?.isWhole == true, "cut at \(cut)")
    }
  }

  @Test("what the caller notes of a stream is the stream's")
  func notes() throws {
    try withPair { client, _ in
      let (first, second) = (try ask(client), try ask(client))
      // A stream is there once its head has gone out.
      _ = try client.takeOutput()
      try client.use { session in
        session.setNote(7, of: first)
        session.setNote(9, of: second)
        #expect(session.note(of: first) == 7 && session.note(of: second) == 9 && session.note(of: 99) == 0)
      }
    }
  }

  @Test("the peer's limit of streams is known")
  func limit() throws {
    try withPair(streams: 3) { (client, _) throws in
      #expect(try client.use { $0.peersStreamLimit } == 3)
    }
  }
}
