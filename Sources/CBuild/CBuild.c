#include "CBuild.h"

// Package.swift sets this from FAIRLEAD_COMMIT, which the Makefile takes from git.
#ifndef FAIRLEAD_COMMIT
#define FAIRLEAD_COMMIT "unknown"
#endif

const char *fl_build_commit(void) { return FAIRLEAD_COMMIT; }
