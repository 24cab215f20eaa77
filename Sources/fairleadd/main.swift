// The daemon: arguments in, exit code out. What it does is in Daemon.swift.

import Glibc

exit(Daemon.main(Array(CommandLine.arguments.dropFirst())))
