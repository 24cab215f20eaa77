// What is changed on a head on its way through: fields that go, lines that come, another target, another host. Who makes
// the edits answers for their bytes (no CR, LF or NUL in a value, tokens as names) and for leaving alone what the serializer
// writes itself: framing, and what concerns one connection.

/// Changes to a head. A trivial value; it points into memory of whoever made it, which must stay for the call.
@frozen public struct HeadEdits {
  /// Names, without regard to case, of fields that are left out.
  public var removed: UnsafeBufferPointer<UnsafeRawBufferPointer>
  /// Whole lines, each with its CRLF, that are added behind the forwarded ones.
  public var added: UnsafeRawBufferPointer
  /// Stands in the request line in the target's place, unless it is empty. Requests only.
  public var target: UnsafeRawBufferPointer
  /// `host[:port]` that Host says in its place, unless it is empty. Requests only.
  public var host: UnsafeRawBufferPointer

  /// No change.
  @inlinable public init() {
    removed = UnsafeBufferPointer(start: nil, count: 0)
    added = UnsafeRawBufferPointer(start: nil, count: 0)
    target = UnsafeRawBufferPointer(start: nil, count: 0)
    host = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  @inlinable public init(
    removed: UnsafeBufferPointer<UnsafeRawBufferPointer>, added: UnsafeRawBufferPointer,
    target: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    host: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    self.removed = removed
    self.added = added
    self.target = target
    self.host = host
  }

  @inlinable public var isEmpty: Bool { removed.isEmpty && added.isEmpty && target.isEmpty && host.isEmpty }

  /// The bytes that they can add to a head, at most.
  @inlinable public var addedByteCount: Int { added.count &+ target.count &+ host.count }

  /// Whether the field is one of those that go.
  func removes(_ field: Field, _ bytes: UnsafeRawBufferPointer) -> Bool {
    for name in removed where name.count == field.name.count {
      if equalIgnoringCase(field.name.slice(of: bytes), name) { return true }
    }
    return false
  }
}
