// The keys of an entry of `discovery`: those that all kinds have, and those of one.

import Base

extension Configuration.Discovery {
  static let keys: [ConfigurationKey] = [
    .init("kind", .choice(["static", "file", "dns"]), "where endpoints come from", required: true),
    .init("prefix", .text(.segment), "its services are named /#/PREFIX/NAME", required: true, example: "static"),
    .init(
      "services", .table(.segment, .list(.text(.endpoint), most: .max)),
      "endpoints by service, each with an optional weight (\"127.0.0.1:9002 * 2.0\")", needs: [("kind", ["static"])]),
    .init(
      "directory", .text(.path), "a file for each service, with lines of HOST PORT [* WEIGHT]", required: true,
      example: "/etc/fairlead/services", needs: [("kind", ["file"])]),
    .init(
      "servers", .list(.text(nameServer), most: 16),
      "name servers, with port 53 where none is written (default: as resolv.conf says)", needs: [("kind", ["dns"])]),
    .init(
      "search", .list(.text(domain), most: 16),
      "domains tried behind a name with few dots (default: as resolv.conf says)", needs: [("kind", ["dns"])]),
    .init(
      "ndots", .integer(0...15), "a name with so many dots is tried as it is first (default: as resolv.conf says)",
      needs: [("kind", ["dns"])]),
    .init(
      "family", .choice(of: Configuration.DNSDiscovery.Family.self), "which addresses of a host are taken",
      default: "any", needs: [("kind", ["dns"])]),
    .init(
      "timeout", .duration(.milliseconds(50) ... .seconds(30)), "for the first try at one server", default: "1s",
      needs: [("kind", ["dns"])]),
    .init("tries", .integer(1...10), "how often all servers are asked", default: "2", needs: [("kind", ["dns"])]),
    .init("ttl", .mapping(ttl), "how long an answer is believed, whatever the answer says", needs: [("kind", ["dns"])]),
    .init(
      "limits", .mapping(limits), "what is over a limit is left out and told of", needs: [("kind", ["file", "dns"])]),
  ]

  private static let ttl: [ConfigurationKey] = [
    .init("min", .duration(.seconds(1) ... .seconds(604_800)), "at least; at most max", default: "1s"),
    .init("max", .duration(.seconds(1) ... .seconds(604_800)), "at most", default: "1h"),
    .init(
      "negative", .duration(.seconds(1) ... .seconds(604_800)), "at most for the answer that there is no such name",
      default: "30s"),
  ]

  private static let limits: [ConfigurationKey] = [
    .init("services", .integer(1...100_000), "kind: file: files in the directory", default: "10000"),
    .init("endpoints", .integer(1...100_000), "kind: file: lines of a file that count", default: "10000"),
    .init("fileBytes", .size(.kibibytes(1) ... .mebibytes(16)), "kind: file: the size of a file", default: "1MiB"),
    .init("names", .integer(1...100_000), "kind: dns: names that are known at once", default: "4096"),
    .init("records", .integer(1...10_000), "kind: dns: endpoints of one name", default: "1000"),
  ]

  private static let nameServer = TextForm(
    "IP address with an optional port", pattern: "^(\\[[0-9A-Fa-f:.]+\\]:[0-9]+|[0-9A-Fa-f:.]+)$",
    example: "127.0.0.1:53", wrong: "ns.example")
  private static let domain = TextForm("domain", pattern: "^[A-Za-z0-9_.-]+$", example: "mesh.internal", wrong: "a b")
}
