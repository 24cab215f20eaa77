#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>

/* Macros in some releases of c-ares, enumerations in others. */
static const int fl_ares_success = ARES_SUCCESS;
static const int fl_ares_timeout = ARES_ETIMEOUT;
static const int fl_ares_refused = ARES_ECONNREFUSED;
static const int fl_ares_flags = ARES_FLAG_EDNS;
static const int fl_ares_options = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
static const int fl_ares_option_ndots = ARES_OPT_NDOTS;
static const int fl_ares_option_domains = ARES_OPT_DOMAINS;
static const int fl_ares_class_internet = 1;
static const int fl_ares_library_all = ARES_LIB_INIT_ALL;
