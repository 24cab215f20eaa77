// The floor: what forwarding costs on io_uring when nothing else is done. A bare forwarder with one persistent upstream
// connection per client connection, multishot accept and receive, a provided buffer ring, one send in flight. It looks
// for the end of each head and for its Content-Length, so that it knows where messages end, and does nothing with that.
// No routing, no pool, no rewriting, no time-outs, no refusal: whatever a real proxy costs above this is its own work.
//
//   floor --listen PORT --to PORT [name=value ...]
//
// prints "ready" once it listens on 127.0.0.1. The names vary one thing at a time, for `bench/lab`; the defaults
// are what Fairlead does. They are listed at `Options`.
//
// What it leaves out on purpose: a head cut by a segment boundary ends the looking (bytes still flow), connecting to the
// upstream blocks (loopback answers at once), and a slow reader is bounded only by the buffer ring as a whole.

#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Newer than the liburing of Debian 12 (2.3).
#define ENTER_NO_IOWAIT (1U << 7)

static struct Options {
  int setup;            // 0 none, 1 COOP_TASKRUN, 2 SINGLE_ISSUER | DEFER_TASKRUN
  int registeredRing;   // ring descriptor registered
  int fixedFiles;       // sockets as registered files
  int receive;          // 0 multishot + buffer ring, 1 single + buffer ring, 2 single into a buffer of the connection's own
  int pollFirst;        // IORING_RECVSEND_POLL_FIRST on receives
  int bufferBytes;      // size of one provided buffer
  int buffers;          // how many, a power of two
  int noDelay;          // TCP_NODELAY
  int quickAck;         // TCP_QUICKACK set to this, -1 leaves it
  int congestion;       // TCP_CONGESTION: 0 leaves the system's, 1 reno, 2 cubic
  int waitAll;          // MSG_WAITALL on sends
  int sendNow;          // 1: send(2) on the spot, the ring only for what did not fit
  int gather;           // up to this many queued buffers in one send
  int waitFor;          // completions to wait for
  int minWait;          // µs the kernel may gather completions before it wakes us for fewer than waitFor
  int spin;             // µs of polling before blocking
  int noIoWait;         // IORING_ENTER_NO_IOWAIT
  int sqEntries;
  int cqEntries;
} options = {.setup = 2, .registeredRing = 1, .bufferBytes = 32768, .buffers = 256, .noDelay = 1, .quickAck = -1,
             .waitAll = 1, .gather = 1, .waitFor = 1, .sqEntries = 256, .cqEntries = 4096};

static const struct { const char *name; int *value; } names[] = {
    {"setup", &options.setup}, {"registered-ring", &options.registeredRing},
    {"fixed-files", &options.fixedFiles}, {"receive", &options.receive}, {"poll-first", &options.pollFirst},
    {"buffer-bytes", &options.bufferBytes}, {"buffers", &options.buffers}, {"nodelay", &options.noDelay},
    {"quickack", &options.quickAck}, {"congestion", &options.congestion}, {"waitall", &options.waitAll}, {"send-now", &options.sendNow},
    {"gather", &options.gather}, {"wait-for", &options.waitFor}, {"min-wait", &options.minWait},
    {"spin", &options.spin}, {"no-iowait", &options.noIoWait}, {"sq", &options.sqEntries}, {"cq", &options.cqEntries}};

enum { maxPairs = 9900, gatherLimit = 16, noBuffer = 0xffff };
enum { opAccept = 0, opReceive = 1, opSend = 2 };

// One direction's source: a socket, what was read from it, and what of that still has to leave through the other one.
typedef struct {
  int descriptor;
  int firstQueued, lastQueued; // buffer numbers, chained through `slots`
  int sending;                 // buffers in the send in flight
  bool armed, ended, starved;
  bool lookForHead; // false once a head was cut: bytes flow, boundaries are no longer known
  bool inChunks;
  unsigned long bodyLeft;
  unsigned long messages;
  char *own; // receive=2 only
  int ownLength, ownSent;
} Side;

typedef struct {
  Side side[2]; // 0 client, 1 upstream
  bool closing, used;
  struct iovec vectors[2][gatherLimit];
  struct msghdr message[2];
} Pair;

static struct { int next, length, sent; } *slots; // per provided buffer
static Pair pairs[maxPairs];
static int freePairs[maxPairs], freePairCount;
static struct io_uring ring;
static struct io_uring_buf_ring *bufferRing;
static char *bufferMemory;
static int listener, upstreamPort, returned;
static int starvedPairs[2 * maxPairs], starvedCount;

static unsigned long long tag(int operation, int pair, int side) {
  return ((unsigned long long)pair << 8) | ((unsigned)side << 4) | (unsigned)operation;
}

static struct io_uring_sqe *entry(void) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
  if (!sqe) {
    io_uring_submit(&ring);
    sqe = io_uring_get_sqe(&ring);
    if (!sqe) abort();
  }
  return sqe;
}

static void target(struct io_uring_sqe *sqe, int pair, int side) {
  if (!options.fixedFiles) return;
  sqe->fd = pair * 2 + side;
  sqe->flags |= IOSQE_FIXED_FILE;
}

static char *bufferAt(int number) { return bufferMemory + (size_t)number * (size_t)options.bufferBytes; }

static void giveBack(int number) {
  io_uring_buf_ring_add(bufferRing, bufferAt(number), (unsigned)options.bufferBytes, (unsigned short)number,
                        io_uring_buf_ring_mask((unsigned)options.buffers), returned++);
}

static void armReceive(int pair, int side) {
  Side *from = &pairs[pair].side[side];
  struct io_uring_sqe *sqe = entry();
  if (options.receive == 2) {
    io_uring_prep_recv(sqe, from->descriptor, from->own, (size_t)options.bufferBytes, 0);
  } else {
    if (options.receive == 0) io_uring_prep_recv_multishot(sqe, from->descriptor, NULL, 0, 0);
    else io_uring_prep_recv(sqe, from->descriptor, NULL, (size_t)options.bufferBytes, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
  }
  if (options.pollFirst) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
  target(sqe, pair, side);
  sqe->user_data = tag(opReceive, pair, side);
  from->armed = true;
}

static void closeWhenQuiet(int number) {
  Pair *pair = &pairs[number];
  for (int side = 0; side < 2; side++)
    if (pair->side[side].armed || pair->side[side].sending) return;
  for (int side = 0; side < 2; side++) {
    Side *from = &pair->side[side];
    for (int buffer = from->firstQueued; buffer != noBuffer; buffer = slots[buffer].next) giveBack(buffer);
    if (options.fixedFiles) {
      int none = -1;
      io_uring_register_files_update(&ring, (unsigned)(number * 2 + side), &none, 1);
    }
    close(from->descriptor);
    free(from->own);
  }
  pair->used = false;
  freePairs[freePairCount++] = number;
}

static void beginClose(int number) {
  Pair *pair = &pairs[number];
  if (!pair->closing) {
    pair->closing = true;
    // Ends the armed receives and the send in flight; the slot is free only when their completions are in.
    shutdown(pair->side[0].descriptor, SHUT_RDWR);
    shutdown(pair->side[1].descriptor, SHUT_RDWR);
  }
  closeWhenQuiet(number);
}

// Message boundaries, the least a proxy must know: end of head, Content-Length or chunked.
static void follow(Side *from, const char *bytes, int length) {
  while (from->lookForHead && length > 0) {
    if (from->bodyLeft > 0) {
      int n = from->bodyLeft < (unsigned long)length ? (int)from->bodyLeft : length;
      from->bodyLeft -= (unsigned long)n, bytes += n, length -= n;
      continue;
    }
    if (from->inChunks) {
      if (length >= 5 && memcmp(bytes + length - 5, "0\r\n\r\n", 5) == 0) from->inChunks = false;
      return;
    }
    const char *end = memmem(bytes, (size_t)length, "\r\n\r\n", 4);
    if (!end) {
      from->lookForHead = false;
      return;
    }
    from->messages++;
    for (const char *line = memchr(bytes, '\n', (size_t)(end - bytes)); line && line < end;
         line = memchr(line + 1, '\n', (size_t)(end - line - 1))) {
      if (line[1] != 'C' && line[1] != 'c' && line[1] != 'T' && line[1] != 't') continue;
      if (strncasecmp(line + 1, "content-length:", 15) == 0) from->bodyLeft = strtoul(line + 16, NULL, 10);
      else if (strncasecmp(line + 1, "transfer-encoding:", 18) == 0) from->inChunks = true;
    }
    int head = (int)(end - bytes) + 4;
    bytes += head, length -= head;
  }
}

static void afterSend(int number, int side);

// Sends what was read from `side` to the other one, unless a send is in flight.
static void forward(int number, int side) {
  Pair *pair = &pairs[number];
  Side *from = &pair->side[side];
  if (from->sending || pair->closing) return;
  int other = !side, flags = MSG_NOSIGNAL | (options.waitAll ? MSG_WAITALL : 0);
  int descriptor = pair->side[other].descriptor;
  char *bytes;
  int length;
  if (options.receive == 2) {
    if (from->ownLength == 0) return;
    bytes = from->own + from->ownSent, length = from->ownLength - from->ownSent;
    from->sending = 1;
  } else {
    int first = from->firstQueued;
    if (first == noBuffer) return;
    bytes = bufferAt(first) + slots[first].sent, length = slots[first].length - slots[first].sent;
    from->sending = 1;
    if (options.gather > 1 && slots[first].next != noBuffer) {
      int count = 0;
      for (int buffer = first; buffer != noBuffer && count < options.gather; buffer = slots[buffer].next)
        pair->vectors[side][count++] = (struct iovec){bufferAt(buffer) + slots[buffer].sent,
                                                      (size_t)(slots[buffer].length - slots[buffer].sent)};
      pair->message[side] = (struct msghdr){.msg_iov = pair->vectors[side], .msg_iovlen = (size_t)count};
      from->sending = count;
      struct io_uring_sqe *sqe = entry();
      io_uring_prep_sendmsg(sqe, descriptor, &pair->message[side], (unsigned)flags);
      target(sqe, number, other);
      sqe->user_data = tag(opSend, number, side);
      return;
    }
  }
  if (options.sendNow) {
    ssize_t n = send(descriptor, bytes, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      if (options.receive == 2) from->ownSent += (int)n;
      else slots[from->firstQueued].sent += (int)n;
      if (n == length) {
        afterSend(number, side);
        return;
      }
      bytes += n, length -= (int)n;
    }
  }
  struct io_uring_sqe *sqe = entry();
  io_uring_prep_send(sqe, descriptor, bytes, (size_t)length, flags);
  target(sqe, number, other);
  sqe->user_data = tag(opSend, number, side);
}

// Everything that was being sent has left: buffers go back, and the next send starts.
static void afterSend(int number, int side) {
  Pair *pair = &pairs[number];
  Side *from = &pair->side[side];
  from->sending = 0;
  if (options.receive == 2) {
    if (from->ownSent < from->ownLength) return forward(number, side);
    from->ownLength = from->ownSent = 0;
    if (!from->ended && !pair->closing) armReceive(number, side);
  } else {
    while (from->firstQueued != noBuffer && slots[from->firstQueued].sent == slots[from->firstQueued].length) {
      int done = from->firstQueued;
      from->firstQueued = slots[done].next;
      giveBack(done);
    }
  }
  if (pair->closing) return closeWhenQuiet(number);
  bool empty = options.receive == 2 ? from->ownLength == 0 : from->firstQueued == noBuffer;
  if (from->ended && empty) return beginClose(number);
  forward(number, side);
}

static void received(int number, int side, int result, unsigned flags) {
  Pair *pair = &pairs[number];
  Side *from = &pair->side[side];
  if (!(flags & IORING_CQE_F_MORE)) from->armed = false;
  if (result > 0) {
    if (options.receive == 2) {
      from->ownLength = result;
      follow(from, from->own, result);
    } else {
      int buffer = (int)(flags >> IORING_CQE_BUFFER_SHIFT);
      slots[buffer].next = noBuffer, slots[buffer].length = result, slots[buffer].sent = 0;
      if (from->firstQueued == noBuffer) from->firstQueued = buffer;
      else slots[from->lastQueued].next = buffer;
      from->lastQueued = buffer;
      follow(from, bufferAt(buffer), result);
    }
    if (options.quickAck >= 0)
      setsockopt(from->descriptor, IPPROTO_TCP, TCP_QUICKACK, &options.quickAck, sizeof(int));
    if (pair->closing) return closeWhenQuiet(number);
    if (!from->armed && options.receive != 2) armReceive(number, side);
    return forward(number, side);
  }
  if (result == -ENOBUFS && !pair->closing) {
    if (!from->starved) starvedPairs[starvedCount++] = number * 2 + side;
    from->starved = true;
    return;
  }
  from->ended = true;
  bool drained = !from->sending && from->firstQueued == noBuffer && from->ownLength == 0;
  if (pair->closing) closeWhenQuiet(number);
  else if (drained || result < 0) beginClose(number);
}

static void sent(int number, int side, int result) {
  Pair *pair = &pairs[number];
  Side *from = &pair->side[side];
  if (result <= 0) {
    from->sending = 0;
    return beginClose(number);
  }
  if (options.receive == 2) from->ownSent += result;
  else
    for (int buffer = from->firstQueued; buffer != noBuffer && result > 0; buffer = slots[buffer].next) {
      int left = slots[buffer].length - slots[buffer].sent, n = result < left ? result : left;
      slots[buffer].sent += n, result -= n;
    }
  afterSend(number, side);
}

static void prepare(int descriptor) {
  const char *algorithm = options.congestion == 1 ? "reno" : "cubic";
  if (options.congestion) setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, algorithm, (socklen_t)strlen(algorithm));
  if (options.noDelay) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (options.quickAck >= 0) setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &options.quickAck, sizeof(int));
}

static void accepted(int client) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((in_port_t)upstreamPort), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (upstream < 0 || freePairCount == 0 || connect(upstream, (struct sockaddr *)&address, sizeof address) < 0) {
    close(client);
    if (upstream >= 0) close(upstream);
    return;
  }
  prepare(client);
  prepare(upstream);
  int number = freePairs[--freePairCount];
  Pair *pair = &pairs[number];
  memset(pair, 0, sizeof *pair);
  pair->used = true;
  for (int side = 0; side < 2; side++) {
    Side *from = &pair->side[side];
    from->descriptor = side == 0 ? client : upstream;
    from->firstQueued = noBuffer;
    from->lookForHead = true;
    if (options.receive == 2) from->own = malloc((size_t)options.bufferBytes);
    if (options.fixedFiles)
      io_uring_register_files_update(&ring, (unsigned)(number * 2 + side), &from->descriptor, 1);
    armReceive(number, side);
  }
}

static void armAccept(void) {
  struct io_uring_sqe *sqe = entry();
  io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
  sqe->user_data = tag(opAccept, 0, 0);
}

static void feedStarved(void) {
  int count = starvedCount;
  starvedCount = 0;
  for (int i = 0; i < count; i++) {
    Side *from = &pairs[starvedPairs[i] / 2].side[starvedPairs[i] % 2];
    if (!pairs[starvedPairs[i] / 2].used || !from->starved) continue;
    from->starved = false;
    if (!from->armed && !pairs[starvedPairs[i] / 2].closing) armReceive(starvedPairs[i] / 2, starvedPairs[i] % 2);
  }
}

// liburing 2.3 knows neither min_wait nor NO_IOWAIT: the system call by hand, with its own flush of the submissions.
static void enterByHand(void) {
  struct { unsigned long long sigmask; unsigned sigmaskSize, minWait; unsigned long long timeout; } argument = {
      .sigmaskSize = 8, .minWait = (unsigned)options.minWait};
  struct __kernel_timespec second = {.tv_sec = 1};
  argument.timeout = (unsigned long long)(uintptr_t)&second;
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  if (options.registeredRing) flags |= IORING_ENTER_REGISTERED_RING;
  if (options.noIoWait) flags |= ENTER_NO_IOWAIT;
  unsigned tail = *ring.sq.ktail;
  while (ring.sq.sqe_head != ring.sq.sqe_tail)
    ring.sq.array[tail++ & *ring.sq.kring_mask] = ring.sq.sqe_head++ & *ring.sq.kring_mask;
  io_uring_smp_store_release(ring.sq.ktail, tail);
  unsigned toSubmit = tail - *ring.sq.khead;
  long result = syscall(__NR_io_uring_enter, ring.enter_ring_fd, toSubmit, options.waitFor, flags, &argument, sizeof argument);
  if (result < 0 && errno != ETIME && errno != EINTR) perror("floor: enter"), exit(1);
}

static unsigned long long nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec;
}

static void turn(void) {
  if (options.spin > 0) {
    unsigned long long until = nanoseconds() + (unsigned long long)options.spin * 1000;
    io_uring_submit_and_get_events(&ring);
    while (!io_uring_cq_ready(&ring) && nanoseconds() < until) io_uring_get_events(&ring);
    if (io_uring_cq_ready(&ring)) return;
  }
  if (options.minWait > 0 || options.noIoWait) enterByHand();
  else io_uring_submit_and_wait(&ring, (unsigned)options.waitFor);
}

static void openRing(void) {
  struct io_uring_params parameters = {.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
                                       .cq_entries = (unsigned)options.cqEntries};
  if (options.setup == 1) parameters.flags |= IORING_SETUP_COOP_TASKRUN;
  if (options.setup == 2) parameters.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  // IORING_SETUP_NO_SQARRAY is not offered: liburing 2.3 fills the index array even where the kernel has none, which
  // overwrites the completion ring's head and leaves a process spinning in the kernel that no signal ends.
  int result = io_uring_queue_init_params((unsigned)options.sqEntries, &ring, &parameters);
  if (result < 0) fprintf(stderr, "floor: io_uring_setup: %s\n", strerror(-result)), exit(1);
  if (options.registeredRing) io_uring_register_ring_fd(&ring);
  if (options.fixedFiles && io_uring_register_files_sparse(&ring, 2 * maxPairs) < 0) exit(1);

  size_t ringBytes = (size_t)options.buffers * sizeof(struct io_uring_buf);
  size_t memoryBytes = (size_t)options.buffers * (size_t)options.bufferBytes;
  bufferRing = mmap(NULL, ringBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bufferMemory = mmap(NULL, memoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  slots = calloc((size_t)options.buffers, sizeof *slots);
  if (bufferRing == MAP_FAILED || bufferMemory == MAP_FAILED || !slots) exit(1);
  struct io_uring_buf_reg registration = {.ring_addr = (unsigned long long)(uintptr_t)bufferRing,
                                          .ring_entries = (unsigned)options.buffers};
  if (io_uring_register_buf_ring(&ring, &registration, 0) < 0) exit(1);
  io_uring_buf_ring_init(bufferRing);
  for (int buffer = 0; buffer < options.buffers; buffer++) giveBack(buffer);
  io_uring_buf_ring_advance(bufferRing, returned);
  returned = 0;
}

static void openListener(int port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((in_port_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
    perror("floor: listen"), exit(1);
}

int main(int count, char **arguments) {
  int port = 0;
  for (int i = 1; i < count; i++) {
    char *equals = strchr(arguments[i], '=');
    bool known = false;
    if (strcmp(arguments[i], "--listen") == 0 && i + 1 < count) port = atoi(arguments[++i]), known = true;
    else if (strcmp(arguments[i], "--to") == 0 && i + 1 < count) upstreamPort = atoi(arguments[++i]), known = true;
    else if (equals)
      for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        if (strlen(names[n].name) == (size_t)(equals - arguments[i]) &&
            memcmp(names[n].name, arguments[i], (size_t)(equals - arguments[i])) == 0)
          *names[n].value = atoi(equals + 1), known = true;
    if (!known) return fprintf(stderr, "floor: unknown argument '%s'\n", arguments[i]), 2;
  }
  if (!port || !upstreamPort) return fprintf(stderr, "usage: floor --listen PORT --to PORT [name=value ...]\n"), 2;
  if (options.gather > gatherLimit) options.gather = gatherLimit;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);

  for (int pair = maxPairs - 1; pair >= 0; pair--) freePairs[freePairCount++] = pair;
  openRing();
  openListener(port);
  armAccept();
  puts("ready");
  fflush(stdout);
  for (;;) {
    turn();
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring, head, cqe) {
      seen++;
      int pair = (int)(cqe->user_data >> 8), side = (int)(cqe->user_data >> 4) & 1;
      switch (cqe->user_data & 15) {
      case opAccept:
        if (cqe->res >= 0) accepted(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE)) armAccept();
        break;
      case opReceive: received(pair, side, cqe->res, cqe->flags); break;
      case opSend: sent(pair, side, cqe->res); break;
      }
    }
    io_uring_cq_advance(&ring, seen);
    if (returned > 0) {
      io_uring_buf_ring_advance(bufferRing, returned);
      returned = 0;
      if (starvedCount > 0) feedStarved();
    }
  }
}
