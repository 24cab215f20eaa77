import Base
import Configuration
import Testing

@Suite("The discoveries of a configuration")
struct DiscoveryTests {
  private static let text = """
    listeners: [{name: a, address: ":0"}]
    discovery:
      - {kind: static, prefix: static, services: {web: [127.0.0.1:9001]}}
      - {kind: file, prefix: file, directory: /etc/fairlead/services}
      - {kind: file, prefix: more, directory: /srv, limits: {services: 5, endpoints: 6, fileBytes: 7KiB}}
      - {kind: dns, prefix: dns}
      - kind: dns
        prefix: mesh
        servers: [127.0.0.1:5353, "[::1]:53", 10.0.0.2, "fd00::1"]
        search: [mesh.internal., internal]
        ndots: 2
        family: ipv4
        timeout: 500ms
        tries: 3
        ttl: {min: 2s, max: 1m, negative: 5s}
        limits: {names: 10, records: 20}
    delegations: |
      /svc     => /#/file ;
      /svc     => /#/dns ;
      /svc/web => /#/mesh/web.internal/8080 ;
      /svc/api => /#/more/api ;
      /svc/old => /#/static/web ;
    """

  @Test("each kind has its keys, and defaults for what is not written")
  func values() throws {
    let discovery = try Configuration.parse(Self.text).discovery
    #expect(discovery.map(\.kind) == ["static", "file", "file", "dns", "dns"])
    #expect(discovery.map(\.prefix) == ["static", "file", "more", "dns", "mesh"])
    #expect(discovery.map(\.staticServices.count) == [1, 0, 0, 0, 0])
    #expect(discovery[1] == .file(.init(prefix: "file", directory: "/etc/fairlead/services")))
    #expect(
      discovery[2]
        == .file(
          .init(
            prefix: "more", directory: "/srv", limits: .init(services: 5, endpoints: 6, fileBytes: .kibibytes(7)))))
    #expect(discovery[3] == .dns(.init(prefix: "dns")))
    let servers: [SocketAddress] = [
      .v4(.loopback, port: 5353), .v6(.loopback, port: 53), .v4(IPv4Address(10, 0, 0, 2), port: 53),
      .v6(IPv6Address(high: 0xFD00 << 48, low: 1), port: 53),
    ]
    #expect(
      discovery[4]
        == .dns(
          .init(
            prefix: "mesh", servers: servers, search: ["mesh.internal", "internal"], ndots: 2, family: .ipv4,
            timeout: .milliseconds(500), tries: 3,
            ttl: .init(min: .seconds(2), max: .seconds(60), negative: .seconds(5)),
            limits: .init(names: 10, records: 20))))
  }

  @Test("written as JSON they read back as the same values")
  func roundTrip() throws {
    let configuration = try Configuration.parse(Self.text)
    let again = try Configuration.parse(configuration.render())
    #expect(again.discovery == configuration.discovery && again.render() == configuration.render())
  }

  @Test("no search domain at all is not the same as those of resolv.conf")
  func noSearch() throws {
    let text = "listeners: [{name: a, address: \":0\"}]\n"
    let none = try Configuration.parse(
      text + "discovery: [{kind: dns, prefix: dns, search: []}]\ndelegations: /svc => /#/dns ;")
    #expect(none.discovery == [.dns(.init(prefix: "dns", search: []))])
    #expect(try Configuration.parse(none.render()).discovery == none.discovery)
  }

  @Test("a name at a file or dns discovery is taken as it is: only the source knows it")
  func namesOfSources() throws {
    let text = """
      listeners: [{name: a, address: ":0", protocol: tcp, to: /svc/redis}]
      discovery: [{kind: file, prefix: file, directory: /srv}]
      delegations: |
        /svc     => /#/file ;
        /svc/Web => /#/file/Web ;
      services: [{name: /svc/anything}, {name: "/#/file/other"}]
      """
    #expect(findings(text).isEmpty, "\(findings(text))")
  }
}
