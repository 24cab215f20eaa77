// What requests are called: the identifiers that are tried, in order.

import Base
public import Policy

extension Configuration {
  /// A request is for the service of its host.
  public static let defaultIdentifiers: [Identifier] = [.host()]
}

extension Identifier {
  /// Writes the identifier as a configuration has it.
  func write(to json: inout JSONWriter) {
    switch self {
    case .host(keepsPort: false): json.string("host")
    case .methodHost: json.string("method-host")
    case .invoke: json.string("invoke")
    case .host(keepsPort: true):
      json.object {
        $0.member("kind", "host")
        $0.member("port", true)
      }
    case .path(let segments, let consume):
      json.object {
        $0.member("kind", "path")
        $0.member("segments", segments)
        $0.member("consume", consume)
      }
    case .header(let name):
      json.object {
        $0.member("kind", "header")
        $0.member("name", name)
      }
    case .fixed(let name):
      json.object {
        $0.member("kind", "static")
        $0.member("name", name.description)
      }
    }
  }
}
