// The schema for editors: JSON Schema, draft 2020-12, of a whole configuration file.
//
// It refuses nothing that the daemon accepts. It does accept some of what the daemon refuses: bounds of durations, names
// that lead nowhere and addresses that are taken are beyond it.

import Base

extension Configuration {
  /// The text of schema.json, with a newline at its end.
  public static func jsonSchema() -> String {
    var json = JSONWriter(indented: true, reserving: 64 << 10)
    json.object {
      $0.member("$schema", "https://json-schema.org/draft/2020-12/schema")
      $0.member("$id", "urn:fairlead:configuration")
      $0.member("title", "Fairlead configuration")
      $0.writeMapping(schema, isOptional: true)
    }
    json.newline()
    return json.text
  }
}

extension JSONWriter {
  /// The members that describe a mapping with these keys.
  fileprivate mutating func writeMapping(_ keys: [ConfigurationKey], isOptional: Bool) {
    writeType(["object"], isOptional)
    member("additionalProperties", false)
    object("properties") { json in
      for key in keys { json.object(key.name) { $0.write(key) } }
    }
    let required = keys.filter { $0.isRequired && $0.needs.isEmpty }.map(\.name)
    if !required.isEmpty { words("required", required) }
    let conditional = keys.filter { $0.isRequired && !$0.needs.isEmpty }
    if !conditional.isEmpty {
      array("allOf") { json in
        for key in conditional { json.object { $0.writeCondition(of: key) } }
      }
    }
    let dependent = keys.filter { !$0.needs.isEmpty || !$0.excludedBy.isEmpty }
    guard !dependent.isEmpty else { return }
    object("dependentSchemas") { json in
      for key in dependent { json.object(key.name) { $0.writeNeeds(of: key, among: keys) } }
    }
  }

  /// A key that must be there where those that it needs have one of their values.
  private mutating func writeCondition(of key: ConfigurationKey) {
    object("if") { json in
      json.object("properties") { json in
        for need in key.needs { json.object(need.key) { $0.words("enum", need.values) } }
      }
      json.words("required", key.needs.map(\.key))
    }
    object("then") { $0.words("required", [key.name]) }
  }

  private mutating func write(_ key: ConfigurationKey) {
    member("description", key.summary)
    write(key.kind, isOptional: !key.isRequired)
    if key.isRequired, case .list = key.kind { member("minItems", 1) }
    if let text = key.defaultText { writeDefault(text, key.kind) }
  }

  /// What another key's value must be where this one is written; one that has it by default may be left out.
  private mutating func writeNeeds(of key: ConfigurationKey, among keys: [ConfigurationKey]) {
    object("properties") { json in
      for need in key.needs { json.object(need.key) { $0.words("enum", need.values) } }
      for other in key.excludedBy {
        json.object(other.key) { json in json.object("not") { $0.words("enum", other.values) } }
      }
    }
    let missing = key.needs.filter { need in
      guard let text = keys.first(where: { $0.name == need.key })?.defaultText else { return true }
      return !need.values.contains(text)
    }
    if !missing.isEmpty { words("required", missing.map(\.key)) }
  }

  private mutating func write(_ kind: ConfigurationValue, isOptional: Bool) {
    switch kind {
    case .text(let form):
      writeType(form.isNumberToo ? ["string", "number"] : ["string"], isOptional)
      if let pattern = form.pattern { member("pattern", pattern) }
      array("examples") { $0.string(form.example) }
    case .flag(let values):
      array("enum") { json in
        for value in values { json.bool(value) }
        if isOptional { json.null() }
      }
    case .integer(let range, let word): writeInteger(range, word, isOptional)
    case .number(let range):
      writeType(["number"], isOptional)
      member("minimum", range.lowerBound)
      member("maximum", range.upperBound)
    case .duration(let range, let word):
      writeType(["string"], isOptional)
      member("pattern", "^(" + (word.map { $0 + "|" } ?? "") + "[0-9]+(us|ms|s|m|h))$")
      array("examples") { $0.string(range.upperBound.shortText) }
    case .size(let range):
      writeType(["string", "integer"], isOptional)
      member("pattern", "^[0-9]+(B|KiB|MiB|GiB)?$")
      member("minimum", range.lowerBound.bytes)
      member("maximum", range.upperBound.bytes)
    case .choice(let choices):
      array("enum") { json in
        for choice in choices { json.string(choice) }
        if isOptional { json.null() }
      }
    case .list(let item, let most):
      writeType(["array"], isOptional)
      if most < .max { member("maxItems", most) }
      object("items") { $0.write(item, isOptional: false) }
    case .mapping(let keys): writeMapping(keys, isOptional: isOptional)
    case .oneKey(let keys):
      writeMapping(keys, isOptional: isOptional)
      member("minProperties", 1)
      member("maxProperties", 1)
    case .table(let form, let value):
      writeType(["object"], isOptional)
      if let pattern = form.pattern { object("propertyNames") { $0.member("pattern", pattern) } }
      object("additionalProperties") { $0.write(value, isOptional: false) }
    case .either(let ways):
      array("anyOf") { json in
        for way in ways { json.object { $0.write(way, isOptional: isOptional) } }
      }
    }
  }

  private mutating func writeInteger(_ range: ClosedRange<Int>, _ word: String?, _ isOptional: Bool) {
    writeType(word == nil ? ["integer"] : ["integer", "string"], isOptional)
    if let word { member("pattern", "^\(word)$") }
    member("minimum", range.lowerBound)
    member("maximum", range.upperBound)
  }

  /// One type or several; nothing written is as good as no key where the key may be left out.
  private mutating func writeType(_ types: [String], _ isOptional: Bool) {
    let all = types + (isOptional ? ["null"] : [])
    if all.count == 1 { member("type", all[0]) } else { words("type", all) }
  }

  private mutating func writeDefault(_ text: String, _ kind: ConfigurationValue) {
    switch kind {
    // A number, a truth or a list of them is JSON as it stands.
    case .flag, .number, .list: key("default"); raw(text.utf8)
    case .integer(_, let word) where text != word: key("default"); raw(text.utf8)
    case .integer, .text, .duration, .size, .choice, .mapping, .oneKey, .table, .either: member("default", text)
    }
  }

  private mutating func words(_ name: String, _ words: [String]) {
    array(name) { json in
      for word in words { json.string(word) }
    }
  }
}
