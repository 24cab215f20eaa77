// Completion for zsh: _arguments for what every command takes, then once more for the command.

extension Completions {
  var zsh: String {
    """
    #compdef fairlead
    # zsh completion for fairlead(1). Made by: fairlead completion zsh

    _fairlead_names() {
        local -a names
        names=(${(f)"$(_call_program names fairlead $fairlead_at $1 2>/dev/null | awk 'NR > 1 { print $1 }')"})
        compadd -a names
    }

    _fairlead_commands() {
        local -a commands
        commands=(
    \(commands.map { "        \(shellQuoted("\($0.name):\($0.summary)"))" }.joined(separator: "\n"))
        )
        _describe command commands
    }

    _fairlead() {
        local curcontext=$curcontext state line
        local -a common fairlead_at
        local place=${words[(i)--socket*]}
        case ${words[place]} in
            --socket) fairlead_at=(--socket ${words[place + 1]}) ;;
            --socket=*) fairlead_at=(${words[place]}) ;;
        esac
        typeset -A opt_args
        common=(
    \(Self.common.map { "        \(shellQuoted(specification($0)))" }.joined(separator: "\n"))
        )
        _arguments -C $common '1: :_fairlead_commands' '*:: :->rest'
        [[ $state == rest ]] || return
        curcontext=${curcontext%:*}-$words[1]:
        case $words[1] in
    \(commands.map(branch).joined(separator: "\n"))
        esac
    }

    if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _fairlead "$@"; else compdef _fairlead fairlead; fi

    """
  }

  private func branch(_ command: CommandSpecification) -> String {
    let operands = command.completions.enumerated().map { index, completion in
      let isLast = index == command.completions.count - 1 && command.operandCount.upperBound > index + 1
      return "\(isLast ? "*" : "\(index + 1)"): :\(action(completion))"
    }
    let words = (command.options.map(specification) + operands).map { " \(shellQuoted($0))" }.joined()
    return "        \(command.name)) _arguments $common\(words) ;;"
  }

  /// `--name[help]:value:action`.
  private func specification(_ option: Option) -> String {
    let help = option.help.reduce(into: "") { $0 += "[]:\\".contains($1) ? "\\\($1)" : String($1) }
    let value = option.value.map { value in ":\(value.filter { $0.isLetter }.lowercased()):\(action(option.completion))"
    }
    return (option.repeats ? "*" : "") + option.name + (option.name.hasPrefix("--") && option.value != nil ? "=" : "")
      + "[\(help)]" + (value ?? "")
  }

  private func action(_ completion: Completion) -> String {
    switch completion {
    case .nothing: " "
    case .files: "_files"
    case .commands: "_fairlead_commands"
    case .words(let words): "(\(words.joined(separator: " ")))"
    case .services, .workloads: " _fairlead_names \(Self.listing(completion) ?? "")"
    }
  }
}
