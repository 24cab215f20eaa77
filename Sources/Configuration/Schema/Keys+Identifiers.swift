// What an entry of `identifiers` may be: a word, or a mapping where there is more to say.

import Policy

extension Identifier {
  static let value: ConfigurationValue = .either([
    .choice(["host", "method-host", "path", "header", "invoke"]), .mapping(keys),
  ])

  private static let keys: [ConfigurationKey] = [
    .init(
      "kind", .choice(["host", "method-host", "path", "header", "static", "invoke"]), "what names the request",
      required: true),
    .init(
      "port", .flag(), "whether the host's port is a part of the name", default: "false", needs: [("kind", ["host"])]),
    .init(
      "segments", .integer(Identifier.segmentCounts), "how many segments of the path are the name", default: "1",
      needs: [("kind", ["path"])]),
    .init("consume", .flag(), "whether they are taken off the path", default: "false", needs: [("kind", ["path"])]),
    .init(
      "name", .text(name),
      "of header: the field that names the request [\(Identifier.defaultHeader)]; of static: the logical name",
      example: "l5d-name", needs: [("kind", ["header", "static"])]),
  ]

  private static let name = TextForm("name", pattern: "^\\S+$", example: "/svc/web", wrong: "a b")
}
