// What the tests of this module ask for: everything a text is refused for.

import Configuration
import Testing

/// All findings as they are printed; empty when the text is a good configuration.
func rendered(_ text: String, name: String = "fairlead.yaml") -> String {
  rendered(bytes: Array(text.utf8), name: name)
}

func rendered(bytes: [UInt8], name: String = "fairlead.yaml") -> String {
  do throws(Diagnostics) {
    _ = try Configuration.parse(bytes: bytes, name: name, hostName: "host")
    return ""
  } catch {
    return error.render()
  }
}

/// The findings without their excerpts, as `line:column: message`.
func findings(_ text: String) -> [String] { findings(bytes: Array(text.utf8)) }

func findings(bytes: [UInt8]) -> [String] {
  do throws(Diagnostics) {
    _ = try Configuration.parse(bytes: bytes, hostName: "host")
    return []
  } catch {
    return error.items.map { $0.line > 0 ? "\($0.line):\($0.column): \($0.message)" : $0.message }
  }
}

/// The findings about `fragment` as the second line on of an otherwise good configuration.
func findings(in fragment: String) -> [String] { findings("listeners: [{name: a, address: \":0\"}]\n\(fragment)\n") }

/// A small good configuration with a place to add to.
func good(_ more: String = "") throws(Diagnostics) -> Configuration {
  try Configuration.parse(
    """
    listeners: [{name: outbound, address: "127.0.0.1:4140"}]
    discovery: [{kind: static, prefix: static, services: {web: ["127.0.0.1:9001"], api: ["127.0.0.1:9002"]}}]
    delegations: /svc => /#/static ;
    \(more)
    """, hostName: "host")
}
