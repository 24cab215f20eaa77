// The table of fields of one head: ranges, what is known about each name, and whether the field goes on to the
// next hop. The storage is allocated once and reused for every head a shard sees.

/// One field line. All offsets are in bytes from the start of the head's bytes.
public struct Field: Equatable, Sendable {
  /// The name as it was written.
  public var name: ByteRange
  /// The value without the whitespace around it.
  public var value: ByteRange
  /// One past the line's CRLF. The line starts with its name, and HTTP/1 lines follow each other without a gap.
  public var lineEnd: UInt32
  public var kind: FieldName
  /// Whether the field is passed on as it is. False for what concerns this connection only (RFC 9110 7.6.1), for
  /// framing, which the serializer always writes anew, and for requests' `l5d-*`.
  public var isForwarded: Bool

  @inlinable public init(name: ByteRange, value: ByteRange, lineEnd: UInt32, kind: FieldName, isForwarded: Bool) {
    self.name = name
    self.value = value
    self.lineEnd = lineEnd
    self.kind = kind
    self.isForwarded = isForwarded
  }

  @inlinable public var lineStart: UInt32 { name.offset }
}

/// The fields of one head, in the order they came. Owns its storage, never grows, belongs to one thread.
public struct FieldTable: ~Copyable {
  @usableFromInline let storage: UnsafeMutablePointer<Field>
  /// How many fields fit.
  public let capacity: Int
  public private(set) var count: Int

  /// Room for `capacity` fields (24 bytes each), allocated here and freed with the table.
  public init(capacity: Int) {
    self.capacity = max(capacity, 0)
    storage = .allocate(capacity: self.capacity)
    count = 0
  }

  deinit { storage.deallocate() }

  @inlinable public subscript(index: Int) -> Field {
    // The storage is initialised below `count`; an index outside is a bug of ours.
    precondition(index >= 0 && index < count, "field index out of range")
    return storage[index]
  }

  /// Forgets all fields.
  @inline(__always) public mutating func removeAll() { count = 0 }

  /// Adds a field at the end; false when the table is full.
  @inline(__always) public mutating func append(_ field: Field) -> Bool {
    guard count < capacity else { return false }
    // Bounded by the check above; `Field` is trivial, so assignment may initialise.
    storage[count] = field
    count &+= 1
    return true
  }

  /// Changes whether the field at `index` is passed on.
  mutating func setForwarded(_ isForwarded: Bool, at index: Int) {
    precondition(index >= 0 && index < count, "field index out of range")
    storage[index].isForwarded = isForwarded
  }

  /// The index of the first field of this kind at or after `start`; nil when there is none. Not for `.other`.
  @inlinable public func firstIndex(of kind: FieldName, from start: Int = 0) -> Int? {
    var index = max(start, 0)
    while index < count {
      // Bounded by the loop's condition.
      if storage[index].kind == kind { return index }
      index &+= 1
    }
    return nil
  }

  /// The index of the first field whose name is `name` without regard to case, at or after `start`.
  /// `bytes` are the bytes of the head; works for every name, known or not.
  public func firstIndex(
    named name: UnsafeRawBufferPointer, in bytes: UnsafeRawBufferPointer, from start: Int = 0
  ) -> Int? {
    var index = max(start, 0)
    while index < count {
      let range = storage[index].name
      if range.count == name.count, equalIgnoringCase(range.slice(of: bytes), name) { return index }
      index &+= 1
    }
    return nil
  }
}

/// Whether two byte strings are equal when ASCII letters' case is ignored.
public func equalIgnoringCase(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  guard a.count == b.count else { return false }
  for index in 0..<a.count where lowercased(a[index]) != lowercased(b[index]) { return false }
  return true
}

@inline(__always) func lowercased(_ byte: UInt8) -> UInt8 {
  byte &- 0x41 < 26 ? byte | 0x20 : byte
}
