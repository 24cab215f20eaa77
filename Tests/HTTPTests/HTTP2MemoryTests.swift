// The pool behind HTTP/2 sessions, seen through sessions: what they take they give back.

import HTTP
import Testing

@Suite("HTTP2Memory")
struct HTTP2MemoryTests {
  @Test("sessions that come and go take what the ones before gave back, and leave nothing")
  func sessions() throws {
    // Some sessions get pages of their own, the others do without.
    let memory = try HTTP2Memory(sessions: 2)
    let handlers = try #require(HTTP2Settings(.silent, headerListBytes: 4096))
    var context = 0
    try withUnsafeMutableBytes(of: &context) { context throws in
      let address = try #require(context.baseAddress)
      for count in [1, 50, 3] {
        var sessions: [HTTP2Session] = []
        for place in 0..<count {
          sessions.append(
            try #require(HTTP2Session(isServer: place % 2 == 0, handlers, context: address, memory: memory)))
        }
        for session in sessions {
          var frames = 0
          while session.nextFrame() != nil { frames += 1 }
          #expect(frames > 0)
          // Whoever has rested can go on.
          session.rest()
          session.ping()
          #expect(session.nextFrame()?.count == 17 && session.nextFrame() == nil)
          session.destroy()
        }
      }
    }
    memory.destroy()
  }
}

extension HTTP2Handlers {
  /// Nothing comes of anything.
  static let silent = HTTP2Handlers(
    headBegan: { _, _ in true }, field: { _, _, _, _, _, _ in }, headEnded: { _, _, _ in }, data: { _, _, _, _ in },
    ended: { _, _ in }, closed: { _, _, _ in }, began: { _, _ in true }, received: { _, _, _, _, _ in true },
    invalid: { _, _ in true }, supply: { _, _, _ in HTTP2Supply.later }, sendData: { _, _, _, _ in true },
    sent: { _, _ in }, blamed: { _, _, _ in })
}
