// The promise that no function a request passes through allocates or locks, checked by the compiler: release builds
// follow every call from here and fail where one could. (Debug builds cannot see through generic code.) Nothing calls
// this, so it is not in the program.

#if !DEBUG
  enum HotPath {
    @_noAllocation @_noLocks static func parse(
      _ bytes: UnsafeRawBufferPointer, _ request: inout RequestHead, _ response: inout ResponseHead,
      _ trailers: inout FieldTable, _ limits: HTTP1Limits
    ) -> Bool {
      var consumed = 0
      return HTTP1Parser.parseRequest(bytes, into: &request, limits: limits) == .complete
        && HTTP1Parser.parseResponse(
          bytes, into: &response, context: ResponseContext(method: request.method), limits: limits) == .complete
        && HTTP1Parser.parseTrailers(bytes, into: &trailers, limits: limits, consumed: &consumed) == .complete
        && request.countVia(pseudonym: bytes, in: bytes) == 0
    }

    @_noAllocation @_noLocks static func write(
      _ bytes: UnsafeRawBufferPointer, _ request: borrowing RequestHead, _ response: borrowing ResponseHead,
      _ trailers: borrowing FieldTable, into output: UnsafeMutableRawBufferPointer
    ) -> Int {
      (HTTP1Serializer.writeRequest(request, from: bytes, connection: .none, extra: bytes, into: output) ?? 0)
        &+ (HTTP1Serializer.writeResponse(
          response, from: bytes, framing: response.framing(towards: .http11), connection: .none, extra: bytes,
          into: output) ?? 0)
        &+ (HTTP1Serializer.writeTrailers(trailers, from: bytes, into: output) ?? 0)
        &+ (HTTP1Serializer.writeChunkHeader(1, into: output) ?? 0)
        &+ (HTTP1Serializer.writeLastChunk(into: output) ?? 0)
    }

    @_noAllocation @_noLocks static func edit(
      _ bytes: UnsafeRawBufferPointer, _ request: borrowing RequestHead, _ response: borrowing ResponseHead,
      _ edits: HeadEdits, into output: UnsafeMutableRawBufferPointer
    ) -> Int {
      (HTTP1Serializer.writeRequest(request, from: bytes, extra: bytes, edits: edits, into: output) ?? 0)
        &+ (HTTP1Serializer.writeResponse(
          response, from: bytes, framing: response.framing(towards: .http11), extra: bytes, edits: edits, into: output)
          ?? 0)
    }

    @_noAllocation @_noLocks static func frame(
      _ bytes: UnsafeRawBufferPointer, _ scanner: inout HeadScanner, _ decoder: inout ChunkedDecoder
    ) -> Bool {
      scanner.feed(bytes) == .incomplete && decoder.next(bytes, from: 0) == .needMore
    }
  }
#endif
