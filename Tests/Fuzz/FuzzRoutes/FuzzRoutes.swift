// A libFuzzer target for the table of rules: any rules that a configuration could hold, and any head that a client could send.
// What the index finds must be what going through the rules one by one finds; what a rule writes fits its bound, and is a
// request target, or an answer that reads back.
//
//     input:  one rule a line, an empty line, a request head
//     rule:   h:*.shop.local p:/cart m:GET H:x-user=beta !a=b ^x=pre ~x=re ?version=2 w:1   and one action:
//             P:/new F:/full R:pattern=replacement L:elsewhere L:/path

import Base
import Glibc
import HTTP
import Policy

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: data == nil ? 0 : min(size, 8192)))
  let end = zip(bytes.indices, bytes.dropFirst()).first { bytes[$0] == 10 && $1 == 10 }?.0 ?? bytes.count
  let rules = bytes[..<end].split(separator: 10).prefix(64).compactMap { rule($0) }
  let head = Array(bytes.dropFirst(end + 2))
  head.withUnsafeBytes { test(rules, $0) }
  return 0
}

/// `precondition` also stops release builds, and that is what libFuzzer sees.
private func test(_ rules: [Route], _ bytes: UnsafeRawBufferPointer) {
  var head = RequestHead(maximumFields: 32)
  let limits = HTTP1Limits(headerBytes: 8192, headers: 32, requestLineBytes: 4096)
  guard HTTP1Parser.parseRequest(bytes, into: &head, limits: limits) == .complete else { return }
  var random = RandomSource(seed: UInt64(rules.count))
  let table = RouteTable(rules, workloads: ["other": 0, "1": 1, "2": 2], random: &random)
  let matcher = PatternMatcher()
  defer { matcher.destroy() }
  for workload in 0..<3 as Range<UInt16> {
    let found = table.lookup(head, bytes, workload: workload, matcher)
    let explained = table.explain(head, bytes, workload: workload, matcher)
    // Limits depend on what was matched before: they end a match here and there.
    if found.limitedCount == 0, !explained.contains(where: { $0.mismatch == .patternLimit }) {
      precondition(
        found.number == explained.first { $0.mismatch == nil }?.number, "found \(found.number.map(Int.init) ?? -1)")
    }
    if let number = found.number { carryOut(number, table, head, bytes, matcher) }
  }
}

private func carryOut(
  _ number: RouteNumber, _ table: RouteTable, _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer,
  _ matcher: PatternMatcher
) {
  let room = table.targetBound(number, head)
  withUnsafeTemporaryAllocation(byteCount: max(room, 1), alignment: 1) { output in
    let target = UnsafeMutableRawBufferPointer(rebasing: output[..<room])
    guard case .written(let count) = table.writeTarget(number, head, bytes, matcher, into: target) else { return }
    precondition(count <= room && count > 0 && target[0] == UInt8(ascii: "/"), "no request target")
    precondition(target[..<count].allSatisfy { $0 > 0x20 && $0 != 0x7F }, "a target that ends early")
  }
  guard let status = table.answerStatus(number) else { return }
  let none = UnsafeRawBufferPointer(start: nil, count: 0)
  let bound = table.answerBound(number, head, via: none)
  withUnsafeTemporaryAllocation(byteCount: bound, alignment: 1) { output in
    let count = table.writeAnswer(number, head, bytes, matcher, via: none, closes: true, withBody: true, into: output)
    guard let count else { fatalError("the bound is too small") }
    var response = ResponseHead(maximumFields: 16)
    let written = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(output)[..<count])
    let outcome = HTTP1Parser.parseResponse(
      written, into: &response, context: ResponseContext(method: .get),
      limits: HTTP1Limits(headerBytes: 65536, headers: 16))
    precondition(outcome == .complete && response.status.code == status, "what was written is not a response")
    precondition(response.headLength == count, "a redirect has no body")
  }
}

// MARK: Rules

/// Nil for what no configuration could hold.
private func rule(_ line: ArraySlice<UInt8>) -> Route? {
  var rule = Route()
  for word in line.split(separator: UInt8(ascii: " ")).prefix(16) {
    guard let text = String(validating: word.dropFirst(), as: UTF8.self), !text.isEmpty else { return nil }
    let value = String(text.drop { $0 == ":" })
    let (name, rest) = sides(value)
    switch UnicodeScalar(word.first ?? 0) {
    case "h":
      guard let host = try? HostPattern(parsing: value) else { return nil }
      rule.match.hosts.append(host)
    case "e": rule.match.path = path(value).map { .exact($0) }
    case "p": rule.match.path = path(value).map { .prefix($0) }
    case "r": rule.match.path = pattern(value, .whole).map { .regex($0) }
    case "m": rule.match.methods.append(value)
    case "w": rule.match.workloads.append(value)
    case "H", "!", "^", "~":
      let isInverted = word.first == UInt8(ascii: "!")
      guard let match = textMatch(word.first, rest) else { return nil }
      rule.match.headers.append(.init(name: name.lowercased(), value: match, isInverted: isInverted))
    case "?": rule.match.query.append(.init(name: name, value: rest.map { .exact($0) } ?? .present))
    case "P": rule.action.pathRewrite = path(value).map { .prefix($0) }
    case "F": rule.action.pathRewrite = path(value).map { .full($0) }
    case "R":
      guard let regex = pattern(name, .part),
        let new = try? Replacement(parsing: rest ?? "", groupCount: regex.groupCount)
      else { return nil }
      rule.action.pathRewrite = .regex(regex, new)
    case "L":
      if value.hasPrefix("/") {
        guard let path = path(value) else { return nil }
        rule.action.answer = .redirect(.init(path: .full(path)))
      } else {
        guard let host = try? HostPattern(parsing: value), !host.isWildcard else { return nil }
        rule.action.answer = .redirect(.init(scheme: "https", host: host.description, port: 8443, status: 308))
      }
    default: return nil
    }
  }
  // A new prefix stands in the place of an old one.
  if case .prefix = rule.action.pathRewrite {
    guard case .prefix = rule.match.path else { return nil }
  }
  return rule
}

private func textMatch(_ kind: UInt8?, _ value: String?) -> RouteMatch.TextMatch? {
  guard let value else { return .present }
  switch kind {
  case UInt8(ascii: "^"): return .prefix(value)
  case UInt8(ascii: "~"): return pattern(value, .whole).map { .regex($0) }
  default: return .exact(value)
  }
}

private func sides(_ text: String) -> (name: String, rest: String?) {
  guard let equals = text.firstIndex(of: "=") else { return (text, nil) }
  return (String(text[..<equals]), String(text[text.index(after: equals)...]))
}

private func path(_ text: String) -> String? { RoutePath.flaw(in: text) == nil ? text : nil }

private func pattern(_ text: String, _ scope: Pattern.Scope) -> Pattern? {
  text.isEmpty ? nil : try? Pattern(parsing: text, scope: scope)
}

/// libFuzzer's loop from our own main: SwiftPM gives an executable's main a name of its own.
@main enum FuzzRoutes {
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
