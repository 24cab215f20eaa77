// liburing.h asks for X/Open names, which would give fd_set other members than Swift's Glibc module has seen: glibc's
// choice is made first.
#include <sys/select.h>

#include <liburing.h>
