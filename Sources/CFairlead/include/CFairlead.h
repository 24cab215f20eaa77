// The few C macros, variadic calls and newer kernel constants that Swift cannot import.
#ifndef CFAIRLEAD_H
#define CFAIRLEAD_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

// Constants that the importer turns into enumerations or drops, as plain integers.
static const int fl_sock_stream = SOCK_STREAM;
static const int fl_sock_cloexec = SOCK_CLOEXEC;
static const int fl_sock_nonblock = SOCK_NONBLOCK;
static const int fl_shutdown_both = SHUT_RDWR;
static const int fl_send_flags = MSG_NOSIGNAL | MSG_WAITALL;

/// Sets what every TCP stream of the proxy has: no Nagle delay, keep-alive probes. Other sockets are left as they are.
void fl_prepare_stream(int fd);

/// Takes one connection that waits at a listening socket, without waiting for one: its descriptor, or -1.
int fl_accept_pending(int fd);

/// Pins the calling thread to one CPU. Returns 0, or an errno value.
int fl_pin_current_thread(int cpu);

/// Names the calling thread (at most 15 bytes are kept).
void fl_name_current_thread(const char *name);

/// Blocks every signal for the calling thread, except SIGABRT.
void fl_block_signals(void);

/// A signalfd (non-blocking) for the signals the daemon handles: TERM, INT, HUP, USR1. They must be blocked. Returns -1 on error.
int fl_signalfd(void);

/// The next signal from a signalfd; 0 when there is none.
int fl_read_signal(int fd);

/// Raises the descriptor limit to the hard one and returns it.
unsigned long fl_raise_descriptor_limit(void);

/// Fills `cpus` with the numbers of the CPUs this process may run on; returns how many there are
/// (never more than `capacity` are written).
int fl_allowed_cpus(int *cpus, int capacity);

/// The peer credentials of a connected Unix socket (SO_PEERCRED). Returns 0, or an errno value.
int fl_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid);

/// A netlink socket of a protocol (NETLINK_SOCK_DIAG is 4), closed on exec, non-blocking, and connected to the kernel: nobody
/// else's messages reach it. Returns -1 on error, with errno.
int fl_netlink_open(int protocol);

/// A new eventfd (closed on exec), or -1. One write to it wakes whoever polls or reads it.
int fl_eventfd(void);
void fl_eventfd_signal(int fd);

/// Writes the version of the shared library that provides `symbol`, as its file name tells it (2.3 for liburing.so.2.3), for
/// libraries that do not say it themselves. `buffer` gets "unknown" where there is none.
void fl_library_version(const char *symbol, char *buffer, size_t capacity);

/// Enables an io_uring that was set up disabled: IORING_REGISTER_ENABLE_RINGS, which liburing 2.3 declares and does not
/// export. The calling thread becomes its only issuer. Returns 0, or an errno value.
int fl_enable_ring(int ring_fd);

/// How many bytes the peer of a TCP socket has acknowledged so far (tcpi_bytes_acked); 0 when the kernel does not say.
uint64_t fl_acknowledged_bytes(int fd);

/// Marks a socket's packets (SO_MARK). Returns 0, or an errno value: EPERM without CAP_NET_ADMIN.
int fl_set_mark(int fd, uint32_t mark);

/// Lets a socket of `family` listen for or speak from addresses of others (IP_TRANSPARENT, IPV6_TRANSPARENT). Returns 0, or an
/// errno value: EPERM without CAP_NET_ADMIN.
int fl_set_transparent(int fd, int family);

/// Lets the kernel choose the port of an explicitly bound address at connect, when the whole pair of addresses is known.
void fl_bind_address_only(int fd);

/// Where the client of an accepted TCP socket had connected to before a REDIRECT rule led it here. Returns 0, or an errno
/// value: ENOENT where no translation is known.
int fl_original_destination(int fd, struct sockaddr_storage *destination);

/// Whether an address is one of this host's, in this network namespace. Asks the kernel's routes over netlink: a few
/// microseconds, and never waits. 0 as well where netlink is not allowed.
int fl_is_local_address(const struct sockaddr *address, socklen_t length);

/// A datagram socket for `fl_notify`; a send on it waits two seconds at most. -1 on error.
int fl_notify_socket(void);

/// Sends `text` to the Unix datagram socket at `path` (`@name` for an abstract one), with a copy of `passed_fd` unless that is
/// -1 (SCM_RIGHTS). Returns 0, or an errno value.
int fl_notify(int socket_fd, const char *path, const char *text, size_t length, int passed_fd);

/// Makes a descriptor that was inherited this process's own: closed on exec, and blocking, because io_uring does not wait on a
/// socket that is not. Returns -1 where there is no such descriptor.
int fl_take_passed_fd(int fd);

/// Whether `fd` is a stream socket that listens.
int fl_is_listening_stream(int fd);

/// Fills `buffer` from the kernel's random source (getrandom). Returns 0, or an errno value.
int fl_random(void *buffer, size_t length);

/// Whether something keeps the time of day right, as the kernel knows it.
int fl_clock_is_synchronised(void);

/// A new file in memory only (closed on exec), or -1.
int fl_memory_file(void);

/// posix_spawn's flag for a session of the child's own.
short fl_spawn_new_session(void);

#endif
