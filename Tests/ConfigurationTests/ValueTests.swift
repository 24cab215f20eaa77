// Every key, with values that are refused: the message is the documentation most people read.

import Configuration
import Testing

@Suite("Values")
struct ValueTests {
  @Test(
    "node, admin, limits, telemetry: a wrong value is refused with what it may be",
    arguments: [
      ("node: {shards: 0}", "2:16: 'node.shards' must be between 1 and 256, not 0"),
      ("node: {shards: 257}", "2:16: 'node.shards' must be between 1 and 256, not 257"),
      ("node: {shards: many}", "2:16: 'node.shards' must be 'auto' or a whole number between 1 and 256, not 'many'"),
      (
        "node: {shards: -9223372036854775809}",
        "2:16: 'node.shards' must be between 1 and 256, not -9223372036854775809"
      ),
      ("node: {shards: --1}", "2:16: 'node.shards' must be 'auto' or a whole number between 1 and 256, not '--1'"),
      ("node: {name: a b}", "2:14: a node's name has letters, digits, '.', '_' and '-', not 'a b'"),
      ("node: {via: yes}", "2:13: 'node.via' must be true or false, not 'yes'"),
      ("node: {via: [true]}", "2:13: 'node.via' must be true or false, not a list"),
      ("node: {drainTimeout: 2h}", "2:22: 'node.drainTimeout' must be between 0s and 1h, not 2h"),
      ("node: []", "2:7: 'node' must be a mapping (key: value), not a list"),
      ("admin: {socket: run.sock}", "2:17: 'admin.socket' must be a full path or 'none', not 'run.sock'"),
      ("admin: {http: \"unix:/x\"}", "2:15: 'admin.http' must be an IP address with a port"),
      ("admin: {group: a b}", "2:16: 'a b' is no name of a group"),
      ("admin: {operators: \"\"}", "2:20: 'admin.operators' must not be empty"),
      ("limits: {headerBytes: 64KB}", "2:23: '64KB' is not a size: 'KB' is not a unit of size; write KiB (1024 bytes)"),
      ("limits: {headerBytes: 1023}", "2:23: 'limits.headerBytes' must be between 1KiB and 1MiB, not 1023"),
      (
        "limits: {headerBytes: -1}",
        "2:23: '-1' is not a size: a size is a whole number of bytes, or one with KiB, MiB or GiB"
      ),
      ("limits: {headers: 1e3}", "2:19: 'limits.headers' must be a whole number between 8 and 10000, not '1e3'"),
      (
        "limits: {headers: \"12\"}",
        "2:19: 'limits.headers' must be a whole number between 8 and 10000, not the text \"12\" (leave out the quotes)"
      ),
      ("limits: {connections: 0}", "2:23: 'limits.connections' must be between 1 and 10000000, not 0"),
      ("limits: {headerTimeout: 5}", "2:25: '5' is not a duration: it has no unit; write 5s or 5ms"),
      (
        "limits: {headerTimeout: 5d}",
        "2:25: '5d' is not a duration: 'd' is not a unit of time; the units are us, ms, s, m and h"
      ),
      ("limits: {idleTimeout: 9ms}", "2:23: 'limits.idleTimeout' must be between 10ms and 24h, not 9ms"),
      ("limits: {viaHops: 0}", "2:19: 'limits.viaHops' must be between 1 and 1000, not 0"),
      (
        "limits: {headerBytes: 4KiB}",
        "2:23: a request line of 8KiB does not fit a head of 4KiB; 'limits.requestLineBytes' must be at most "
          + "'limits.headerBytes'"
      ),
      (
        "telemetry: {accessLog: {format: json}}",
        "2:24: 'path' is missing in telemetry.accessLog; write path: /var/log/fairlead/access.log"
      ),
      ("telemetry: {accessLog: {path: a.log}}", "2:31: 'telemetry.accessLog.path' must be a full path, not 'a.log'"),
      (
        "telemetry: {accessLog: {path: \"/a\\0b\"}}",
        "2:31: 'telemetry.accessLog.path' must not hold control characters"
      ),
      (
        "telemetry: {accessLog: {path: /a, format: jsn}}",
        "2:43: 'telemetry.accessLog.format' must be 'json' or 'text', not 'jsn'; did you mean 'json'?"
      ),
      (
        "telemetry: {labels: {maxSeries: 0}}", "2:33: 'telemetry.labels.maxSeries' must be between 1 and 1000000, not 0"
      ),
    ])
  func scalars(fragment: String, expected: String) {
    #expect(findings(in: fragment) == [expected])
  }

  @Test(
    "listeners: a wrong value is refused with what it may be",
    arguments: [
      ("{address: \":0\"}", "1:13: 'name' is missing in listeners[0]; write name: outbound"),
      ("{name: a}", "1:13: 'address' is missing in listeners[0]; write address: 127.0.0.1:4140"),
      ("{name: a, adress: \":0\"}", "1:23: unknown key 'adress' in listeners[0]; did you mean 'address'?"),
      (
        "{name: a/b, address: \":0\"}",
        "1:20: a listener's name has up to 63 letters, digits and any of -._, not 'a/b'"
      ),
      ("{name: a, address: 127.0.0.1}", "1:32: '127.0.0.1' is not an address: the port is missing; write address:port"),
      (
        "{name: a, address: \"::1:80\"}",
        "1:32: '::1:80' is not an address: an IPv6 address stands in brackets; write [address]:port"
      ),
      (
        "{name: a, address: \"1.2.3.4:65536\"}",
        "1:32: '1.2.3.4:65536' is not an address: the port must be a number between 0 and 65535, not '65536'"
      ),
      (
        "{name: a, address: localhost:80}",
        "1:32: 'localhost:80' is not an address: a host name is no address; write an IP address, such as 127.0.0.1:80"
      ),
      (
        "{name: a, address: \":0\", direction: outbond}",
        "1:49: 'listeners[0].direction' must be 'outbound' or 'inbound', not 'outbond'; did you mean 'outbound'?"
      ),
      (
        "{name: a, address: \":0\", protocol: h2}",
        "1:48: 'listeners[0].protocol' must be 'detect', 'http1', 'http2', 'tls' or 'tcp', not 'h2'"
      ),
      (
        "{name: a, address: \":0\", protocol: tcp}",
        "1:13: 'to' is missing in listeners[0]; write to: /svc/redis"
      ),
      (
        "{name: a, address: \":0\", protocol: ssl}",
        "1:48: 'listeners[0].protocol' must be 'detect', 'http1', 'http2', 'tls' or 'tcp', not 'ssl'"
      ),
      (
        "{name: a, address: \":0\", protocol: tcp, to: redis}",
        "1:57: 'redis' is not a name; write a path such as /svc/redis"
      ),
      (
        "{name: a, address: \":0\", to: /svc/redis}",
        "1:42: 'to' is for listeners with protocol: tcp and capture: none; others find names themselves"
      ),
      (
        "{name: a, address: \":0\", capture: nat}",
        "1:47: 'listeners[0].capture' must be 'none', 'redirect' or 'tproxy', not 'nat'"
      ),
      (
        "{name: a, address: \"unix:/run/a\", capture: redirect}",
        "1:56: a Unix socket has no original destination; 'capture' must be 'none' here"
      ),
      (
        "{name: a, address: \":0\", unresolved: refuse}",
        "1:50: 'unresolved' says what becomes of captured requests; write capture: redirect, or leave it out"
      ),
      ("{name: a, address: \":0\", trust: all}", "1:45: 'listeners[0].trust' must be 'none' or 'clients', not 'all'"),
      (
        "{name: a, address: \":0\", proxyProtocol: true}",
        "1:53: 'listeners[0].proxyProtocol' must say whose headers are believed; write { from: [10.0.0.0/8] }"
      ),
      (
        "{name: a, address: \":0\", proxyProtocol: {from: []}}",
        "1:60: 'listeners[0].proxyProtocol.from' is empty: nobody would be believed; write proxyProtocol: false"
      ),
      (
        "{name: a, address: \":0\", proxyProtocol: {from: [10.0.0.0/33]}}",
        "1:61: '10.0.0.0/33' is not a network: after '/' stands a number of bits between 0 and 32, not '33'"
      ),
      (
        "{name: a, address: \":0\", capture: redirect, proxyProtocol: {from: [10.0.0.0/8]}}",
        "1:72: captured connections begin with what their client says to its server; write capture: none"
      ),
      ("text", "1:13: 'listeners[0]' must be a mapping (key: value), not a single value"),
    ])
  func listeners(entry: String, expected: String) {
    #expect(findings("listeners: [\(entry)]\n") == [expected])
  }

  @Test(
    "discovery: a wrong value is refused with what it may be",
    arguments: [
      (
        "kind: static, prefix: s, services: {a: x}", "3:5: 'discovery[0].services.a' must be a list, not a single value"
      ),
      (
        "kind: static, prefix: s, services: {a: }",
        "3:2: 'discovery[0].services.a' has no endpoints; write [127.0.0.1:9001], or [] for none"
      ),
      (
        "kind: static, prefix: s, services: {a: [localhost:80]}",
        "3:6: 'localhost:80' is not an endpoint: a host name is no address; write an IP address, such as 127.0.0.1:80"
      ),
      (
        "kind: static, prefix: s, services: {a: [\":80\"]}",
        "3:6: ':80' is not an endpoint: it is no address to connect to; write the host's own"
      ),
      (
        "kind: static, prefix: s, services: {a: [1.2.3.4:0]}",
        "3:6: '1.2.3.4:0' is not an endpoint: port 0 is no port to connect to"
      ),
      (
        "kind: static, prefix: s, services: {a: [1.2.3.4:5 * 0]}",
        "3:6: '1.2.3.4:5 * 0' is not an endpoint: the weight must be between 0.001 and 1000, not 0"
      ),
      (
        "kind: static, prefix: s, services: {a: [1.2.3.4:5 * two]}",
        "3:6: '1.2.3.4:5 * two' is not an endpoint: the weight after '*' must be a number such as 2 or 0.5, not 'two'"
      ),
      (
        "kind: static, prefix: s, services: {a: [1.2.3.4:5, 1.2.3.4:5]}",
        "3:17: 1.2.3.4:5 is in 'discovery[0].services.a' twice; it is first written at fairlead.yaml:3:6 "
          + "(for a larger share write \"1.2.3.4:5 * 2\")"
      ),
      (
        "kind: static, prefix: s, services: {a/b: []}",
        "3:2: a service's name has letters, digits and any of -._, not 'a/b'"
      ),
      (
        "kind: static, prefix: s, services: {..: []}",
        "3:2: a service's name has letters, digits and any of -._, not '..'"
      ),
      (
        "kind: static, prefix: s, services: [a]",
        "2:49: 'discovery[0].services' must be a mapping (name: [endpoint, ...]), not a list"
      ),
      ("kind: static, prefix: s, directory: /etc", "2:39: unknown key 'directory' in discovery[0]"),
      (
        "kind: sttic, prefix: s",
        "2:20: 'discovery[0].kind' must be 'static', 'file' or 'dns', not 'sttic'; did you mean 'static'?"
      ),
      (
        "kind: file, prefix: s", "2:13: 'directory' is missing in discovery[0]; write directory: /etc/fairlead/services"
      ),
      (
        "kind: file, prefix: s, directory: etc",
        "2:48: 'discovery[0].directory' must be a full path, not 'etc'"
      ),
      (
        "kind: file, prefix: s, directory: /etc, services: {}",
        "2:54: unknown key 'services' in discovery[0]"
      ),
      (
        "kind: file, prefix: s, directory: /etc, limits: {endpoints: 0}",
        "2:74: 'discovery[0].limits.endpoints' must be between 1 and 100000, not 0"
      ),
      (
        "kind: dns, prefix: s, servers: [ns.local]",
        "2:46: 'ns.local' is not a name server: write 1.2.3.4:80, [::1]:80, :80 or unix:/path"
      ),
      (
        "kind: dns, prefix: s, servers: [10.0.0.1, 10.0.0.1]",
        "2:56: the name server 10.0.0.1:53 is there twice"
      ),
      (
        "kind: dns, prefix: s, servers: [10.0.0.1:0]",
        "2:46: '10.0.0.1:0' is not a name server: port 0 is no port to connect to"
      ),
      (
        "kind: dns, prefix: s, search: [a_b..c]",
        "2:45: 'a_b..c' is not a domain; write one such as mesh.internal"
      ),
      (
        "kind: dns, prefix: s, ttl: {min: 10s, max: 2s}",
        "2:47: 'discovery[0].ttl.min' (10s) must be at most 'discovery[0].ttl.max' (2s)"
      ),
      ("kind: dns, prefix: s, tries: 0", "2:43: 'discovery[0].tries' must be between 1 and 10, not 0"),
      (
        "kind: dns, prefix: s, family: ipv5",
        "2:44: 'discovery[0].family' must be 'any', 'ipv4' or 'ipv6', not 'ipv5'; did you mean 'ipv4'?"
      ),
      (
        "kind: dns, prefix: s, timeout: 0s",
        "2:45: 'discovery[0].timeout' must be between 50ms and 30s, not 0s"
      ),
    ])
  func discovery(entry: String, expected: String) {
    let broken = entry.replacing("services: {", with: "services: {\n ", maxReplacements: 1)
    let found = findings(in: "discovery: [{\(broken)}]\ndelegations: /svc => /#/s ;")
    #expect(found == [expected])
  }

  @Test(
    "services: a wrong value is refused with what it may be",
    arguments: [
      ("{protocol: http1}", "2:12: 'name' is missing in services[0]; write name: /svc"),
      ("{name: svc}", "2:19: 'svc' is not a name; write a path such as /svc or /svc/web"),
      ("{name: /}", "2:19: '/' is not a name; write a path such as /svc or /svc/web"),
      ("{name: /svc/..}", "2:19: '/svc/..' is not a name; write a path such as /svc or /svc/web"),
      (
        "{name: /svc, timeouts: {connect: 0s}}",
        "2:45: 'services[0].timeouts.connect' must be between 1ms and 1h, not 0s"
      ),
      (
        "{name: /svc, timeouts: {request: 1.5s}}",
        "2:45: '1.5s' is not a duration: a duration is a whole number; choose a smaller unit"
      ),
      (
        "{name: /svc, timeouts: {attempt: none, idle: none}}",
        "2:57: 'none' is not a duration: a duration is a whole number with a unit, such as 250ms, 2s, 5m or 1h"
      ),
      (
        "{name: /svc, balancer: {load: inflight}}",
        "2:42: 'services[0].balancer.load' must be 'ewma' or 'in-flight', not 'inflight'; did you mean 'in-flight'?"
      ),
      (
        "{name: /svc, limits: {requests: 0}}",
        "2:44: 'services[0].limits.requests' must be between 1 and 1000000, not 0"
      ),
      (
        "{name: /svc, protocol: http3}",
        "2:35: 'services[0].protocol' must be 'http1', 'http2' or 'same', not 'http3'; did you mean 'http1'?"
      ),
      (
        "{name: /svc, circuit_breaker: {}}",
        "2:25: unknown key 'circuit_breaker' in services[0]; did you mean 'circuitBreaker'?"
      ),
    ])
  func services(entry: String, expected: String) {
    #expect(findings(in: "services: [\(entry)]") == [expected])
  }

  @Test(
    "keys of later versions are told apart from keys that do not exist",
    arguments: [
      ("route: []", "2:1: unknown key 'route'; did you mean 'routes'?"),
      ("zebra: []", "2:1: unknown key 'zebra'"),
    ])
  func later(fragment: String, expected: String) {
    #expect(findings(in: fragment) == [expected])
  }

  @Test("every mistake of a file is reported in the order of its lines")
  func allAtOnce() {
    let text = """
      node: {shards: 0, via: maybe}
      listeners:
        - {name: a, address: 127.0.0.1}
        - {name: a, address: "127.0.0.1:80", direction: up}
      limits: {headers: 1, viaHops: 2000}
      unknown: 1
      """
    #expect(
      findings(text) == [
        "1:16: 'node.shards' must be between 1 and 256, not 0",
        "1:24: 'node.via' must be true or false, not 'maybe'",
        "3:24: '127.0.0.1' is not an address: the port is missing; write address:port",
        "4:12: the listener name 'a' is taken; it is first written at fairlead.yaml:3:12",
        "4:51: 'listeners[1].direction' must be 'outbound' or 'inbound', not 'up'",
        "5:19: 'limits.headers' must be between 8 and 10000, not 1",
        "5:31: 'limits.viaHops' must be between 1 and 1000, not 2000",
        "6:1: unknown key 'unknown'",
      ])
  }
}
