// Entries of `discovery` as JSON, in the words of the file.

import Base
import Policy

extension Configuration.Discovery {
  func write(to json: inout JSONWriter) {
    json.member("kind", kind)
    json.member("prefix", prefix)
    switch self {
    case .static(let discovery): discovery.write(to: &json)
    case .file(let discovery): discovery.write(to: &json)
    case .dns(let discovery): discovery.write(to: &json)
    }
  }
}

extension Configuration.StaticDiscovery {
  fileprivate func write(to json: inout JSONWriter) {
    json.object("services") { json in
      for service in services {
        json.array(service.name) { json in
          for endpoint in service.endpoints { json.string(endpoint.description) }
        }
      }
    }
  }
}

extension Configuration.FileDiscovery {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("directory", directory)
    json.object("limits") { json in
      json.member("services", limits.services)
      json.member("endpoints", limits.endpoints)
      json.member("fileBytes", limits.fileBytes.description)
    }
  }
}

extension Configuration.DNSDiscovery {
  fileprivate func write(to json: inout JSONWriter) {
    json.array("servers") { json in
      for server in servers { json.string(server.description) }
    }
    if let search {
      json.array("search") { json in
        for domain in search { json.string(domain) }
      }
    }
    if let ndots { json.member("ndots", ndots) }
    json.member("family", family.rawValue)
    json.member("timeout", timeout.shortText)
    json.member("tries", tries)
    json.object("ttl") { json in
      json.member("min", ttl.min.shortText)
      json.member("max", ttl.max.shortText)
      json.member("negative", ttl.negative.shortText)
    }
    json.object("limits") { json in
      json.member("names", limits.names)
      json.member("records", limits.records)
    }
  }
}
