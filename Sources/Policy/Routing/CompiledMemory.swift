// Memory of what is compiled: allocated while a table is built, read by all shards, freed with the table. Raw, because a
// class reference or an array on the data path is counted for every request.

/// Owns pieces of memory. Used by one thread while building; what it gave out is read-only from then on.
final class CompiledMemory {
  private var pieces: [UnsafeMutableRawPointer] = []

  deinit {
    for piece in pieces { piece.deallocate() }
  }

  /// A copy of `bytes`.
  func copy(_ bytes: some Collection<UInt8>) -> UnsafeRawBufferPointer {
    guard !bytes.isEmpty else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    copy.copyBytes(from: bytes)
    if let base = copy.baseAddress { pieces.append(base) }
    return UnsafeRawBufferPointer(copy)
  }

  func copy(_ text: String) -> UnsafeRawBufferPointer { copy(Array(text.utf8)) }

  /// A copy of `values`, which are trivial: nothing is destroyed with the memory.
  func copy<Value: BitwiseCopyable>(_ values: [Value]) -> UnsafeBufferPointer<Value> {
    guard !values.isEmpty else { return UnsafeBufferPointer(start: nil, count: 0) }
    let copy = UnsafeMutableBufferPointer<Value>.allocate(capacity: values.count)
    _ = copy.initialize(fromContentsOf: values)
    if let base = copy.baseAddress { pieces.append(UnsafeMutableRawPointer(base)) }
    return UnsafeBufferPointer(copy)
  }
}
