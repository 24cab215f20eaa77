// What this program is: its version, the commit it was built from (BuildCommit.swift), the compiler, and the libraries that
// the program says it links.

/// The program's version and its build. A plain value.
public struct BuildInformation: Equatable, Sendable {
  public var version: String
  public var commit: String
  public var swift: String
  /// Libraries by name, in the order they are shown. The programs that link them say their versions.
  public var libraries: [(name: String, version: String)]

  /// This build, with the versions of the libraries that the caller links.
  public init(libraries: [(name: String, version: String)] = []) {
    version = "0.1.0"
    commit = buildCommit
    swift = compilerVersion
    self.libraries = libraries
  }

  /// `fairleadd 0.1.0 (commit unknown, swift 6.3, liburing 2.3)`
  public func line(program: String) -> String {
    let parts = ["commit \(commit)", "swift \(swift)"] + libraries.map { "\($0.name) \($0.version)" }
    return "\(program) \(version) (\(parts.joined(separator: ", ")))"
  }

  public static func == (a: BuildInformation, b: BuildInformation) -> Bool {
    a.version == b.version && a.commit == b.commit && a.swift == b.swift
      && a.libraries.elementsEqual(b.libraries) { $0 == $1 }
  }
}

// The language offers no version string, only comparisons.
private var compilerVersion: String {
  #if compiler(>=6.4)
    "6.4 or later"
  #elseif compiler(>=6.3)
    "6.3"
  #elseif compiler(>=6.2)
    "6.2"
  #else
    "before 6.2"
  #endif
}
