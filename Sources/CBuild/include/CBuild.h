// What the build was told about itself: C, because a Swift compilation condition cannot carry a text.
#ifndef CBUILD_H
#define CBUILD_H

/// The commit this was built from, or "unknown". A constant of the program.
const char *fl_build_commit(void);

#endif
