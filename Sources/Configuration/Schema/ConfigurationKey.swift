// What can be written in a configuration, described key by key: name, type, bounds, default, one line about it.
//
// `fairlead schema`, the manual page and the editors' schema are made of this, and tests hold it against the decoder: every
// key that is decoded is described, every described one is accepted, and bounds, words and defaults are those that apply.
// Each section stands in a file of its own, one line a key.

import Base

/// One key of a mapping.
public struct ConfigurationKey: Sendable {
  public let name: String
  public let kind: ConfigurationValue
  /// One line, without a full stop.
  public let summary: String
  /// What applies when nothing is written, as it would be written; nil when it depends on something else, or is nothing.
  public let defaultText: String?
  /// Must it be there? Where it needs other keys: only with those.
  public let isRequired: Bool
  /// A value in flow style, for kinds that have no example of their own.
  public let example: String?
  /// Keys beside this one that must have one of these values for it to be allowed.
  public let needs: [(key: String, values: [String])]
  /// Keys beside this one that must not have one of these values where they are written.
  public let excludedBy: [(key: String, values: [String])]

  init(
    _ name: String, _ kind: ConfigurationValue, _ summary: String, default defaultText: String? = nil,
    required: Bool = false, example: String? = nil, needs: [(key: String, values: [String])] = [],
    excludedBy: [(key: String, values: [String])] = []
  ) {
    self.name = name
    self.kind = kind
    self.summary = summary
    self.defaultText = defaultText
    isRequired = required
    self.example = example
    self.needs = needs
    self.excludedBy = excludedBy
  }
}

/// What the value of a key may be.
public indirect enum ConfigurationValue: Sendable {
  case text(TextForm)
  /// True or false, or the only one of them that is available.
  case flag([Bool] = [false, true])
  /// A whole number, or a word in its place.
  case integer(ClosedRange<Int>, word: String? = nil)
  case number(ClosedRange<Double>)
  /// A duration, or a word in its place.
  case duration(ClosedRange<Duration>, word: String? = nil)
  case size(ClosedRange<ByteCount>)
  case choice([String])
  /// A list of at most so many.
  case list(ConfigurationValue, most: Int)
  case mapping([ConfigurationKey])
  /// A mapping with exactly one of these keys.
  case oneKey([ConfigurationKey])
  /// A mapping whose keys are the author's own.
  case table(TextForm, ConfigurationValue)
  /// A value written in one of several ways.
  case either([ConfigurationValue])

  /// The words of an enumeration.
  static func choice<T: RawRepresentable<String> & CaseIterable>(of type: T.Type) -> ConfigurationValue {
    .choice(T.allCases.map(\.rawValue))
  }
}

/// Text with a form of its own.
public struct TextForm: Sendable {
  /// What it is, without an article, such as "address".
  public let noun: String
  /// A regular expression (ECMA-262) that every right text matches; nil for any text.
  public let pattern: String?
  public let example: String
  /// A text that is refused; nil when none is.
  public let wrong: String?
  /// Whether YAML may take a right text for a number.
  public let isNumberToo: Bool

  init(_ noun: String, pattern: String?, example: String, wrong: String?, isNumberToo: Bool = false) {
    self.noun = noun
    self.pattern = pattern
    self.example = example
    self.wrong = wrong
    self.isNumberToo = isNumberToo
  }
}

extension TextForm {
  static let text = TextForm("text", pattern: nil, example: "text", wrong: nil, isNumberToo: true)
  static let segment = TextForm(
    "name", pattern: "^[A-Za-z0-9._~:#$%+=@\\[\\]-]+$", example: "web", wrong: "a/b", isNumberToo: true)
  static let nodeName = TextForm(
    "name", pattern: "^[A-Za-z0-9._-]{1,255}$", example: "node-a", wrong: "a/b", isNumberToo: true)
  static let label = TextForm(
    "name", pattern: "^[A-Za-z0-9._-]{1,63}$", example: "web", wrong: "a/b", isNumberToo: true)
  static let requestPath = TextForm("path", pattern: "^(/[!-~]*|\\*)$", example: "/cart", wrong: "cart")
  /// What a header field may hold.
  static let fieldValue = TextForm(
    "text", pattern: "^([!-~]([\\t -~]{0,4094}[!-~])?)?$", example: "yes", wrong: " a", isNumberToo: true)
  static let zone = TextForm(
    "name", pattern: "^[A-Za-z0-9._-]{1,63}$", example: "zone-a", wrong: "a/b", isNumberToo: true)
  static let token = TextForm(
    "name", pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$", example: "x-user", wrong: "a b", isNumberToo: true)
  static let name = TextForm("logical name", pattern: "^(/[^/\\s]+)+/?$", example: "/svc/web", wrong: "svc web")
  static let address = TextForm(
    "address", pattern: "^(unix:/.+|\\[[0-9A-Fa-f:.]+\\]:[0-9]+|[0-9.]*:[0-9]+)$", example: "127.0.0.1:4140",
    wrong: "localhost")
  static let internetAddress = TextForm(
    "address", pattern: "^(\\[[0-9A-Fa-f:.]+\\]:[0-9]+|[0-9.]*:[0-9]+)$", example: "127.0.0.1:9990",
    wrong: "unix:/run/x.sock")
  static let endpoint = TextForm(
    "endpoint",
    pattern:
      "^(unix:/.+|\\[[0-9A-Fa-f:.]+\\]:[0-9]+|[0-9.]+:[0-9]+)([ \\t]*\\*[ \\t]*[0-9.]+)?([ \\t]*@[ \\t]*[A-Za-z0-9._-]{1,63})?$",
    example: "127.0.0.1:9001", wrong: "127.0.0.1")
  static let network = TextForm(
    "network", pattern: "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", example: "10.1.0.0/24", wrong: "10.1.0.0/33x")
  static let destination = TextForm(
    "destination",
    pattern: "^[^:/\\s]+(/[0-9]{1,3})?:([0-9]{1,5}(-[0-9]{1,5})?|\\*)$|^\\[[^\\s]+\\]:([0-9]{1,5}(-[0-9]{1,5})?|\\*)$",
    example: "db.example:5432", wrong: "db.example")
  static let port = TextForm(
    "port or range", pattern: "^[0-9]{1,5}(-[0-9]{1,5})?$", example: "9000-9100", wrong: "http", isNumberToo: true)
  static let user = TextForm(
    "user", pattern: "^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,31}\\$?$", example: "www-data", wrong: "a b", isNumberToo: true)
  static let group = TextForm(
    "group", pattern: "^[^\\s/:]{1,32}$", example: "fairlead", wrong: "a/b", isNumberToo: true)
  static let cgroup = TextForm("cgroup", pattern: "^/.*$", example: "/system.slice/web.service", wrong: "web.service")
  static let interface = TextForm(
    "interface", pattern: "^[^\\s!\"'/:\\\\-][^\\s!\"'/:\\\\]{0,14}$", example: "br-+", wrong: "a/b", isNumberToo: true)
  static let path = TextForm(
    "full path", pattern: "^/.*$", example: "/var/log/fairlead/access.log", wrong: "log/access.log")
  static let socketPath = TextForm(
    "full path or none", pattern: "^(none|/.*)$", example: "/run/fairlead/admin.sock", wrong: "admin.sock")
  /// 1 to 2^32 - 1, decimal or with 0x.
  static let number32 = TextForm(
    "number", pattern: "^(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10})$", example: "0xfa1", wrong: "-1", isNumberToo: true)
}
