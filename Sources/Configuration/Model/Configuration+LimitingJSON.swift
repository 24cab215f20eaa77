// What limits and shares, as JSON.

import Base

extension Configuration.RateLimit {
  /// - Parameter noun: what is counted: `requests` or `connections`.
  func write(to json: inout JSONWriter, counting noun: String = "requests") {
    json.member(noun, count)
    json.member("per", period.shortText)
    json.member("burst", burst)
  }
}

extension Configuration.Overload {
  func write(to json: inout JSONWriter) {
    json.member("loopLag", loopLag?.shortText ?? "none")
    json.member("memory", memory.text)
  }
}
