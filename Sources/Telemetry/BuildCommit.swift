// The commit this was built from: the Makefile tells it to the build; a plain `swift build` says "unknown".

import CBuild

let buildCommit = String(cString: fl_build_commit())
