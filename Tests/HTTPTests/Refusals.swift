// Every way in which a head can be wrong, as tables: the bytes and the reason they are refused for. Used by the tests
// of the parsers, of splits and of the scanner.

import HTTP
import Testing

struct RefusedHead: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  var refusal: Refusal

  init(_ string: String, _ refusal: Refusal) {
    bytes = Array(string.utf8)
    self.refusal = refusal
  }

  init(_ before: String, _ byte: UInt8, _ after: String, _ refusal: Refusal) {
    bytes = Array(before.utf8) + [byte] + Array(after.utf8)
    self.refusal = refusal
  }

  var testDescription: String { "\(refusal.identifier) \(String(decoding: bytes, as: UTF8.self).debugDescription)" }
}

private let get = "GET / HTTP/1.1\r\nHost: a\r\n"
private let post = "POST / HTTP/1.1\r\nHost: a\r\n"

/// Requests with the default limits.
let refusedRequests: [RefusedHead] = startLines + targets + lines + hosts + framing + smuggling

private let startLines: [RefusedHead] = [
  .init("\r\n\r\nGET / HTTP/1.1\r\n\r\n", .badMethod),
  .init(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
  .init("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
  .init("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
  .init("GET\r\nHost: a\r\n\r\n", .badMethod),
  .init("GET/ HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
  .init("\u{16}\u{3}\u{1}\u{2}", .badMethod),
  .init("G\0T / HTTP/1.1\r\n\r\n", .nulByte),
  .init("\r\rGET / HTTP/1.1\r\n\r\n", .bareCarriageReturn),
  .init("\nGET / HTTP/1.1\r\n\r\n", .badMethod),
  .init("GET /\r\n\r\n", .badVersion),
  .init("GET / \r\n\r\n", .badVersion),
  .init("GET / http/1.1\r\n\r\n", .badVersion),
  .init("GET / HTTP/1.1 \r\n\r\n", .badVersion),
  .init("GET /  HTTP/1.1\r\n\r\n", .badVersion),
  .init("GET / x HTTP/1.1\r\n\r\n", .badVersion),
  .init("GET / HTTP/11\r\n\r\n", .badVersion),
  .init("GET / HTTP/1.\r\n\r\n", .badVersion),
  .init("GET / HTTP/1.10\r\n\r\n", .badVersion),
  .init("GET / HTTP/+1.1\r\n\r\n", .badVersion),
  .init("GET / HTTP/1.1\n\r\n", .bareLineFeed),
  .init("GET / HTTP/1.1\rX\r\n", .bareCarriageReturn),
  .init("GET / HTTP/1.1\0\r\n", .nulByte),
  .init("GET / HTTP/0.9\r\n\r\n", .unsupportedVersion),
  .init("GET / HTTP/1.2\r\nHost: a\r\n\r\n", .unsupportedVersion),
  .init("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion),
  .init("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .unsupportedVersion),
]

private let targets: [RefusedHead] = [
  .init("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a\u{7}b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a\u{7F}b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /caf\u{E9} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /", 0xFF, " HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /", 0x80, " HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a?b\u{1}c HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET /a\0 HTTP/1.1\r\nHost: a\r\n\r\n", .nulByte),
  .init("GET /a\n HTTP/1.1\r\nHost: a\r\n\r\n", .bareLineFeed),
  .init("GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", .bareCarriageReturn),
  .init("GET a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("CONNECT a:80/x HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
  .init("CONNECT http://a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
]

private let lines: [RefusedHead] = [
  .init("\(get)X: a\rb\r\n\r\n", .bareCarriageReturn),
  .init("\(get)X: a\r\r\n\r\n", .bareCarriageReturn),
  .init("\(get)X\ra: b\r\n\r\n", .bareCarriageReturn),
  .init("\(get)\rX: b\r\n\r\n", .bareCarriageReturn),
  .init("\(get)X: a\nY: b\r\n\r\n", .bareLineFeed),
  .init("\(get)X: a\n\n", .bareLineFeed),
  .init("\(get)X\n: a\r\n\r\n", .bareLineFeed),
  .init("\(get)\n\r\n", .bareLineFeed),
  .init("\(get)X: a\0b\r\n\r\n", .nulByte),
  .init("\(get)X\0: a\r\n\r\n", .nulByte),
  .init("\(get)X: a\u{1}b\r\n\r\n", .controlByte),
  .init("\(get)X: \u{B}\r\n\r\n", .controlByte),
  .init("\(get)X: \u{1F}\r\n\r\n", .controlByte),
  .init("\(get)X: a\u{7F}\r\n\r\n", .controlByte),
  .init("\(get): a\r\n\r\n", .emptyFieldName),
  .init("GET / HTTP/1.1\r\n:\r\n\r\n", .emptyFieldName),
  .init("\(get)X : a\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)X\t: a\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)X Y: a\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)Content-Length : 5\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)Transfer-Encoding\t: chunked\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)X(Y): a\r\n\r\n", .badFieldName),
  .init("\(get)\"X\": a\r\n\r\n", .badFieldName),
  .init("\(get)X\u{7F}: a\r\n\r\n", .badFieldName),
  .init("\(get)X", 0xE9, ": a\r\n\r\n", .badFieldName),
  .init("\(get)l5d-a b: a\r\n\r\n", .whitespaceInFieldName),
  .init("\(get)l5d-[]: a\r\n\r\n", .badFieldName),
  .init("\(get)content\rlength: 1\r\n\r\n", .bareCarriageReturn),
  .init("\(get)X\r\n\r\n", .missingColon),
  .init("\(get)X\r\nY: a\r\n\r\n", .missingColon),
  .init("\(get)X: a\r\n b\r\n\r\n", .lineFolding),
  .init("\(get)X: a\r\n\tb: c\r\n\r\n", .lineFolding),
  .init("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .lineFolding),
]

private let hosts: [RefusedHead] =
  [
    .init("GET / HTTP/1.1\r\n\r\n", .missingHost),
    .init("GET http://a/ HTTP/1.1\r\n\r\n", .missingHost),
    .init("CONNECT a:80 HTTP/1.1\r\n\r\n", .missingHost),
    .init("\(get)Host: a\r\n\r\n", .duplicateHost),
    .init("\(get)host: b\r\n\r\n", .duplicateHost),
    .init("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost),
  ]
  + [
    "", " ", ":80", "a b", "a,b", "a/b", "a@b", "u:p@a", "a:b", "a:80:80", "a:65536", "a:8000000000000000000000",
    "a:-1",
    "a:+1", "a: 80", "a?b", "a#b", "a\\b", "a%", "a%2", "a%2g", "<a>", "[", "[]", "[::1", "::1", "[::1]x", "[::1]:x",
    "[:1]", "[1:]", "[:::]", "[1::2::3]", "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7::8]", "[12345::]",
    "[g::]", "[::1.2.3]", "[::1.2.3.4.5]", "[::256.0.0.1]", "[::1.2.3.4:5]", "[fe80::1%25eth0]", "[v1.a]", "\u{E9}",
  ].map { RefusedHead("GET / HTTP/1.1\r\nHost: \($0)\r\n\r\n", .badHost) }

private let framing: [RefusedHead] =
  [
    .init("\(post)Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", .lengthAndTransferEncoding),
    .init("\(post)Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", .lengthAndTransferEncoding),
    .init("\(post)Content-Length: 1\r\nContent-Length: 2\r\n\r\n", .duplicateContentLength),
    .init("\(post)Content-Length: 1\r\ncontent-length: 1\r\n\r\n", .duplicateContentLength),
    .init("\(post)Content-Length: 9223372036854775808\r\n\r\n", .contentLengthOverflow),
    .init("\(post)Content-Length: 18446744073709551616\r\n\r\n", .contentLengthOverflow),
    .init("\(post)Content-Length: 184467440737095516150\r\n\r\n", .contentLengthOverflow),
    .init("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10),
    .init("\(post)Transfer-Encoding:\r\n\r\n", .emptyTransferEncoding),
    .init("\(post)Transfer-Encoding: ,chunked\r\n\r\n", .emptyTransferEncoding),
    .init("\(post)Transfer-Encoding: chunked,\r\n\r\n", .emptyTransferEncoding),
    .init("\(post)Transfer-Encoding: gzip\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: gzip, chunked\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: identity\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: xchunked\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: chunked;q=1\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: \"chunked\"\r\n\r\n", .unknownTransferCoding),
    .init("\(post)Transfer-Encoding: chunked, gzip\r\n\r\n", .chunkedNotLast),
    .init("\(post)Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", .chunkedNotLast),
    .init("\(post)Transfer-Encoding: chunked, chunked\r\n\r\n", .chunkedTwice),
    .init("\(post)Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", .chunkedTwice),
    .init(
      "\(get)Connection: \((0..<33).map { "a\($0)" }.joined(separator: ","))\r\n\r\n", .tooManyConnectionOptions),
  ]
  + [
    "", " ", "+1", "-1", "0x10", "1a", "1 2", "1,1", "1, 1", "1.0", "1e3", "\u{662}", "five", ";1", "1;",
  ].map { RefusedHead("\(post)Content-Length: \($0)\r\n\r\n", .badContentLength) }

/// The classics: each tries to make two parsers see two different bodies or hosts.
private let smuggling: [RefusedHead] = [
  .init("\(post)Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\nQ", .lengthAndTransferEncoding),
  .init("\(post)Content-Length: 6\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nX", .whitespaceInFieldName),
  .init("\(post)Transfer-Encoding:\u{B}chunked\r\n\r\n", .controlByte),
  .init("\(post)X: a\nTransfer-Encoding: chunked\r\n\r\n", .bareLineFeed),
  .init("\(post)X: a\rTransfer-Encoding: chunked\r\n\r\n", .bareCarriageReturn),
  .init("\(post)Transfer-Encoding\r\n : chunked\r\n\r\n", .missingColon),
  .init("\(post)Transfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\n\r\n", .unknownTransferCoding),
  .init("\(post)Foo: bar\r\n Transfer-Encoding: chunked\r\n\r\n", .lineFolding),
  .init("GET /\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n", .badVersion),
  .init("GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n", .whitespaceInFieldName),
]

/// Responses to a GET that asked for no upgrade.
let refusedResponses: [RefusedHead] = [
  .init("HTTP/1.1\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 \r\n\r\n", .badStatusLine),
  .init("HTTP/1.1  200 OK\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 20 OK\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 2000 OK\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 099 OK\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 2x0 OK\r\n\r\n", .badStatusLine),
  .init("HTTP/1.1 200\tOK\r\n\r\n", .badStatusLine),
  .init("\r\nHTTP/1.1 200 OK\r\n\r\n", .badStatusLine),
  .init("ICY 200 OK\r\n\r\n", .badStatusLine),
  .init("http/1.1 200 OK\r\n\r\n", .badStatusLine),
  .init("SSH-2.0-OpenSSH_9.2\r\n", .badStatusLine),
  .init("\0\0\0\0\0\0\0\0\0\0\0\0\0\0", .badStatusLine),
  .init("HTTP/2.0 200 OK\r\n\r\n", .unsupportedVersion),
  .init("HTTP/1.2 200 OK\r\n\r\n", .unsupportedVersion),
  .init("HTTP/0.9 200 OK\r\n\r\n", .unsupportedVersion),
  .init("HTTP/1.1 200 O\nK\r\n\r\n", .bareLineFeed),
  .init("HTTP/1.1 200 O\rK\r\n\r\n", .bareCarriageReturn),
  .init("HTTP/1.1 200 O\0K\r\n\r\n", .nulByte),
  .init("HTTP/1.1 200 O\u{8}K\r\n\r\n", .controlByte),
  .init("HTTP/1.1 200\n\r\n", .badStatusLine),
  .init("HTTP/1.1 200\rX\r\n", .bareCarriageReturn),
  .init("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", .unexpectedSwitch),
  .init("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", .whitespaceInFieldName),
  .init("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", .lineFolding),
  .init("HTTP/1.1 200 OK\r\n: a\r\n\r\n", .emptyFieldName),
  .init("HTTP/1.1 200 OK\r\nX\r\n\r\n", .missingColon),
  .init("HTTP/1.1 200 OK\r\nX=y: a\r\n\r\n", .badFieldName),
  .init("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", .bareLineFeed),
  .init("HTTP/1.1 200 OK\r\nX: a\u{2}\r\n\r\n", .controlByte),
  .init(
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", .lengthAndTransferEncoding),
  .init(
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", .lengthAndTransferEncoding),
  .init("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", .duplicateContentLength),
  .init("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", .duplicateContentLength),
  .init("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", .badContentLength),
  .init("HTTP/1.1 304 Not Modified\r\nContent-Length: -1\r\n\r\n", .badContentLength),
  .init("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", .contentLengthOverflow),
  .init("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10),
  .init("HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n", .emptyTransferEncoding),
  .init("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", .unknownTransferCoding),
  .init("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", .chunkedNotLast),
  .init("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", .chunkedTwice),
]
