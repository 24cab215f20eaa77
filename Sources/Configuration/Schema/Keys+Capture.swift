// The keys of `capture`.

import Base

extension Configuration.Capture {
  static let keys: [ConfigurationKey] = [
    .init("processes", .flag(), "whether the host's own processes are captured", default: "true"),
    .init(
      "interfaces", .list(.text(.interface), most: 256),
      "by which containers and namespaces come in; br-+ stands for all that begin with br-", default: "[]"),
    .init("ports", .list(.text(.port), most: 256), "only these destination ports; none means all", default: "[]"),
    .init(
      "excludePorts", .list(.text(.port), most: 256),
      "destination ports that are not captured; a list takes the place of the default", default: "[22]"),
    .init(
      "excludeAddresses", .list(.text(.network), most: 256), "destinations that are not captured; loopback never is",
      default: "[]"),
    .init("excludeUsers", .list(.text(.user), most: 256), "users whose processes are not captured", default: "[]"),
    .init(
      "inboundPorts", .list(.text(.port), most: 256),
      "connections from outside to these local ports go to the inbound listener", default: "[]"),
    .init(
      "user", .text(.user), "the proxy's own user: what it sends is let through even without the mark",
      default: "fairlead"),
    .init("mark", .text(.number32), "the mark of the proxy's own sockets", default: "0xfa1"),
    .init(
      "routingMark", .text(.number32), "the mark of packets on their way to a tproxy listener", default: "0xfa2",
      example: "0xfa2"),
    .init("routingTable", .text(.number32), "the routing table that takes them there", default: "4140"),
    .init(
      "onFailure", .choice(of: OnFailure.self),
      "while the proxy does not turn, new connections go direct or are refused", default: "bypass"),
    .init(
      "detectTimeout", .duration(.milliseconds(10) ... .seconds(60)),
      "how long the first bytes of a connection are waited for", default: "3s"),
    .init(
      "serverFirstPorts", .list(.text(.port), most: 256),
      "destination ports where the server speaks first: carried as they are at once",
      default: "[21, 25, 110, 143, 587, 3306, 5432, 5900]"),
  ]
}
