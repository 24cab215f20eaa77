// Completion for bash: one function that goes over the words before the cursor and then looks at what may come.

extension Completions {
  var bash: String {
    """
    # bash completion for fairlead(1). Made by: fairlead completion bash

    _fairlead_names() {
        if [ -n "$socket" ]; then
            fairlead --socket "$socket" "$1" 2>/dev/null
        else
            fairlead "$1" 2>/dev/null
        fi | awk 'NR > 1 { print $1 }'
    }

    # Names are taken as they are: compgen -W would expand what looks like a variable in them.
    _fairlead_pick() {
        local name
        while read -r name; do
            [[ $name == "$current"* ]] && COMPREPLY+=("$name")
        done < <(_fairlead_names "$1")
    }

    _fairlead_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

    _fairlead_files() {
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
    }

    _fairlead() {
        local current=${COMP_WORDS[COMP_CWORD]} previous= command= socket= position=0 i word
        COMPREPLY=()
        for ((i = 1; i < COMP_CWORD; i++)); do
            word=${COMP_WORDS[i]}
            # --socket=PATH comes as three words.
            [ "$word" = = ] && continue
            case $previous in
                --socket) socket=${word/#\\~\\//$HOME/}; previous=; continue ;;
                \(valued.filter { $0 != "--socket" }.joined(separator: " | "))) previous=; continue ;;
            esac
            previous=$word
            case $word in
                -*) ;;
                *) if [ -z "$command" ]; then command=$word; else position=$((position + 1)); fi ;;
            esac
        done
        [ "$current" = = ] && current=
        case $command$previous in
    \(values)
        esac
        case $current in
            -*)
                case $command in
    \(options)
                    *) _fairlead_words '\(Self.common.map(\.name).joined(separator: " "))' ;;
                esac
                return ;;
        esac
        if [ -z "$command" ]; then
            _fairlead_words '\(names.joined(separator: " "))'
            return
        fi
        case $command:$position in
    \(operands)
        esac
    }

    complete -F _fairlead fairlead

    """
  }

  private func action(_ completion: Completion) -> String {
    switch completion {
    case .nothing: ":"
    case .files: "_fairlead_files"
    case .commands: "_fairlead_words \(shellQuoted(names.joined(separator: " ")))"
    case .words(let words): "_fairlead_words \(shellQuoted(words.joined(separator: " ")))"
    case .services, .workloads: "_fairlead_pick \(Self.listing(completion) ?? "")"
    }
  }

  /// What stands behind an option.
  private var values: String {
    let own = commands.flatMap { command in
      command.options.filter { $0.value != nil }.map {
        "        \(command.name)\($0.name)) \(action($0.completion)); return ;;"
      }
    }
    let common = Self.common.filter { $0.value != nil }.map {
      "        *\($0.name)) \(action($0.completion)); return ;;"
    }
    return (own + common).joined(separator: "\n")
  }

  private var options: String {
    commands.map { command in
      let all = (command.options + Self.common).map(\.name).joined(separator: " ")
      return "                \(command.name)) _fairlead_words '\(all)' ;;"
    }.joined(separator: "\n")
  }

  private var operands: String {
    commands.flatMap { command in
      command.completions.enumerated().map { index, completion in
        let isLast = index == command.completions.count - 1 && command.operandCount.upperBound > index + 1
        return "        \(command.name):\(isLast ? "*" : "\(index)")) \(action(completion)) ;;"
      }
    }.joined(separator: "\n")
  }
}
