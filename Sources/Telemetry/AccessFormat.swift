// Access records as lines: JSON, one object a line, or text in the manner of the common log format.
// Whatever a client wrote is escaped: no byte of a request can end a line, close a string or reach a terminal raw.

/// How an access log line looks.
public enum AccessLogFormat: String, CaseIterable, Sendable {
  /// One JSON object a line. Absent things are left out; cut texts come with their original length.
  case json
  /// `peer - - [time] "METHOD path HTTP/1.1" status bytes "host" service endpoint seconds retries code workload route`
  case text

  /// Appends one line with its line feed.
  public func append(_ record: borrowing AccessRecord, names: NameTable, to output: inout TextOutput) {
    switch self {
    case .json: appendJSON(record, names, &output)
    case .text: appendText(record, names, &output)
    }
  }

  private func appendJSON(_ record: borrowing AccessRecord, _ names: NameTable, _ output: inout TextOutput) {
    output.append("{\"time\":\"")
    appendISO8601(record.wallTimeNanoseconds, &output)
    output.append("\",\"listener\":")
    output.append(jsonString: names.name(of: record.listener))
    if record.service != 0 {
      output.append(",\"service\":")
      output.append(jsonString: names.name(of: record.service))
    }
    appendField("peer", record.peer, &output)
    if record.workload != 0 {
      output.append(",\"workload\":")
      output.append(jsonString: names.name(of: record.workload))
    }
    if record.route != 0 {
      output.append(",\"route\":")
      output.append(jsonString: names.name(of: record.route))
    }
    appendField("endpoint", record.endpoint, &output)
    output.append(",\"method\":")
    record.withText(\.method, record.methodLength) { output.append(jsonString: $0) }
    output.append(",\"host\":")
    record.withText(\.host, record.hostLength) { output.append(jsonString: $0) }
    output.append(",\"path\":")
    record.withText(\.path, record.pathLength) { output.append(jsonString: $0) }
    if record.originalPathLength > UInt16(record.pathLength) {
      appendField("path_bytes", UInt64(record.originalPathLength), &output)
    }
    if record.httpVersion != 0 {
      output.append(",\"http_version\":\"")
      output.append(UInt64(record.httpVersion / 10))
      if record.httpVersion < 20 {
        output.append(".")
        output.append(UInt64(record.httpVersion % 10))
      }
      output.append("\"")
    }
    appendField("status", UInt64(record.status), &output)
    output.append(",\"duration_ms\":")
    output.append(record.durationNanoseconds, digits: 6)
    if record.firstByteNanoseconds != 0 {
      output.append(",\"first_byte_ms\":")
      output.append(record.firstByteNanoseconds, digits: 6)
    }
    appendField("bytes_in", record.bytesIn, &output)
    appendField("bytes_out", record.bytesOut, &output)
    if record.retryCount != 0 { appendField("retries", UInt64(record.retryCount), &output) }
    if record.hedge != .none {
      output.append(",\"hedge\":")
      output.append(jsonString: record.hedge == .won ? "won" : "lost")
    }
    if record.errorCode != 0 {
      output.append(",\"code\":\"")
      appendCode(record.errorCode, &output)
      output.append("\"")
    }
    if record.traceHigh | record.traceLow != 0 {
      output.append(",\"trace\":\"")
      appendTrace(record.traceHigh, &output)
      appendTrace(record.traceLow, &output)
      output.append("\"")
    }
    output.append("}\n")
  }

  private func appendText(_ record: borrowing AccessRecord, _ names: NameTable, _ output: inout TextOutput) {
    if record.peer.isNone { output.append("-") } else { output.append(record.peer) }
    output.append(" - - [")
    appendCommonLogTime(record.wallTimeNanoseconds, &output)
    output.append("] \"")
    record.withText(\.method, record.methodLength) { output.append(logText: $0) }
    output.append(" ")
    record.withText(\.path, record.pathLength) { output.append(logText: $0) }
    if record.originalPathLength > UInt16(record.pathLength) { output.append("...") }
    if record.httpVersion != 0 {
      output.append(" HTTP/")
      output.append(UInt64(record.httpVersion / 10))
      output.append(".")
      output.append(UInt64(record.httpVersion % 10))
    }
    output.append("\" ")
    output.append(UInt64(record.status))
    output.append(" ")
    output.append(record.bytesOut)
    output.append(" \"")
    record.withText(\.host, record.hostLength) { output.append(logText: $0) }
    output.append("\" ")
    if record.service == 0 { output.append("-") } else { output.append(logText: names.name(of: record.service)) }
    output.append(" ")
    if record.endpoint.isNone { output.append("-") } else { output.append(record.endpoint) }
    output.append(" ")
    output.append(record.durationNanoseconds, digits: 9)
    output.append(" ")
    output.append(UInt64(record.retryCount))
    output.append(" ")
    if record.errorCode == 0 { output.append("-") } else { appendCode(record.errorCode, &output) }
    output.append(" ")
    if record.workload == 0 { output.append("-") } else { output.append(logText: names.name(of: record.workload)) }
    output.append(" ")
    if record.route == 0 { output.append("-") } else { output.append(logText: names.name(of: record.route)) }
    output.append("\n")
  }

  private func appendField(_ name: String, _ value: UInt64, _ output: inout TextOutput) {
    output.append(",\"\(name)\":")
    output.append(value)
  }

  private func appendField(_ name: String, _ address: RecordedAddress, _ output: inout TextOutput) {
    if address.isNone { return }
    output.append(",\"\(name)\":\"")
    output.append(address)
    output.append("\"")
  }

  private func appendCode(_ code: UInt16, _ output: inout TextOutput) {
    output.append("FL")
    output.append(Int(code), width: 4)
  }

  private func appendTrace(_ word: UInt64, _ output: inout TextOutput) {
    for shift in stride(from: UInt64(56), through: 0, by: -8) {
      output.appendHexadecimal(UInt8(truncatingIfNeeded: word >> shift))
    }
  }
}

extension AccessRecord {
  /// The kept part of an inline text. The length is clamped, so a slot that was filled in wrongly shows wrong text, no more.
  func withText<let capacity: Int>(
    _ text: KeyPath<AccessRecord, InlineArray<capacity, UInt8>>, _ length: UInt8,
    _ body: (UnsafeRawBufferPointer) -> Void
  ) {
    withUnsafeBytes(of: self[keyPath: text]) {
      body(UnsafeRawBufferPointer(rebasing: $0[..<min(Int(length), capacity)]))
    }
  }
}

/// `2025-11-21T03:00:00.123456Z`
func appendISO8601(_ nanoseconds: UInt64, _ output: inout TextOutput) {
  let time = CalendarTime(secondsSince1970: nanoseconds / 1_000_000_000)
  output.append(time.year, width: 4)
  output.append("-")
  output.append(time.month, width: 2)
  output.append("-")
  output.append(time.day, width: 2)
  output.append("T")
  appendClock(time, &output)
  output.append(".")
  output.append(Int(nanoseconds % 1_000_000_000 / 1000), width: 6)
  output.append("Z")
}

/// `21/Nov/2025:03:00:00 +0000`
private func appendCommonLogTime(_ nanoseconds: UInt64, _ output: inout TextOutput) {
  let time = CalendarTime(secondsSince1970: nanoseconds / 1_000_000_000)
  output.append(time.day, width: 2)
  output.append("/\(monthNames[time.month - 1])/")
  output.append(time.year, width: 4)
  output.append(":")
  appendClock(time, &output)
  output.append(" +0000")
}

private func appendClock(_ time: CalendarTime, _ output: inout TextOutput) {
  output.append(time.hour, width: 2)
  output.append(":")
  output.append(time.minute, width: 2)
  output.append(":")
  output.append(time.second, width: 2)
}

private let monthNames = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
