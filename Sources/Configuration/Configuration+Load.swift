// From files to a configuration, or to everything that is wrong with them.

import Base
import Glibc

extension Configuration {
  /// Reads a file and, when asked, the `*.yaml` files of a directory beside it, in the order of their names.
  ///
  /// Fragments add to the file: lists are appended, mappings joined, delegation tables appended; one value written in
  /// two files is an error. Blocks on the disk: for start-up and the control thread.
  ///
  /// - Parameters:
  ///   - path: as it shall stand in messages.
  ///   - fragments: a directory such as /etc/fairlead/conf.d; one that does not exist holds nothing.
  ///   - hostName: what the node is called when nothing says it; nil for the host's own name.
  /// - Throws: all findings.
  public static func load(
    path: String, fragments: String? = nil, hostName: String? = nil
  ) throws(Diagnostics) -> Configuration {
    var problems = Diagnostics()
    var texts: [(name: String, bytes: [UInt8])] = []
    var paths = [path]
    if let fragments {
      do throws(Diagnostic) {
        paths += try ConfigurationFile.fragments(in: fragments)
      } catch {
        problems.append(error)
      }
    }
    for path in paths {
      do throws(Diagnostic) {
        texts.append((path, try ConfigurationFile.read(path)))
      } catch {
        problems.append(error)
      }
    }
    guard problems.isEmpty else { throw problems }
    return try parse(texts, hostName: hostName)
  }

  /// Reads a configuration from a text.
  /// - Parameter name: as it shall stand in messages.
  public static func parse(
    _ text: String, name: String = "fairlead.yaml", hostName: String? = nil
  ) throws(Diagnostics) -> Configuration {
    try parse([(name, Array(text.utf8))], hostName: hostName)
  }

  /// Reads a configuration from bytes, for what may not be text at all.
  public static func parse(
    bytes: [UInt8], name: String = "fairlead.yaml", hostName: String? = nil
  ) throws(Diagnostics) -> Configuration {
    try parse([(name, bytes)], hostName: hostName)
  }

  /// Reads a configuration from texts, the first with the others' fragments added.
  static func parse(
    _ texts: [(name: String, bytes: [UInt8])], hostName: String?, _ decoder: Decoder = Decoder()
  ) throws(Diagnostics) -> Configuration {
    var merged = MergedDocument(SourceText(name: texts.first?.name ?? "", bytes: []))
    var isWhole = true
    for text in texts {
      let source = SourceText(name: text.name, bytes: text.bytes)
      let (root, findings) = YAMLReader.read(source)
      for finding in findings { decoder.report(finding) }
      if let root { merged.add(root, decoder) } else if !findings.isEmpty { isWhole = false }
    }
    // A file that is no YAML says nothing about the rest: what is missing may stand in it.
    guard isWhole else { throw decoder.sorted(files: texts.map(\.name)) }
    let draft = Draft(
      decoder, root: merged.root, delegations: merged.delegations, hostName: hostName ?? Self.hostName())
    CrossChecks(decoder, draft, file: merged.root.range.source.name).run()
    guard decoder.diagnostics.isEmpty, let configuration = draft.finished else {
      throw decoder.sorted(files: texts.map(\.name))
    }
    return configuration
  }
}

extension Decoder {
  fileprivate func sorted(files: [String]) -> Diagnostics {
    sort(files: files)
    return diagnostics
  }
}
