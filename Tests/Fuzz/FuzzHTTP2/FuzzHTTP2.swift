// A libFuzzer target: any bytes as what a client sends on an HTTP/2 connection, behind the preface. The session, the text that
// heads become and the parser that judges it must hold whatever comes; every head that passes is answered, so that what goes out
// is exercised as well. The first byte says where the rest is cut in two.

import Glibc
import HTTP

/// What the session's handlers work on.
private final class Server {
  var session: HTTP2Session?
  var text: HTTP2HeadText?
  let room = UnsafeMutableRawPointer.allocate(byteCount: Server.capacity, alignment: 1)
  /// Streams whose request is there, and how many bytes came on them.
  var ready: [Int32] = []
  var received = 0
  var consumed: [(Int32, Int)] = []
  var left: [Int32: Int] = [:]
  static let capacity = 4096

  deinit { room.deallocate() }

  func answer() {
    guard let session else { return }
    for (stream, count) in consumed { session.consume(stream, count) }
    consumed = []
    for stream in ready {
      var fields = HTTP2Fields(maximumFields: 4)
      fields.add(status: 200)
      fields.add("x-name", "value")
      left[stream] = 1000
      _ = session.submitResponse(stream, fields, hasBody: true)
    }
    ready = []
    var count = 0
    while let frames = session.nextFrame() {
      count += frames.count
      precondition(count < 1 << 26, "output without an end")
    }
  }
}

private func server(_ context: HTTP2Handlers.Context) -> Server { Unmanaged.fromOpaque(context).takeUnretainedValue() }

private let handlers = HTTP2Handlers(
  headBegan: { context, stream in
    let server = server(context)
    server.text = HTTP2HeadText(
      server.left[stream] == nil ? .request : .trailers, in: server.room, capacity: Server.capacity)
    return stream % 32 != 31
  },
  field: { context, _, name, nameCount, value, valueCount in
    server(context).text?.add(
      name: UnsafeRawBufferPointer(start: name, count: nameCount),
      value: UnsafeRawBufferPointer(start: value, count: valueCount))
  },
  headEnded: { context, stream, endsStream in
    let server = server(context)
    guard var text = server.text else { return }
    switch text.finish(endsStream: endsStream) {
    case .complete(let count):
      precondition(count <= Server.capacity)
      check(UnsafeRawBufferPointer(start: server.room, count: count), text.kind)
      if text.kind == .request {
        server.left[stream] = 0
        server.ready.append(stream)
      }
    case .malformed, .tooLong: server.session?.reset(stream, HTTP2Error.protocol)
    }
    server.text = nil
  },
  data: { context, stream, _, count in
    server(context).received += count
    server(context).consumed.append((stream, count))
  },
  ended: { _, _ in },
  closed: { context, stream, _ in server(context).left[stream] = 0 },
  began: { _, _ in true },
  received: { _, _, _, count, _ in
    precondition(count >= 0)
    return true
  },
  invalid: { _, _ in true },
  supply: { context, stream, room in
    let count = min(server(context).left[stream] ?? 0, room)
    server(context).left[stream, default: 0] -= count
    return HTTP2Supply.last(count, trailers: false)
  },
  sendData: { _, _, _, _ in true },
  sent: { _, _ in },
  blamed: { _, _, _ in })

/// Text that passed is one head, whatever the parser thinks of it: no line ends before its end.
private func check(_ bytes: UnsafeRawBufferPointer, _ kind: HTTP2HeadText.Kind) {
  var scanner = HeadScanner()
  if kind != .trailers {
    precondition(scanner.feed(bytes) == .complete(bytes.count), "the text is not one head")
    var head = RequestHead(maximumFields: 64)
    switch HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits(headerBytes: 8192, headers: 64)) {
    case .complete: precondition(head.headLength == bytes.count)
    case .refused: break
    case .incomplete: fatalError("a whole head is incomplete")
    }
    return
  }
  var fields = FieldTable(capacity: 64)
  var consumed = 0
  if HTTP1Parser.parseTrailers(bytes, into: &fields, limits: HTTP1Limits(), consumed: &consumed) == .complete {
    precondition(consumed == bytes.count)
  }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard size > 0, let data else { return 0 }
  guard let settings = HTTP2Settings(handlers, headerListBytes: 4096), let memory = try? HTTP2Memory(sessions: 1) else {
    return 0
  }
  let server = Server()
  server.session = HTTP2Session(
    isServer: true, settings, context: Unmanaged.passUnretained(server).toOpaque(), memory: memory)
  if let session = server.session {
    let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    _ = session.receive(UnsafeRawBufferPointer(start: preface.utf8Start, count: preface.utf8CodeUnitCount))
    let bytes = UnsafeRawBufferPointer(start: data + 1, count: size - 1)
    let cut = bytes.isEmpty ? 0 : Int(data[0]) * bytes.count / 256
    for part in [bytes[..<cut], bytes[cut...]] {
      let isTaken = session.receive(UnsafeRawBufferPointer(rebasing: part)) == .taken
      server.answer()
      if !isTaken || session.isOver { break }
    }
    session.destroy()
  }
  memory.destroy()
  return 0
}

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzHTTP2 {
  static func main() {
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(runDriver(&count, &arguments, fuzzOneInput))
  }
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ testOneInput: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
