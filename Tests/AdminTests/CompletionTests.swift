// Completion in the real shells, against the tool's own script; services come from a `fairlead` that is a script of ours.

import TestSupport
import Testing

@testable import AdminClient

@Suite struct CompletionTests {
  private static let bash = findTool("bash")
  private static let zsh = findTool("zsh")
  private static let fish = findTool("fish")

  /// A directory with a `fairlead` that knows two services and a workload, and says which socket it was asked on.
  private func directory() throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    let tool = try directory.write(
      "fairlead",
      """
      #!/bin/sh
      [ "$1" = --socket ] && { at=$2; shift 2; }
      case $1 in
        services) printf 'SERVICE  ENDPOINTS\\n/svc/web  1/1\\n/svc/$HOME  1/1\\n'; echo "/svc/api$at 0/1" ;;
        workloads) printf 'WORKLOAD  REQUESTS\\nshop  1\\nother  2\\n' ;;
        *) exit 1 ;;
      esac

      """)
    _ = try Child.run(["chmod", "755", tool])
    for shell in Shell.allCases {
      let script = Run(["completion", shell.rawValue])
      #expect(script.code == 0 && script.errors.isEmpty)
      _ = try directory.write("completion.\(shell.rawValue)", script.output)
    }
    return directory
  }

  /// Lines, their words separated by `|`, the last one where the cursor is, and what is offered there.
  static let cases: [(line: String, offers: [String])] = [
    ("fairlead|sta", ["stat", "status"]), ("fairlead|--socket|/x|drai", ["drain"]),
    ("fairlead|drain|--no", ["--no-wait"]), ("fairlead|endpoints|/svc/w", ["/svc/web"]),
    ("fairlead|--socket|/x|endpoints|/svc/a", ["/svc/api/x"]), ("fairlead|stat|/svc/web|/svc/a", ["/svc/api"]),

    ("fairlead|explain|--workload|sh", ["shop"]), ("fairlead|explain|-X|DEL", ["DELETE"]),
    ("fairlead|-o|js", ["json"]), ("fairlead|capture|con", ["confirm"]), ("fairlead|config|d", ["diff"]),
    ("fairlead|help|expl", ["explain"]), ("fairlead|completion|f", ["fish"]), ("fairlead|logging|wa", ["warning"]),
    ("fairlead|reload|con", ["confirm"]),
  ]

  @Test(
    "bash completes commands, options, their values and services",
    .enabled(if: bash != nil, "needs bash"), arguments: cases)
  func inBash(line: String, offers: [String]) throws {
    let directory = try directory()
    let words = line.split(separator: "|", omittingEmptySubsequences: false).map { shellQuoted(String($0)) }
    let run = try Child.run([
      "bash", "--norc", "-c",
      """
      set -u; PATH=\(directory.path):$PATH; source \(directory.path)/completion.bash
      COMP_WORDS=(\(words.joined(separator: " "))); COMP_CWORD=\(words.count - 1)
      _fairlead; printf '%s\\n' "${COMPREPLY[@]}"
      """,
    ])
    #expect(run.error == "")
    #expect(run.output.split(separator: "\n").map(String.init).sorted() == offers)
  }

  @Test("bash completes what stands behind an equals sign, and files", .enabled(if: bash != nil, "needs bash"))
  func bashWords() throws {
    let directory = try directory()
    func complete(_ words: String, _ place: Int) throws -> [String] {
      let run = try Child.run([
        "bash", "--norc", "-c",
        """
        PATH=\(directory.path):$PATH; source \(directory.path)/completion.bash; cd \(directory.path)
        COMP_WORDS=(\(words)); COMP_CWORD=\(place); _fairlead; printf '%s\\n' "${COMPREPLY[@]}"
        """,
      ])
      return run.output.split(separator: "\n").map(String.init)
    }
    #expect(try complete("fairlead --socket = /y endpoints /svc/a", 5) == ["/svc/api/y"])
    #expect(try complete("fairlead explain --workload = oth", 4) == ["other"])
    // Nothing is expanded in a name.
    #expect(try complete("fairlead stat '/svc/$H'", 2) == ["/svc/$HOME"])
    #expect(try complete("fairlead validate completion.b", 2) == ["completion.bash"])
    #expect(try complete("fairlead capture --config completion.z", 3) == ["completion.zsh"])
    #expect(try complete("fairlead status x", 2) == [])
    #expect(try complete("fairlead frobnicate x", 2) == [])
    #expect(try complete("fairlead ''", 1) == Completions(CommandCatalog.all.filter(\.isAvailable)).names)
  }

  @Test(
    "fish completes commands, options, their values and services",
    .enabled(if: fish != nil, "needs fish (apt-get install fish)"), arguments: cases)
  func inFish(line: String, offers: [String]) throws {
    let directory = try directory()
    let text = line.split(separator: "|").joined(separator: " ")
    let run = try Child.run(
      ["fish", "--no-config", "-c", "source \(directory.path)/completion.fish; complete -C \(shellQuoted(text))"],
      environment: ["PATH": "\(directory.path):/usr/bin:/bin", "HOME": directory.path])
    #expect(run.error == "")
    #expect(
      run.output.split(separator: "\n").map { String($0.prefix { $0 != "\t" }) }.sorted() == offers, "\(run.output)")
  }

  @Test(
    "zsh completes commands, options, their values and services",
    .enabled(if: zsh != nil, "needs zsh (apt-get install zsh)"))
  func inZsh() throws {
    let directory = try directory()
    _ = try directory.write("drive.zsh", Self.driver)
    for (line, offers) in Self.cases {
      let text = line.split(separator: "|").joined(separator: " ")
      let run = try Child.run(["zsh", "-f", directory.path("drive.zsh"), directory.path, text])
      // What is the only way on is put on the line; of several the part they have in common.
      let last = offers.count == 1 ? offers[0] : "stat"
      #expect(run.output.split(separator: " ").dropLast().last.map(String.init) == last, "\(line): \(run.output)")
    }
  }

  /// A zsh in a pseudo terminal: the line is typed, the tab key pressed, and what is on the line then is printed.
  private static let driver = """
    zmodload zsh/zpty
    zpty z "env TERM=dumb zsh -f -i"
    zpty -w z "PATH=$1:\\$PATH; cd /; autoload -Uz compinit; compinit -u -D; source $1/completion.zsh; unsetopt beep"
    zpty -w z "shown() { print -r -- FIR''ST \\$BUFFER SECO''ND; BUFFER=; zle accept-line; }; zle -N shown"
    zpty -w z "bindkey '^T' shown; bindkey '^I' complete-word; print REA''DY"
    zpty -r -m z out '*READY*'
    zpty -w -n z "$2"$'\\t'
    zpty -w -n z $'\\C-t'
    zpty -r -m z out '*FIRST*SECOND*'
    print -r -- ${out##*FIRST}
    zpty -d z
    """

  @Test("the scripts name every command that is there, and none that is not")
  func commands() {
    for shell in Shell.allCases {
      let script = Completions(CommandCatalog.all.filter(\.isAvailable)).script(for: shell)
      for command in CommandCatalog.all where command.isAvailable {
        #expect(script.contains(command.name), "\(shell): \(command.name)")
      }
      #expect(!script.contains(" tap "))
    }
    let wrong = Run(["completion", "fisch"])
    #expect(wrong.code == 2)
    #expect(wrong.errors == "fairlead: completion is for bash, zsh or fish, not 'fisch'; did you mean 'fish'?\n")
  }
}
