// The bench's backend: what stands behind every proxy. One thread, one epoll set, answers built before the first
// request, so that it costs much less than any proxy in front of it and the proxy stays what is measured.
//
//   GET  /100        100 bytes, Content-Length
//   GET  /16k        16 KiB, Content-Length
//   POST /post       reads the whole request body, then 2 bytes
//   GET  /chunked1m  1 MiB as 64 chunks of 16 KiB, Transfer-Encoding: chunked
//
// It is a stand-in for load, not a server: request bodies must carry Content-Length, HTTP/1.1 keep-alive always, and
// the Date it sends is fixed. Anything else gets 404 with an empty body.
//
//   backend PORT          prints "ready" once it listens on 127.0.0.1:PORT

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { maxDescriptors = 65536, headLimit = 4096, chunkBytes = 16384, chunks = 64 };

typedef struct {
  const char *bytes;
  size_t length;
} Answer;

typedef struct {
  size_t bodyLeft;       // request body bytes still to read
  const Answer *pending; // answer not wholly sent yet, or none
  size_t sent;           // of `pending`
  const Answer *owed;    // answer to give once the body is read
  char *partial;         // a head cut by a segment boundary (rare)
  size_t partialLength;
  bool waitsForSpace; // EPOLLOUT asked for
} Connection;

static Connection connections[maxDescriptors];
static Answer answer100, answer16k, answerPost, answerChunked, answerMissing;
static int epollDescriptor;

static const char commonFields[] =
    "Server: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n";

static Answer withLength(const char *status, size_t bodyBytes) {
  char *bytes = malloc(512 + bodyBytes);
  if (!bytes) exit(1);
  int head = sprintf(bytes, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, commonFields, bodyBytes);
  memset(bytes + head, 'x', bodyBytes);
  return (Answer){bytes, (size_t)head + bodyBytes};
}

static Answer chunked(void) {
  char *bytes = malloc(512 + (size_t)chunks * (chunkBytes + 16));
  if (!bytes) exit(1);
  size_t at = (size_t)sprintf(bytes, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n", commonFields);
  for (int chunk = 0; chunk < chunks; chunk++) {
    at += (size_t)sprintf(bytes + at, "%x\r\n", chunkBytes);
    memset(bytes + at, 'x', chunkBytes);
    at += chunkBytes;
    memcpy(bytes + at, "\r\n", 2);
    at += 2;
  }
  memcpy(bytes + at, "0\r\n\r\n", 5);
  return (Answer){bytes, at + 5};
}

static void closeConnection(int descriptor) {
  free(connections[descriptor].partial);
  memset(&connections[descriptor], 0, sizeof(Connection));
  close(descriptor);
}

static void watch(int descriptor, Connection *connection, bool forSpace) {
  if (connection->waitsForSpace == forSpace) return;
  struct epoll_event event = {.events = forSpace ? EPOLLOUT : EPOLLIN, .data.fd = descriptor};
  epoll_ctl(epollDescriptor, EPOLL_CTL_MOD, descriptor, &event);
  connection->waitsForSpace = forSpace;
}

// Sends what is pending; false when the connection broke.
static bool flushAnswer(int descriptor, Connection *connection) {
  while (connection->pending) {
    const Answer *answer = connection->pending;
    ssize_t n = send(descriptor, answer->bytes + connection->sent, answer->length - connection->sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) return false;
      watch(descriptor, connection, true);
      return true;
    }
    connection->sent += (size_t)n;
    if (connection->sent == answer->length) {
      connection->pending = NULL;
      connection->sent = 0;
    }
  }
  watch(descriptor, connection, false);
  return true;
}

static size_t contentLength(const char *head, const char *end) {
  for (const char *line = memchr(head, '\n', (size_t)(end - head)); line && line + 16 < end;
       line = memchr(line + 1, '\n', (size_t)(end - line - 1))) {
    if (strncasecmp(line + 1, "content-length:", 15) == 0) return strtoul(line + 16, NULL, 10);
  }
  return 0;
}

static const Answer *choose(const char *head, size_t length) {
  if (length > 9 && memcmp(head, "GET /100 ", 9) == 0) return &answer100;
  if (length > 9 && memcmp(head, "GET /16k ", 9) == 0) return &answer16k;
  if (length > 11 && memcmp(head, "POST /post ", 11) == 0) return &answerPost;
  if (length > 15 && memcmp(head, "GET /chunked1m ", 15) == 0) return &answerChunked;
  return &answerMissing;
}

// Takes the bytes of one read; false when the connection must go. A client that pipelines gets its answers in order
// only while each one fits the socket: the bench's never pipelines.
static bool take(int descriptor, Connection *connection, const char *bytes, size_t length) {
  while (length > 0) {
    if (connection->bodyLeft > 0) {
      size_t n = length < connection->bodyLeft ? length : connection->bodyLeft;
      connection->bodyLeft -= n, bytes += n, length -= n;
    } else {
      const char *end = memmem(bytes, length, "\r\n\r\n", 4);
      if (!end) {
        if (length > headLimit) return false;
        connection->partial = malloc(length);
        if (!connection->partial) return false;
        memcpy(connection->partial, bytes, length);
        connection->partialLength = length;
        return true;
      }
      size_t head = (size_t)(end - bytes) + 4;
      connection->owed = choose(bytes, head);
      // Only a request with a body pays for looking: the GETs of the bench have none.
      connection->bodyLeft = bytes[0] == 'P' ? contentLength(bytes, bytes + head) : 0;
      bytes += head, length -= head;
    }
    if (connection->bodyLeft == 0 && connection->owed) {
      if (connection->pending) return false;
      connection->pending = connection->owed;
      connection->owed = NULL;
      if (!flushAnswer(descriptor, connection)) return false;
    }
  }
  return true;
}

static bool readable(int descriptor, Connection *connection) {
  static char buffer[65536 + headLimit];
  size_t kept = connection->partialLength;
  if (kept > 0) {
    memcpy(buffer, connection->partial, kept);
    free(connection->partial);
    connection->partial = NULL;
    connection->partialLength = 0;
  }
  ssize_t n = recv(descriptor, buffer + kept, 65536, 0);
  if (n < 0 && errno == EAGAIN) return true;
  if (n <= 0) return false;
  return take(descriptor, connection, buffer, kept + (size_t)n);
}

static void acceptAll(int listener) {
  for (;;) {
    int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return;
    if (descriptor >= maxDescriptors) {
      close(descriptor);
      continue;
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, descriptor, &event);
  }
}

int main(int count, char **arguments) {
  if (count != 2 && count != 3) return fprintf(stderr, "usage: backend PORT [ADDRESS]\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  answer100 = withLength("200 OK", 100);
  answer16k = withLength("200 OK", 16384);
  answerPost = withLength("200 OK", 2);
  answerMissing = withLength("404 Not Found", 0);
  answerChunked = chunked();

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(arguments[1]))};
  if (inet_pton(AF_INET, count == 3 ? arguments[2] : "127.0.0.1", &address.sin_addr) != 1)
    return fprintf(stderr, "backend: %s is no address\n", arguments[2]), 2;
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
    return perror("backend: listen"), 1;
  epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, listener, &event);
  puts("ready");
  fflush(stdout);

  static struct epoll_event events[512];
  for (;;) {
    int ready = epoll_wait(epollDescriptor, events, 512, -1);
    for (int i = 0; i < ready; i++) {
      int descriptor = events[i].data.fd;
      if (descriptor == listener) {
        acceptAll(listener);
        continue;
      }
      Connection *connection = &connections[descriptor];
      bool well = (events[i].events & EPOLLOUT) ? flushAnswer(descriptor, connection) : readable(descriptor, connection);
      if (!well) closeConnection(descriptor);
    }
  }
}
