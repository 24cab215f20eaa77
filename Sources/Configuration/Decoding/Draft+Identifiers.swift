// Decodes `identifiers`: words such as `host`, and mappings where there is more to say.

import HTTP
import Policy

extension Draft {
  static func identifiers(_ fields: Fields) -> [Identifier] {
    guard let value = fields["identifiers"] else { return Configuration.defaultIdentifiers }
    let decoder = fields.decoder
    let items = decoder.items(of: value)
    if items.isEmpty, value.isEmptyList {
      decoder.report(value.node.range, "'identifiers' is empty, so no request has a name; write [host]")
    }
    if items.count > Identifier.maximumCount {
      let over = items[Identifier.maximumCount].node.range
      decoder.report(over, "'identifiers' has more than \(Identifier.maximumCount) entries")
    }
    var identifiers: [Identifier] = []
    var always: String?
    for item in items.prefix(Identifier.maximumCount) {
      if let always {
        decoder.report(item.node.range, "'\(item.path)' is never tried: \(always) before it always applies")
        break
      }
      guard let identifier = identifier(decoder, item) else { continue }
      if identifiers.contains(identifier) { decoder.report(item.node.range, "'\(item.path)' is there twice") }
      identifiers.append(identifier)
      if case .fixed(let name) = identifier { always = "static \(name)" }
    }
    return identifiers
  }

  private static func identifier(_ decoder: Decoder, _ value: YAMLValue) -> Identifier? {
    let words = ["host", "method-host", "path", "header", "static", "invoke"]
    if case .scalar(let scalar) = value.node.content, !value.node.isNull {
      switch scalar.text {
      case "host": return .host()
      case "method-host": return .methodHost
      case "path": return .path()
      case "header": return .header()
      case "invoke": return .invoke
      case "static":
        decoder.report(value.node.range, "'static' needs a name; write {kind: static, name: /svc/web}")
      default:
        let clause = decoder.suggestion(for: scalar.text, among: words)
        decoder.report(
          value.node.range,
          "'\(value.path)' must be one of \(words.joined(separator: ", ")), not "
            + "\(quoted(scalar.text))\(clause)")
      }
      return nil
    }
    return mapping(decoder, value, words)
  }

  private static func mapping(_ decoder: Decoder, _ value: YAMLValue, _ words: [String]) -> Identifier? {
    var known = ["kind"]
    if case .mapping(let mapping) = value.node.content, case .scalar(let kind) = mapping["kind"]?.value.content {
      switch kind.text {
      case "host": known += ["port"]
      case "path": known += ["segments", "consume"]
      case "header", "static": known += ["name"]
      default: break
      }
    }
    guard let fields = Fields(decoder, value, known: known) else { return nil }
    fields.require("kind", "kind: path")
    switch fields.choice("kind", words) {
    case "host": return .host(keepsPort: fields.bool("port") ?? false)
    case "method-host": return .methodHost
    case "path":
      return .path(
        segments: fields.integer("segments", in: Identifier.segmentCounts) ?? 1,
        consume: fields.bool("consume") ?? false)
    case "header": return .header(name: fieldName(fields) ?? Identifier.defaultHeader)
    case "static":
      fields.require("name", "name: /svc/web")
      guard let text = fields.text("name") else { return nil }
      if let name = name(text), !name.isBound { return .fixed(name) }
      fields.reportValue("name", "\(quoted(text)) is not a logical name; write a path such as /svc/web")
      return nil
    case "invoke": return .invoke
    default: return nil
    }
  }

  /// A header field's name is a token (RFC 9110 section 5.1); those that say how a message is framed are no names.
  private static func fieldName(_ fields: Fields) -> String? {
    guard let text = fields.text("name") else { return nil }
    let isToken = text.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F, 0x2E: true
      default: false
      }
    }
    if !isToken || text.utf8.count > 128 {
      fields.reportValue("name", "\(quoted(text)) is not the name of a header field; write one such as l5d-name")
      return nil
    }
    return text.lowercased()
  }
}
