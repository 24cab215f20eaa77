// What a request is for: ways to read a logical name out of a head, tried in order until one applies. They are those of
// Linkerd 1, under the names it gave them, and Dapr's way of addressing an application.
//
//     host           /svc/<host>                       Host or :authority, without port unless asked for
//     method-host    /svc/1.1/<METHOD>/<host>          1.0 for a request in HTTP/1.0
//     path           /svc/<segment>[/<segment>…]       the first so many segments of the path; `consume` takes them off it
//     header         /svc/<value>                      a header field's value: a host, or a path that is appended
//     static         the name it says                  always applies
//     invoke         /svc/<app>                        /v1.0/invoke/<app>/method/<path>; the request goes on to /<path>
//
// What comes from a client is held to what a host may be: letters, digits, `-_~+` and dots between them. The segment behind
// /svc is in lower case, as in the delegation table.

public import HTTP

/// One way to identify a request.
public enum Identifier: Hashable, Sendable {
  /// - keepsPort: whether a port that the client names is part of the name.
  case host(keepsPort: Bool = false)
  case methodHost
  /// - segments: within `Identifier.segmentCounts`.
  /// - consume: whether these segments are taken off the path that is sent on.
  case path(segments: Int = 1, consume: Bool = false)
  /// - name: of the field, in lower case.
  case header(name: String = Identifier.defaultHeader)
  case fixed(Path)
  case invoke

  public static let defaultHeader = "l5d-name"
  public static let segmentCounts = 1...16
  /// How many may be tried one after the other.
  public static let maximumCount = 16
}

/// What a request is for, as far as its head says.
public enum Identification: Equatable, Sendable {
  /// The service of its host: the short way, for `HostIdentifier` and a cache of hosts.
  case host
  /// A logical name of so many bytes, which were written. `target` is the path and query to send on, when they change:
  /// a part of the head's bytes; where it does not begin with a slash, one belongs before it.
  case name(byteCount: Int, target: ByteRange?)
  /// The name that the identifier of this place in the list says.
  case fixed(Int)
  /// None applies.
  case none
  /// It says what cannot be a name.
  case refused
}

/// Identifiers in plain memory: a trivial handle, any number of threads may use it. Whoever built it calls `destroy()` once
/// nobody does any more.
public struct IdentifierTable: @unchecked Sendable {
  private struct Entry {
    var kind: Kind
    var consumes = false
    var segments = 0
    var text = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  private enum Kind: UInt8 { case host, methodHost, path, header, fixed, invoke }

  private let entries: UnsafeMutableBufferPointer<Entry>
  /// Whether the host alone decides, for every request.
  public let isHostOnly: Bool
  /// Whether hosts are named with their ports.
  public let keepsPort: Bool

  public init(_ identifiers: [Identifier]) {
    entries = .allocate(capacity: max(identifiers.count, 1))
    entries.initialize(repeating: Entry(kind: .host))
    if case .host = identifiers.first { isHostOnly = true } else { isHostOnly = identifiers.isEmpty }
    keepsPort = identifiers.contains(.host(keepsPort: true))
    for (index, identifier) in identifiers.enumerated() {
      switch identifier {
      case .host: entries[index].kind = .host
      case .methodHost: entries[index].kind = .methodHost
      case .path(let segments, let consume):
        entries[index] = Entry(kind: .path, consumes: consume, segments: segments)
      case .header(let name): entries[index] = Entry(kind: .header, text: .copied(name))
      case .fixed: entries[index].kind = .fixed
      case .invoke: entries[index].kind = .invoke
      }
    }
  }

  /// Frees the table.
  public func destroy() {
    for entry in entries where entry.text.baseAddress != nil { entry.text.deallocate() }
    entries.deallocate()
  }

  /// What a request is for. Allocates nothing.
  /// - Parameters:
  ///   - bytes: those `head` was parsed from.
  ///   - scratch: where a name is written; `Path.maximumByteCount` suffice for any.
  public func identify(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, scratch: UnsafeMutableRawBufferPointer
  ) -> Identification {
    if isHostOnly { return .host }
    for index in 0..<entries.count {
      var writer = NameWriter(scratch)
      let outcome: Outcome
      switch entries[index].kind {
      // A host that is none is the business of whoever looks it up; one that is not there leaves it to the next.
      case .host where head.authorityRange.isEmpty: outcome = .notApplicable
      case .host: return .host
      case .fixed: return .fixed(index)
      case .methodHost: outcome = methodHost(head, bytes, &writer)
      case .path: outcome = path(head, bytes, entries[index], &writer)
      case .header: outcome = header(head, bytes, entries[index].text, &writer)
      case .invoke: outcome = invoke(head, bytes, &writer)
      }
      switch outcome {
      case .notApplicable: continue
      case .refused: return .refused
      case .name(let target):
        if writer.isFull { return .refused }
        return .name(byteCount: writer.count, target: target)
      }
    }
    return .none
  }

  // MARK: The ways

  private enum Outcome {
    case name(target: ByteRange?)
    case notApplicable
    case refused
  }

  private func methodHost(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ writer: inout NameWriter
  ) -> Outcome {
    let host = head.authorityRange.slice(of: bytes)
    let method = head.methodRange.slice(of: bytes)
    if host.isEmpty { return .notApplicable }
    guard Self.isName(method[...]) else { return .refused }
    writer.append(head.version == .http10 ? "/svc/1.0/" : "/svc/1.1/")
    writer.append(method)
    writer.append(UInt8(ascii: "/"))
    do throws(HostRefusal) { try HostIdentifier.write(host, keepsPort: keepsPort, to: &writer) } catch {
      return .refused
    }
    return .name(target: nil)
  }

  private func path(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ entry: Entry, _ writer: inout NameWriter
  ) -> Outcome {
    let path = head.pathRange.slice(of: bytes)
    var offset = 0
    writer.append("/svc")
    for index in 0..<entry.segments {
      guard offset < path.count, path[offset] == UInt8(ascii: "/") else { return .notApplicable }
      let start = offset &+ 1
      let end = path[start...].firstIndex(of: UInt8(ascii: "/")) ?? path.count
      guard Self.isName(path[start..<end]) else { return .notApplicable }
      Self.append(path[start..<end], isFirst: index == 0, to: &writer)
      offset = end
    }
    return .name(target: entry.consumes ? Self.target(head, skipping: offset) : nil)
  }

  private func header(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer,
    _ writer: inout NameWriter
  ) -> Outcome {
    guard let index = head.fields.firstIndex(named: name, in: bytes) else { return .notApplicable }
    // Two values are two opinions.
    if head.fields.firstIndex(named: name, in: bytes, from: index &+ 1) != nil { return .refused }
    let value = head.fields[index].value.slice(of: bytes)
    writer.append("/svc")
    guard value.first == UInt8(ascii: "/") else {
      writer.append(UInt8(ascii: "/"))
      do throws(HostRefusal) { try HostIdentifier.write(value, keepsPort: keepsPort, to: &writer) } catch {
        return .refused
      }
      return .name(target: nil)
    }
    var offset = 0
    while offset < value.count {
      let start = offset &+ 1
      let end = value[start...].firstIndex(of: UInt8(ascii: "/")) ?? value.count
      guard Self.isName(value[start..<end]) else { return .refused }
      Self.append(value[start..<end], isFirst: offset == 0, to: &writer)
      offset = end
    }
    return .name(target: nil)
  }

  /// `/v1.0/invoke/<app>/method/<path>`
  private func invoke(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ writer: inout NameWriter
  ) -> Outcome {
    let path = head.pathRange.slice(of: bytes)
    guard Self.starts(path[...], with: "/v1.0/invoke/") else { return .notApplicable }
    let start = 13
    let end = path[start...].firstIndex(of: UInt8(ascii: "/")) ?? path.count
    guard Self.starts(path[end...], with: "/method") else { return .notApplicable }
    let rest = end &+ 7
    guard rest == path.count || path[rest] == UInt8(ascii: "/") else { return .notApplicable }
    guard Self.isName(path[start..<end]) else { return .refused }
    writer.append("/svc")
    Self.append(path[start..<end], isFirst: true, to: &writer)
    return .name(target: Self.target(head, skipping: rest))
  }

  // MARK: Helpers

  /// Path and query without the first bytes of the path, of which there are so many.
  private static func target(_ head: borrowing RequestHead, skipping count: Int) -> ByteRange {
    let whole = head.pathAndQueryRange
    let skipped = min(UInt32(truncatingIfNeeded: count), whole.length)
    return ByteRange(offset: whole.offset &+ skipped, length: whole.length &- skipped)
  }

  private static func append(_ segment: Slice<UnsafeRawBufferPointer>, isFirst: Bool, to writer: inout NameWriter) {
    writer.append(UInt8(ascii: "/"))
    for byte in segment {
      if isFirst { writer.append(lowercased: byte) } else { writer.append(byte) }
    }
  }

  /// What a host may be, dots at neither end.
  private static func isName(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
    guard bytes.count <= Path.maximumSegmentByteCount else { return false }
    do throws(HostRefusal) { try HostIdentifier.checkName(bytes) } catch { return false }
    return true
  }

  private static func starts(_ bytes: Slice<UnsafeRawBufferPointer>, with text: StaticString) -> Bool {
    guard bytes.count >= text.utf8CodeUnitCount else { return false }
    for index in 0..<text.utf8CodeUnitCount where bytes[bytes.startIndex &+ index] != text.utf8Start[index] {
      return false
    }
    return true
  }
}

extension UnsafeRawBufferPointer {
  fileprivate static func copied(_ text: String) -> UnsafeRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: text.utf8.count, alignment: 1)
    memory.copyBytes(from: text.utf8)
    return UnsafeRawBufferPointer(memory)
  }
}
