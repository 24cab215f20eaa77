// What an entry says of its balancer, as JSON in the words of the file.

import Base
import Policy

extension Configuration.Balancer {
  /// The members of `balancer`.
  func write(to json: inout JSONWriter) {
    if let kind { json.member("kind", kind.rawValue) }
    if let load { json.member("load", load.rawValue) }
    if let decay { json.member("decay", decay.shortText) }
    if let hash {
      json.object("hash") { json in
        switch hash {
        case .header(let name): json.member("header", name)
        case .cookie(let name): json.member("cookie", name)
        case .source: json.member("source", true)
        }
      }
    }
    if let tableSize { json.member("tableSize", tableSize) }
    if let slowStart { json.member("slowStart", slowStart.shortText) }
    if apertureSize != nil || aperturePeers != nil {
      json.object("aperture") { json in
        if let apertureSize { json.member("size", apertureSize) }
        if let aperturePeers { json.member("peers", aperturePeers) }
        if let aperturePosition { json.member("position", aperturePosition) }
      }
    }
    if prefer != nil || spillOver != nil {
      json.object("locality") { json in
        if let prefer { json.member("prefer", prefer.rawValue) }
        if let spillOver { json.member("spillOver", spillOver) }
      }
    }
    if let panic { json.member("panic", panic) }
  }
}
