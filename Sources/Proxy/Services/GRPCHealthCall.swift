// One call of `grpc.health.v1.Health/Check` (gRPC's "Health Checking Protocol"), over HTTP/2 with prior knowledge. No I/O: what the
// endpoint sent goes in, what it is to be sent comes out, and at the end there is a verdict.
//
//   HEADERS  POST /grpc.health.v1.Health/Check             HEADERS  :status 200
//   DATA     0 | length | HealthCheckRequest         ──►   DATA     0 | length | HealthCheckResponse
//                                                          HEADERS  grpc-status 0
//
// The messages are protobuf, of one field each: the service's name, and a number that says how it is.

import Base
import HTTP
import Policy

/// What calls are made with: it lives as long as one of them does. The control thread's own.
final class GRPCHealthClient {
  fileprivate let settings: HTTP2Settings
  fileprivate let memory: HTTP2Memory

  /// Nil when there is no memory.
  ///
  /// - Parameter calls: about how many are under way at once.
  init?(calls: Int) {
    guard let settings = HTTP2Settings(.ofHealthCalls, headerListBytes: 16_384),
      let memory = try? HTTP2Memory(sessions: UInt32(clamping: calls))
    else { return nil }
    self.settings = settings
    self.memory = memory
  }

  deinit { memory.destroy() }
}

/// A call under way. The control thread's own; a class, since its session calls back.
final class GRPCHealthCall {
  /// Nil while the answer has not come.
  private(set) var verdict: Result<Void, CheckFailure>?
  private let client: GRPCHealthClient
  private var session: HTTP2Session?
  private var stream: Int32 = 0
  /// What is left of the request's body.
  private var request: [UInt8]
  private var output: [UInt8] = []
  private var status: UInt16 = 0
  private var grpcStatus: GRPCStatus?
  private var answer: [UInt8] = []

  /// Nil when there is no memory.
  ///
  /// - Parameters:
  ///   - service: whose health is asked for; empty for the server's as a whole.
  ///   - authority: what the call's `:authority` says.
  init?(service: String, authority: String, timeout: Duration, _ client: GRPCHealthClient) {
    self.client = client
    request = HealthMessage.request(service: service)
    session = HTTP2Session(
      isServer: false, client.settings, context: Unmanaged.passUnretained(self).toOpaque(), memory: client.memory)
    guard let session else { return nil }
    let wait = Array("\(min(max(timeout.wholeNanoseconds / 1_000_000, 1), 99_999_999))m".utf8)
    let number = Array(authority.utf8).withUnsafeBytes { authority in
      wait.withUnsafeBytes { wait in
        var fields = HTTP2Fields(maximumFields: 8)
        fields.add(":method", "POST")
        fields.add(":scheme", "http")
        fields.add(":authority", authority)
        fields.add(":path", "/grpc.health.v1.Health/Check")
        fields.add("content-type", "application/grpc")
        fields.add("te", "trailers")
        fields.add("grpc-timeout", wait)
        fields.add("user-agent", "fairlead-health-check")
        return session.submitRequest(fields, hasBody: true)
      }
    }
    guard let number else { return nil }
    stream = number
  }

  deinit { session?.destroy() }

  /// Takes what the endpoint sent.
  func receive(_ bytes: UnsafeRawBufferPointer) {
    guard verdict == nil, let session else { return }
    if case .taken = session.receive(bytes) { return }
    settle(.failure(.garbage))
  }

  /// What is to be sent now; empty for nothing.
  func takeOutput() -> [UInt8] {
    guard let session else { return [] }
    while let frames = session.nextFrame() { output += frames }
    // It speaks something else, or its rules were broken: no answer can come any more.
    if session.isOver { settle(.failure(.garbage)) }
    defer { output = [] }
    return output
  }

  /// The call is over: its end is the next output.
  func end() { session?.terminate(HTTP2Error.none) }

  // MARK: What the session tells

  fileprivate func took(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
    if name.elementsEqual(":status".utf8) {
      status = value.count == 3 ? UInt16(String(decoding: value, as: UTF8.self)) ?? 0 : 0
    } else if name.elementsEqual("grpc-status".utf8) {
      grpcStatus = GRPCStatus(parsing: UnsafeRawBufferPointer(value))
    }
  }

  fileprivate func took(_ bytes: UnsafeBufferPointer<UInt8>) {
    answer += bytes
    if answer.count > GRPCHealthCall.answerLimit { settle(.failure(.garbage)) }
  }

  /// The response is whole.
  fileprivate func ended() {
    if status != 200 {
      settle(.failure(.status(status)))
    } else if let grpcStatus {
      settle(
        grpcStatus == .ok
          ? HealthMessage.verdict(answer) : .failure(.grpcStatus(grpcStatus)))
    } else {
      settle(.failure(.garbage))
    }
  }

  fileprivate func closed(_ number: Int32) {
    if number == stream { settle(.failure(.closed)) }
  }

  fileprivate func send(_ header: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    guard count <= request.count else { return false }
    output += UnsafeBufferPointer(start: header, count: 9)
    output += request.prefix(count)
    request.removeFirst(count)
    return true
  }

  fileprivate func supply(_ room: Int) -> Int {
    request.count <= room ? HTTP2Supply.last(request.count, trailers: false) : HTTP2Supply.some(room)
  }

  private func settle(_ verdict: Result<Void, CheckFailure>) {
    if self.verdict == nil { self.verdict = verdict }
  }

  /// An answer has a handful of bytes; a server may add fields that nobody here knows.
  private static let answerLimit = 16_384
}

extension HTTP2Handlers {
  fileprivate static let ofHealthCalls = HTTP2Handlers(
    headBegan: { _, _ in true },
    field: { context, _, name, nameCount, value, valueCount in
      call(context).took(
        UnsafeBufferPointer(start: name, count: nameCount), UnsafeBufferPointer(start: value, count: valueCount))
    },
    headEnded: { context, _, endsStream in if endsStream { call(context).ended() } },
    data: { context, _, bytes, count in call(context).took(UnsafeBufferPointer(start: bytes, count: count)) },
    ended: { context, _ in call(context).ended() },
    closed: { context, stream, _ in call(context).closed(stream) },
    began: { _, _ in true },
    received: { _, _, _, _, _ in true },
    invalid: { _, _ in true },
    supply: { context, _, room in call(context).supply(room) },
    sendData: { context, _, header, count in call(context).send(header, count) },
    sent: { _, _ in },
    blamed: { _, _, _ in })
}

/// The session is the call's own, and ends with it.
private func call(_ context: HTTP2Handlers.Context) -> GRPCHealthCall {
  Unmanaged.fromOpaque(context).takeUnretainedValue()
}

/// The two messages of a check, each behind gRPC's own five bytes: compressed or not, and the length.
enum HealthMessage {
  /// `message HealthCheckRequest { string service = 1; }`
  static func request(service: String) -> [UInt8] {
    let name = Array(service.utf8)
    var message: [UInt8] = []
    if !name.isEmpty {
      message.append(0x0A)
      appendVarint(UInt64(name.count), to: &message)
      message += name
    }
    let length = UInt32(truncatingIfNeeded: message.count)
    return [0] + withUnsafeBytes(of: length.bigEndian) { Array($0) } + message
  }

  /// `message HealthCheckResponse { ServingStatus status = 1; }`, where 1 is SERVING.
  static func verdict(_ bytes: [UInt8]) -> Result<Void, CheckFailure> {
    guard bytes.count >= 5, bytes[0] == 0 else { return .failure(.garbage) }
    let length = bytes[1..<5].reduce(0) { $0 << 8 | Int($1) }
    guard length == bytes.count - 5, let status = status(of: bytes.dropFirst(5)) else { return .failure(.garbage) }
    return status == 1 ? .success(()) : .failure(.notServing(status))
  }

  /// The last value of field 1, as protobuf has it; 0 where there is none. Nil for what is no message.
  private static func status(of message: ArraySlice<UInt8>) -> UInt64? {
    var rest = message
    var status: UInt64 = 0
    while !rest.isEmpty {
      guard let key = takeVarint(&rest) else { return nil }
      switch key & 7 {
      case 0:
        guard let value = takeVarint(&rest) else { return nil }
        if key >> 3 == 1 { status = value }
      case 1, 5:
        let count = key & 7 == 1 ? 8 : 4
        guard rest.count >= count else { return nil }
        rest = rest.dropFirst(count)
      case 2:
        guard let length = takeVarint(&rest), length <= UInt64(rest.count) else { return nil }
        rest = rest.dropFirst(Int(length))
      default: return nil
      }
    }
    return status
  }

  private static func takeVarint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = bytes.popFirst() else { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
    }
    return nil
  }

  private static func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
    var value = value
    while value >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: value))
  }
}
