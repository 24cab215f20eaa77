// Completion for fish: one `complete` a command, an option, a value.

extension Completions {
  var fish: String {
    let begin = """
      # fish completion for fairlead(1). Made by: fairlead completion fish

      function __fairlead_names
          set -l words (commandline -opc)
          set -l at
          if set -l index (contains -i -- --socket $words)
              set at --socket $words[(math $index + 1)]
          end
          fairlead $at $argv[1] 2>/dev/null | awk 'NR > 1 { print $1 }'
      end

      # The command on the line; what stands behind an option that takes a value is none.
      function __fairlead_command
          set -l words (commandline -opc)
          set -l isValue 0
          for word in $words[2..]
              if test $isValue = 1
                  set isValue 0
                  continue
              end
              switch $word
                  case \(valued.joined(separator: " "))
                      set isValue 1
                  case '-*'
                  case '*'
                      echo $word
                      return 0
              end
          end
          return 1
      end

      function __fairlead_is
          set -l command (__fairlead_command)
          and test $command = $argv[1]
      end

      complete -c fairlead -f

      """
    let common = Self.common.map { line($0, condition: nil) }
    let all = commands.flatMap { command in
      let inside = "__fairlead_is \(command.name)"
      let operands = Set(command.completions.map(action)).sorted().filter { !$0.isEmpty }
      return [
        "complete -c fairlead -n 'not __fairlead_command >/dev/null' -a \(command.name) -d \(shellQuoted(command.summary))"
      ]
        + command.options.map { line($0, condition: inside) }
        + operands.map { "complete -c fairlead -n '\(inside)' \($0)" }
    }
    return begin + (common + all).joined(separator: "\n") + "\n"
  }

  private func line(_ option: Option, condition: String?) -> String {
    var text = "complete -c fairlead"
    if let condition { text += " -n '\(condition)'" }
    text += option.name.hasPrefix("--") ? " -l \(option.name.dropFirst(2))" : " -s \(option.name.dropFirst(1))"
    if option.value != nil {
      let action = action(option.completion)
      text += " -r" + (action.isEmpty ? "" : " \(action)")
    }
    return text + " -d \(shellQuoted(option.help))"
  }

  private func action(_ completion: Completion) -> String {
    switch completion {
    case .nothing: ""
    case .files: "-F"
    case .commands: "-a '\(names.joined(separator: " "))'"
    case .words(let words): "-a '\(words.joined(separator: " "))'"
    case .services, .workloads: "-a '(__fairlead_names \(Self.listing(completion) ?? ""))'"
    }
  }
}
