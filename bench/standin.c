// Endpoints that are slow or that fail, for bench/mesh: each listens on a port of its own and answers every GET after its delay,
// with its status and 100 bytes. One thread; answers of one endpoint leave in the order their requests came, so a queue for each
// and one timeout are enough. GET /count is answered at once, with how many other requests there were.
//
//   standin PORT:MICROSECONDS:STATUS...      prints "ready" once it listens on 127.0.0.1, on all of them
//
// A stand-in for load, not a server: no request bodies, no pipelining.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { maxDescriptors = 65536, mostEndpoints = 64, queueLength = 65536 };

typedef struct {
  int64_t due;
  int descriptor;
  uint32_t generation;
} Owed;

typedef struct {
  int listener;
  int64_t delay;
  char answer[512];
  size_t answerLength;
  unsigned long requests;
  Owed queue[queueLength];
  size_t first, count;
} Endpoint;

typedef struct {
  Endpoint *endpoint; // none for a descriptor that is not a connection
  uint32_t generation;
} Connection;

static Endpoint *endpoints[mostEndpoints];
static int endpointCount;
static Connection connections[maxDescriptors];
static int epollDescriptor;

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void watch(int descriptor) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
  epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, descriptor, &event);
}

static int add(const char *text) {
  unsigned port, microseconds, status;
  if (endpointCount == mostEndpoints || sscanf(text, "%u:%u:%u", &port, &microseconds, &status) != 3) {
    fprintf(stderr, "standin: %s is not PORT:MICROSECONDS:STATUS\n", text);
    return 2;
  }
  Endpoint *endpoint = calloc(1, sizeof(Endpoint));
  if (!endpoint) return 1;
  endpoint->delay = (int64_t)microseconds * 1000;
  int head = sprintf(endpoint->answer, "HTTP/1.1 %u x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n", status);
  memset(endpoint->answer + head, 'x', 100);
  endpoint->answerLength = (size_t)head + 100;
  endpoint->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(endpoint->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(endpoint->listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(endpoint->listener, 4096) < 0) {
    perror("standin: listen");
    return 1;
  }
  watch(endpoint->listener);
  endpoints[endpointCount++] = endpoint;
  return 0;
}

static void acceptAll(Endpoint *endpoint) {
  for (;;) {
    int descriptor = accept4(endpoint->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return;
    if (descriptor >= maxDescriptors) {
      close(descriptor);
      continue;
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    connections[descriptor].endpoint = endpoint;
    watch(descriptor);
  }
}

static void closeConnection(int descriptor) {
  connections[descriptor].endpoint = NULL;
  connections[descriptor].generation++;
  close(descriptor);
}

static void take(int descriptor) {
  char bytes[8192];
  ssize_t length = recv(descriptor, bytes, sizeof bytes, 0);
  if (length < 0 && errno == EAGAIN) return;
  Connection *connection = &connections[descriptor];
  Endpoint *endpoint = connection->endpoint;
  // A head that comes in pieces is beyond a stand-in; the proxy sends it in one.
  if (length < 4 || memcmp(bytes + length - 4, "\r\n\r\n", 4) != 0 || endpoint->count == queueLength) {
    closeConnection(descriptor);
    return;
  }
  if (length > 11 && memcmp(bytes, "GET /count ", 11) == 0) {
    char answer[256], body[32];
    int bodyLength = sprintf(body, "%lu", endpoint->requests);
    int answerLength = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", bodyLength, body);
    if (send(descriptor, answer, (size_t)answerLength, MSG_NOSIGNAL) != answerLength) closeConnection(descriptor);
    return;
  }
  endpoint->requests++;
  endpoint->queue[(endpoint->first + endpoint->count++) % queueLength] =
      (Owed){now() + endpoint->delay, descriptor, connection->generation};
}

// Sends what is due; nanoseconds until the next is, or -1.
static int64_t answerDue(void) {
  int64_t soonest = -1;
  for (int i = 0; i < endpointCount; i++) {
    Endpoint *endpoint = endpoints[i];
    while (endpoint->count > 0) {
      Owed owed = endpoint->queue[endpoint->first];
      int64_t left = owed.due - now();
      if (left > 0) {
        if (soonest < 0 || left < soonest) soonest = left;
        break;
      }
      endpoint->first = (endpoint->first + 1) % queueLength;
      endpoint->count--;
      if (connections[owed.descriptor].generation != owed.generation) continue;
      if (send(owed.descriptor, endpoint->answer, endpoint->answerLength, MSG_NOSIGNAL) != (ssize_t)endpoint->answerLength)
        closeConnection(owed.descriptor);
    }
  }
  return soonest;
}

int main(int count, char **arguments) {
  if (count < 2) return fprintf(stderr, "usage: standin PORT:MICROSECONDS:STATUS...\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 1; i < count; i++) {
    int failure = add(arguments[i]);
    if (failure) return failure;
  }
  puts("ready");
  fflush(stdout);

  static struct epoll_event events[512];
  for (;;) {
    int64_t wait = answerDue();
    struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    int ready = epoll_pwait2(epollDescriptor, events, 512, wait < 0 ? NULL : &timeout, NULL);
    for (int i = 0; i < ready; i++) {
      int descriptor = events[i].data.fd;
      if (connections[descriptor].endpoint) {
        take(descriptor);
        continue;
      }
      for (int j = 0; j < endpointCount; j++)
        if (endpoints[j]->listener == descriptor) acceptAll(endpoints[j]);
    }
  }
}
