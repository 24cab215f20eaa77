#define _GNU_SOURCE
#include "CFairlead.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

int fl_pin_current_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void fl_name_current_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

void fl_block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  // A watchdog that gives up on this process sends it: blocked, it would wait for the kill that follows.
  sigdelset(&all, SIGABRT);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}

int fl_signalfd(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGUSR1);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int fl_read_signal(int fd) {
  struct signalfd_siginfo info;
  return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

unsigned long fl_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return (unsigned long)limit.rlim_cur;
}

int fl_allowed_cpus(int *cpus, int capacity) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  int count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &set)) continue;
    if (count < capacity) cpus[count] = cpu;
    count++;
  }
  return count;
}

int fl_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return errno;
  *pid = credentials.pid;
  *uid = credentials.uid;
  *gid = credentials.gid;
  return 0;
}

int fl_netlink_open(int protocol) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) return -1;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (connect(fd, (struct sockaddr *)&kernel, sizeof kernel) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

int fl_random(void *buffer, size_t length) {
  return getrandom(buffer, length, 0) == (ssize_t)length ? 0 : errno;
}

void fl_prepare_stream(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int fl_eventfd(void) { return eventfd(0, EFD_CLOEXEC); }

void fl_eventfd_signal(int fd) {
  uint64_t one = 1;
  // Blocks only at 2^64 - 2 signals that nobody read.
  while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void fl_library_version(const char *symbol, char *buffer, size_t capacity) {
  snprintf(buffer, capacity, "unknown");
  void *address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info;
  if (!address || !dladdr(address, &info) || !info.dli_fname) return;
  char *path = realpath(info.dli_fname, NULL);
  if (!path) return;
  const char *version = strstr(path, ".so.");
  if (version) snprintf(buffer, capacity, "%s", version + 4);
  free(path);
}

int fl_enable_ring(int ring_fd) {
  enum { register_enable_rings = 12 };
  return syscall(__NR_io_uring_register, ring_fd, register_enable_rings, NULL, 0) < 0 ? errno : 0;
}

int fl_accept_pending(int fd) {
  struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
  if (poll(&poll_fd, 1, 0) != 1) return -1;
  return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

uint64_t fl_acknowledged_bytes(int fd) {
  // glibc's struct tcp_info ends before this member; linux/tcp.h clashes with netinet/tcp.h. The kernel's layout is ABI.
  unsigned char info[256];
  socklen_t length = sizeof info;
  uint64_t acknowledged = 0;
  const size_t offset = 120;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0 && length >= offset + sizeof acknowledged)
    memcpy(&acknowledged, info + offset, sizeof acknowledged);
  return acknowledged;
}

int fl_set_mark(int fd, uint32_t mark) {
  return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? 0 : errno;
}

int fl_set_transparent(int fd, int family) {
  int on = 1;
  // An IPv6 socket that also takes IPv4 needs both.
  if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof on) != 0) return errno;
  return setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) == 0 || family == AF_INET6 ? 0 : errno;
}

void fl_bind_address_only(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
}

int fl_original_destination(int fd, struct sockaddr_storage *destination) {
  // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h.
  enum { original_destination = 80 };
  socklen_t length = sizeof *destination;
  if (getsockopt(fd, IPPROTO_IP, original_destination, destination, &length) == 0 &&
      destination->ss_family == AF_INET)
    return 0;
  length = sizeof *destination;
  if (getsockopt(fd, IPPROTO_IPV6, original_destination, destination, &length) == 0) return 0;
  return errno;
}

int fl_is_local_address(const struct sockaddr *address, socklen_t length) {
  // The kernel knows it as a route of type "local". Binding a socket would not do: on hosts with floating addresses
  // (net.ipv4.ip_nonlocal_bind) that works with any address.
  struct {
    struct nlmsghdr header;
    struct rtmsg route;
    struct rtattr attribute;
    unsigned char destination[16];
  } request = {
      .header = {.nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST},
      .attribute = {.rta_type = RTA_DST},
  };
  size_t size;
  if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
    size = sizeof(struct in_addr);
    memcpy(request.destination, &((const struct sockaddr_in *)address)->sin_addr, size);
  } else if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
    size = sizeof(struct in6_addr);
    memcpy(request.destination, &((const struct sockaddr_in6 *)address)->sin6_addr, size);
  } else {
    return 0;
  }
  request.route.rtm_family = (unsigned char)address->sa_family;
  request.route.rtm_dst_len = (unsigned char)(size * 8);
  request.attribute.rta_len = (unsigned short)RTA_LENGTH(size);
  request.header.nlmsg_len = (uint32_t)(offsetof(typeof(request), destination) + size);

  int fd = fl_netlink_open(NETLINK_ROUTE);
  if (fd < 0) return 0;
  struct {
    struct nlmsghdr header;
    struct rtmsg route;
    char attributes[1000];
  } reply;
  // The kernel has answered when the send returns.
  ssize_t count = send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -1 : recv(fd, &reply, sizeof reply, 0);
  close(fd);
  return count >= (ssize_t)NLMSG_LENGTH(sizeof reply.route) && reply.header.nlmsg_type == RTM_NEWROUTE &&
         reply.route.rtm_type == RTN_LOCAL;
}

int fl_clock_is_synchronised(void) {
  struct timex clock = {0};
  int state = adjtimex(&clock);
  return state >= 0 && state != TIME_ERROR;
}

int fl_memory_file(void) { return memfd_create("fairlead", MFD_CLOEXEC); }

short fl_spawn_new_session(void) { return POSIX_SPAWN_SETSID; }

int fl_notify_socket(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct timeval limit = {.tv_sec = 2};
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return fd;
}

int fl_notify(int socket_fd, const char *path, const char *text, size_t length, int passed_fd) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t path_length = strlen(path);
  if (path_length < 2 || path_length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return EINVAL;
  memcpy(address.sun_path, path, path_length);
  // An abstract name is written with '@' and begins with NUL; it is as long as it is, without a NUL at its end.
  size_t end = path[0] == '@' ? 0 : 1;
  if (path[0] == '@') address.sun_path[0] = 0;

  struct iovec bytes = {.iov_base = (void *)text, .iov_len = length};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_name = &address,
      .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length + end),
      .msg_iov = &bytes,
      .msg_iovlen = 1,
  };
  if (passed_fd >= 0) {
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed_fd, sizeof passed_fd);
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

int fl_take_passed_fd(int fd) {
  int status = fcntl(fd, F_GETFL);
  if (status < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -1;
  if (status & O_NONBLOCK) fcntl(fd, F_SETFL, status & ~O_NONBLOCK);
  return 0;
}

int fl_is_listening_stream(int fd) {
  int type = 0, listening = 0;
  socklen_t type_length = sizeof type, listening_length = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) == 0 && type == SOCK_STREAM &&
         getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_length) == 0 && listening;
}
