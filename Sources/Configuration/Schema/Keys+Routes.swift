// The keys of an entry of `routes`.

import Base

extension Configuration.Route {
  static let keys: [ConfigurationKey] = [
    .init("name", .text(.label), "names the route in metrics and tables (default: its place in the list)"),
    .init(
      "match", .mapping(match), "which requests are its own: all of this holds; {} for every request", required: true,
      example: "{}"),
    .init("to", .text(.name), "the name that requests go to", example: "/svc/web"),
    .init(
      "split", .list(.mapping(split), most: 64), "several names, each with its share; in the place of 'to'",
      example: "[{to: /svc/web, weight: 1}]"),
    .init(
      "rewrite", .mapping(rewrite), "what the endpoint sees in the place of path and host", example: "{host: web.local}"
    ),
    .init("headers", .mapping(headers), "header fields that are changed on the way"),
    .init("mirror", .mapping(mirror), "a copy goes there, too, and what comes back is thrown away"),
    .init("fault", .mapping(fault), "what is broken on purpose"),
    .init(
      "timeout", .duration(.milliseconds(1) ... .seconds(86400)),
      "as timeouts.request of the service, for these requests (default: the service's)"),
    .init(
      "retries", .mapping(retries), "which of these requests are sent again and how often; the budget is the service's"),
    .init(
      "rateLimit", .mapping(Configuration.RateLimit.keys("requests")),
      "how many of these requests go on; over it 429. It begins anew when it changes"),
    .init("redirect", .mapping(redirect), "the proxy answers itself: somewhere else", example: "{host: new.local}"),
    .init("respond", .mapping(respond), "the proxy answers itself: this"),
  ]

  private static let retries = Configuration.Retries.keys.filter { $0.name != "budget" }

  private static let match: [ConfigurationKey] = [
    .init(
      "hosts", .list(.text(hostPattern), most: 100), "one of these hosts, without port; *.shop.local for all below",
      example: "[shop.local]"),
    .init("path", .oneKey(path), "the path, without query"),
    .init("methods", .list(.text(method), most: 32), "one of these methods", example: "[GET]"),
    .init("headers", .list(.mapping(header), most: 32), "all of these header fields", example: "[{name: x-user}]"),
    .init("query", .list(.mapping(query), most: 32), "all of these values in the query", example: "[{name: version}]"),
    .init(
      "workloads", .list(.text(.label), most: 100), "a caller of one of these workloads; 'other' for any other's",
      example: "[other]"),
    .init(
      "sni", .list(.text(serverName), most: 100),
      "TLS connections to one of these servers, by the ClientHello; such a route has to or split and nothing else",
      example: "[shop.local]"),
    .init(
      "alpn", .list(.text(protocolName), most: 32), "TLS connections whose client would speak one of these protocols",
      example: "[h2]"),
  ]

  private static let path: [ConfigurationKey] = [
    .init("exact", .text(.requestPath), "all of it"),
    .init("prefix", .text(.requestPath), "its first segments"),
    .init("regex", .text(regex), "a regular expression for all of it"),
  ]

  private static let header: [ConfigurationKey] = [
    .init("name", .text(.token), "the field's name", required: true),
    .init("exact", .text(.text), "its value (without any of these: it is there)"),
    .init("prefix", .text(.text), "what its value begins with"),
    .init("regex", .text(regex), "a regular expression for its value"),
    .init("present", .flag(), "whether it is there at all"),
    .init("invert", .flag(), "whether the opposite is meant", default: "false"),
  ]

  private static let query: [ConfigurationKey] = [
    .init("name", .text(queryName), "the name, as it is sent", required: true),
    .init("exact", .text(queryValue), "its value, as it is sent (without any of these: it is there)"),
    .init("regex", .text(regex), "a regular expression for its value"),
    .init("present", .flag([true]), "that it is there at all"),
  ]

  private static let split: [ConfigurationKey] = [
    .init("to", .text(.name), "the name", required: true, example: "/svc/web"),
    .init("weight", .integer(0...1_000_000), "its share against the others", required: true, example: "1"),
  ]

  private static let rewrite: [ConfigurationKey] = [
    .init("path", .mapping(pathChange), "one of prefix, full and regex", example: "{full: /new}"),
    .init("host", .text(host), "a host with an optional port"),
  ]

  private static let pathChange: [ConfigurationKey] = [
    .init("prefix", .text(.requestPath), "in the place of match.path.prefix"),
    .init("full", .text(.requestPath), "in the place of the path"),
    .init("regex", .text(regex), "a regular expression for a part of the path"),
    .init("replacement", .text(replacement), "in the place of what the regex matched; $1 is its first group"),
  ]

  private static let headers: [ConfigurationKey] = [
    .init("request", .mapping(edits), "of the request"),
    .init("response", .mapping(edits), "of the response"),
  ]

  private static let edits: [ConfigurationKey] = [
    .init("set", .table(.token, .text(.fieldValue)), "in the place of what is there"),
    .init("add", .table(.token, .text(.fieldValue)), "besides what is there"),
    .init("remove", .list(.text(.token), most: 64), "not passed on"),
  ]

  private static let mirror: [ConfigurationKey] = [
    .init("to", .text(.name), "the name that copies go to", required: true, example: "/svc/web"),
    .init("percent", .number(0...100), "of how many requests", default: "100"),
  ]

  private static let fault: [ConfigurationKey] = [
    .init("delay", .mapping(delay), "requests wait; their timeout begins when they go on"),
    .init("abort", .mapping(abort), "requests are answered with a status"),
  ]

  private static let delay: [ConfigurationKey] = [
    .init("percent", .number(0...100), "how many requests", default: "100"),
    .init("duration", .duration(.milliseconds(1) ... .seconds(3600)), "how long", required: true),
  ]

  private static let abort: [ConfigurationKey] = [
    .init("percent", .number(0...100), "how many requests", default: "100"),
    .init("status", .integer(400...599), "which one", required: true),
  ]

  private static let redirect: [ConfigurationKey] = [
    .init("scheme", .choice(["http", "https"]), "another scheme (without: the request's own)"),
    .init("host", .text(hostName), "another host (without: the request's own)"),
    .init("port", .integer(1...65535), "another port (without: the scheme's own)"),
    .init(
      "path", .oneKey(Array(pathChange.prefix(2))), "another path (without: the request's own)", example: "{full: /new}"
    ),
    .init("status", .integer(301...308), "301, 302, 303, 307 or 308", default: "302"),
  ]

  private static let respond: [ConfigurationKey] = [
    .init("status", .integer(200...599), "the status", required: true),
    .init("body", .text(.text), "the body, up to 64 KiB"),
    .init("contentType", .text(.fieldValue), "its type", default: "text/plain; charset=utf-8"),
    .init("headers", .table(.token, .text(.fieldValue)), "more header fields"),
  ]

  private static let hostPattern = TextForm(
    "host", pattern: "^(\\[[0-9A-Fa-f:.]+\\]|(\\*\\.)?[A-Za-z0-9_~+.-]+)$", example: "shop.local", wrong: "a b",
    isNumberToo: true)
  private static let serverName = TextForm(
    "server's name", pattern: "^(\\*\\.)?[A-Za-z0-9_~+.-]+$", example: "shop.local", wrong: "a b", isNumberToo: true)
  private static let protocolName = TextForm(
    "protocol", pattern: "^[!-~]{1,255}$", example: "h2", wrong: "a b", isNumberToo: true)
  private static let hostName = TextForm(
    "host", pattern: "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_~+.-]+)$", example: "new.local", wrong: "*.local",
    isNumberToo: true)
  private static let host = TextForm(
    "host", pattern: "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_~+.-]+)(:[0-9]{1,5})?$", example: "cart.internal:8080",
    wrong: "a b", isNumberToo: true)
  private static let method = TextForm(
    "method", pattern: "^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$", example: "GET", wrong: "get")
  private static let regex = TextForm("regular expression", pattern: "^[\\s\\S]+$", example: "/item/[0-9]+", wrong: "")
  private static let replacement = TextForm("text", pattern: nil, example: "/x", wrong: nil, isNumberToo: true)
  private static let queryValue = TextForm(
    "text", pattern: "^[!\"$%'-~]*$", example: "a%20b", wrong: "a b", isNumberToo: true)
  private static let queryName = TextForm(
    "name", pattern: "^[^\\s#&=]{1,256}$", example: "version", wrong: "a=b", isNumberToo: true)
}
