// The field names the proxy knows. A name is recognised by its length and two or three word comparisons, so that
// the rest of the proxy asks `kind == .host` instead of comparing strings.

/// A known field name. The order matters: the parsers note every field up to and with `l5d`, and pass over the rest.
public enum FieldName: UInt8, CaseIterable, Sendable {
  // Looked into by the parsers.
  case host, connection, contentLength, transferEncoding, te, upgrade, expect, via, traceparent
  // Connection fields that are dropped unseen.
  case keepAlive, proxyConnection, http2Settings
  // Fairlead's and Linkerd's own: any name that starts with `l5d-`.
  case l5d
  // Known end-to-end fields.
  case authorization, proxyAuthorization, proxyAuthenticate, wwwAuthenticate
  case cookie, setCookie, origin, referer, userAgent
  case forwarded, xForwardedFor, xForwardedHost, xForwardedPort, xForwardedProto, xRealIP, tracestate
  case accept, acceptEncoding, acceptLanguage
  case cacheControl, pragma, range, maxForwards
  case ifMatch, ifNoneMatch, ifRange, ifModifiedSince, ifUnmodifiedSince
  case age, date, etag, expires, lastModified, location, retryAfter, server, vary, warning
  case contentType, contentEncoding, contentRange, contentLocation, contentLanguage, contentDisposition
  case trailer
  /// Any other name.
  case other

  /// Concerns one connection only, or is framing: never passed on as it came (RFC 9110 7.6.1, RFC 9112 6).
  @inlinable public var isConnectionLevel: Bool {
    switch self {
    case .connection, .contentLength, .transferEncoding, .te, .upgrade, .keepAlive, .proxyConnection, .http2Settings:
      true
    default: false
    }
  }

  /// Whether the field stays although a Connection option nominates it. RFC 9110 7.6.1 forbids nominating a field
  /// meant for all recipients; honouring it would let a client strip, say, `Host` or `X-Forwarded-For`.
  var isProtected: Bool {
    switch self {
    case .other, .l5d: false
    case .connection, .contentLength, .transferEncoding, .te, .upgrade, .keepAlive, .proxyConnection, .http2Settings:
      false
    default: true
    }
  }

  /// Recognises the name at `start`. The answer is exact: a known name is also known to be a valid token, save that
  /// of `l5d` only the prefix was looked at.
  @inline(__always) static func recognise(_ view: ByteView, at start: Int, length: Int) -> FieldName {
    let first = view.word(at: start)
    if length >= 4, same(first & 0xFFFF_FFFF, packed("l5d-")) { return .l5d }
    if length < 8 {
      if length == 0 { return .other }
      return short(first & (~0 >> UInt64(truncatingIfNeeded: 64 &- 8 &* length)), length)
    }
    let last = view.word(at: start &+ length &- 8)
    return length < 17
      ? medium(first, last, length) : long(first, view.word(at: start &+ 8), last, length)
  }

  @inline(__always) private static func short(_ word: UInt64, _ length: Int) -> FieldName {
    switch length {
    case 2: if same(word, packed("te")) { return .te }
    case 3:
      if same(word, packed("via")) { return .via }
      if same(word, packed("age")) { return .age }
    case 4:
      if same(word, packed("host")) { return .host }
      if same(word, packed("date")) { return .date }
      if same(word, packed("etag")) { return .etag }
      if same(word, packed("vary")) { return .vary }
    case 5: if same(word, packed("range")) { return .range }
    case 6:
      if same(word, packed("accept")) { return .accept }
      if same(word, packed("server")) { return .server }
      if same(word, packed("cookie")) { return .cookie }
      if same(word, packed("origin")) { return .origin }
      if same(word, packed("expect")) { return .expect }
      if same(word, packed("pragma")) { return .pragma }
    case 7:
      if same(word, packed("upgrade")) { return .upgrade }
      if same(word, packed("referer")) { return .referer }
      if same(word, packed("expires")) { return .expires }
      if same(word, packed("trailer")) { return .trailer }
      if same(word, packed("warning")) { return .warning }
    default: break
    }
    return .other
  }

  @inline(__always) private static func medium(_ first: UInt64, _ last: UInt64, _ length: Int) -> FieldName {
    switch length {
    case 8:
      if same(first, packed("location")) { return .location }
      if same(first, packed("if-match")) { return .ifMatch }
      if same(first, packed("if-range")) { return .ifRange }
    case 9:
      if same(first, packed("forwarde")), same(last, packed("orwarded")) { return .forwarded }
      if same(first, packed("x-real-i")), same(last, packed("-real-ip")) { return .xRealIP }
    case 10:
      if same(first, packed("connecti")), same(last, packed("nnection")) { return .connection }
      if same(first, packed("user-age")), same(last, packed("er-agent")) { return .userAgent }
      if same(first, packed("keep-ali")), same(last, packed("ep-alive")) { return .keepAlive }
      if same(first, packed("set-cook")), same(last, packed("t-cookie")) { return .setCookie }
      if same(first, packed("tracesta")), same(last, packed("acestate")) { return .tracestate }
    case 11:
      if same(first, packed("tracepar")), same(last, packed("ceparent")) { return .traceparent }
      if same(first, packed("retry-af")), same(last, packed("ry-after")) { return .retryAfter }
    case 12:
      if same(first, packed("content-")), same(last, packed("ent-type")) { return .contentType }
      if same(first, packed("max-forw")), same(last, packed("forwards")) { return .maxForwards }
    case 13:
      if same(first, packed("authoriz")), same(last, packed("rization")) { return .authorization }
      if same(first, packed("cache-co")), same(last, packed("-control")) { return .cacheControl }
      if same(first, packed("last-mod")), same(last, packed("modified")) { return .lastModified }
      if same(first, packed("if-none-")), same(last, packed("ne-match")) { return .ifNoneMatch }
      if same(first, packed("content-")), same(last, packed("nt-range")) { return .contentRange }
    case 14:
      if same(first, packed("content-")), same(last, packed("t-length")) { return .contentLength }
      if same(first, packed("http2-se")), same(last, packed("settings")) { return .http2Settings }
    case 15:
      if same(first, packed("accept-e")), same(last, packed("encoding")) { return .acceptEncoding }
      if same(first, packed("accept-l")), same(last, packed("language")) { return .acceptLanguage }
      if same(first, packed("x-forwar")), same(last, packed("rded-for")) { return .xForwardedFor }
    case 16:
      if same(first, packed("x-forwar")), same(last, packed("ded-host")) { return .xForwardedHost }
      if same(first, packed("x-forwar")), same(last, packed("ded-port")) { return .xForwardedPort }
      if same(first, packed("content-")), same(last, packed("encoding")) { return .contentEncoding }
      if same(first, packed("content-")), same(last, packed("language")) { return .contentLanguage }
      if same(first, packed("content-")), same(last, packed("location")) { return .contentLocation }
      if same(first, packed("proxy-co")), same(last, packed("nnection")) { return .proxyConnection }
      if same(first, packed("www-auth")), same(last, packed("enticate")) { return .wwwAuthenticate }
    default: break
    }
    return .other
  }

  @inline(__always)
  private static func long(_ first: UInt64, _ middle: UInt64, _ last: UInt64, _ length: Int) -> FieldName {
    switch length {
    case 17:
      if same(first, packed("transfer")), same(middle, packed("-encodin")), same(last, packed("encoding")) {
        return .transferEncoding
      }
      if same(first, packed("x-forwar")), same(middle, packed("ded-prot")), same(last, packed("ed-proto")) {
        return .xForwardedProto
      }
      if same(first, packed("if-modif")), same(middle, packed("ied-sinc")), same(last, packed("ed-since")) {
        return .ifModifiedSince
      }
    case 18:
      if same(first, packed("proxy-au")), same(middle, packed("thentica")), same(last, packed("enticate")) {
        return .proxyAuthenticate
      }
    case 19:
      if same(first, packed("proxy-au")), same(middle, packed("thorizat")), same(last, packed("rization")) {
        return .proxyAuthorization
      }
      if same(first, packed("content-")), same(middle, packed("disposit")), same(last, packed("position")) {
        return .contentDisposition
      }
      if same(first, packed("if-unmod")), same(middle, packed("ified-si")), same(last, packed("ed-since")) {
        return .ifUnmodifiedSince
      }
    default: break
    }
    return .other
  }
}

/// Up to eight characters as a little-endian word; a constant after optimisation.
@inline(__always) func packed(_ text: StaticString) -> UInt64 {
  var word: UInt64 = 0
  let count = min(text.utf8CodeUnitCount, 8)
  for index in 0..<count {
    // Bounded by the string's own length.
    word |= UInt64(text.utf8Start[index]) << UInt64(8 &* index)
  }
  return word
}

/// Whether `word` is `lower` (lower case) when the case of letters is ignored, and only of letters: 0x20 is set just
/// where the expected character has 0x40, so CR cannot pass for `-`.
@inline(__always) func same(_ word: UInt64, _ lower: UInt64) -> Bool {
  word | ((lower >> 1) & 0x2020_2020_2020_2020) == lower
}
