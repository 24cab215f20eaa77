// WebSocket (RFC 6455) for the bench: a server that sends every message back, and the load that asks it to. One thread and
// one epoll set each. Text and binary messages of one frame; fragments and control frames are not needed here, and end a
// connection.
//
//   websocket serve PORT
//   websocket load PORT CONNECTIONS SECONDS HOST     prints "N done, N failed"
//
// A connection of the load sends the next message when the last one is back, each with another masking key.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { maxDescriptors = 65536, bufferBytes = 8192, messageBytes = 100, maskedFrameBytes = 6 + messageBytes };

typedef struct {
  unsigned char *bytes;
  size_t count;
  bool isOpen; // The handshake is done.
  uint32_t key;
} Connection;

static Connection connections[maxDescriptors];
static int epollDescriptor;
static unsigned long done, failed;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int descriptor) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
  if (epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, descriptor, &event)) fail("epoll_ctl");
}

static void drop(int descriptor) {
  free(connections[descriptor].bytes);
  connections[descriptor] = (Connection){0};
  close(descriptor);
}

static bool prepare(int descriptor) {
  if (descriptor >= maxDescriptors) return false;
  int one = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connections[descriptor] = (Connection){.bytes = malloc(bufferBytes), .key = 0x9E3779B9u * (uint32_t)(descriptor + 1)};
  return connections[descriptor].bytes != NULL;
}

static bool sendAll(int descriptor, const void *bytes, size_t count) {
  return send(descriptor, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

// The server

static bool accepted(int descriptor, const char *head) {
  const char *key = strcasestr(head, "\r\nsec-websocket-key:");
  if (!key) return false;
  key += strlen("\r\nsec-websocket-key:");
  while (*key == ' ') key++;
  char text[128];
  int length = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  unsigned char digest[SHA_DIGEST_LENGTH], coded[64];
  SHA1((unsigned char *)text, (size_t)length, digest);
  EVP_EncodeBlock(coded, digest, sizeof digest);
  char answer[256];
  int count = snprintf(answer, sizeof answer,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n", coded);
  return sendAll(descriptor, answer, (size_t)count);
}

// Answers the frames that are whole. Their payload is unmasked in place, and its frame goes back in front of it.
static bool echo(int descriptor, Connection *connection) {
  unsigned char out[bufferBytes];
  size_t at = 0, outCount = 0;
  while (connection->count - at >= 6) {
    unsigned char *frame = connection->bytes + at;
    size_t length = frame[1] & 0x7F;
    if ((frame[0] & 0x8F) != 0x81 && (frame[0] & 0x8F) != 0x82) return false;
    if (!(frame[1] & 0x80) || length > 125) return false;
    if (connection->count - at < 6 + length) break;
    out[outCount++] = frame[0];
    out[outCount++] = (unsigned char)length;
    for (size_t index = 0; index < length; index++) out[outCount++] = frame[6 + index] ^ frame[2 + index % 4];
    at += 6 + length;
  }
  memmove(connection->bytes, connection->bytes + at, connection->count - at);
  connection->count -= at;
  return outCount == 0 || sendAll(descriptor, out, outCount);
}

static bool serve(int descriptor, Connection *connection) {
  if (connection->isOpen) return echo(descriptor, connection);
  connection->bytes[connection->count] = 0;
  char *end = strstr((char *)connection->bytes, "\r\n\r\n");
  if (!end) return connection->count < bufferBytes - 1;
  if (!accepted(descriptor, (char *)connection->bytes)) return false;
  size_t head = (size_t)(end + 4 - (char *)connection->bytes);
  memmove(connection->bytes, connection->bytes + head, connection->count - head);
  connection->count -= head;
  connection->isOpen = true;
  return echo(descriptor, connection);
}

// The load

static unsigned char pattern(size_t index, uint32_t key) { return (unsigned char)('a' + (index + key % 7) % 26); }

static bool ask(int descriptor, Connection *connection) {
  unsigned char frame[maskedFrameBytes] = {0x82, 0x80 | messageBytes};
  connection->key = connection->key * 1664525u + 1013904223u;
  memcpy(frame + 2, &connection->key, 4);
  for (size_t index = 0; index < messageBytes; index++)
    frame[6 + index] = pattern(index, connection->key) ^ frame[2 + index % 4];
  return sendAll(descriptor, frame, sizeof frame);
}

static bool answered(int descriptor, Connection *connection) {
  if (!connection->isOpen) {
    connection->bytes[connection->count] = 0;
    char *end = strstr((char *)connection->bytes, "\r\n\r\n");
    if (!end) return connection->count < bufferBytes - 1;
    if (strncmp((char *)connection->bytes, "HTTP/1.1 101", 12)) return false;
    if ((size_t)(end + 4 - (char *)connection->bytes) != connection->count) return false;
    connection->count = 0;
    connection->isOpen = true;
    return ask(descriptor, connection);
  }
  if (connection->count < 2 + messageBytes) return true;
  if (connection->count > 2 + messageBytes || connection->bytes[0] != 0x82 || connection->bytes[1] != messageBytes)
    return false;
  for (size_t index = 0; index < messageBytes; index++)
    if (connection->bytes[2 + index] != pattern(index, connection->key)) return false;
  connection->count = 0;
  done++;
  return ask(descriptor, connection);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// Both

static void run(int listener, bool (*step)(int, Connection *), double seconds) {
  double end = seconds > 0 ? now() + seconds : 0;
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(epollDescriptor, events, 256, end > 0 ? 100 : -1);
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    for (int index = 0; index < count; index++) {
      int descriptor = events[index].data.fd;
      if (descriptor == listener) {
        int accepted = accept(listener, NULL, NULL);
        if (accepted < 0) continue;
        if (prepare(accepted)) watch(accepted);
        else drop(accepted);
        continue;
      }
      Connection *connection = &connections[descriptor];
      ssize_t received = recv(descriptor, connection->bytes + connection->count, bufferBytes - 1 - connection->count, 0);
      if (received > 0) connection->count += (size_t)received;
      if (received <= 0 || !step(descriptor, connection)) {
        failed++;
        drop(descriptor);
      }
    }
    if (end > 0 && now() >= end) return;
  }
}

static struct sockaddr_in address(const char *port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listening(const char *port) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in place = address(port);
  if (listener < 0 || bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 4096)) fail("listen");
  watch(listener);
  return listener;
}

static void connectAll(const char *port, int count, const char *host) {
  char head[512];
  int length = snprintf(head, sizeof head,
                        "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host);
  struct sockaddr_in place = address(port);
  for (int index = 0; index < count; index++) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&place, sizeof place)) fail("connect");
    if (!prepare(descriptor) || !sendAll(descriptor, head, (size_t)length)) fail("handshake");
    watch(descriptor);
  }
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
  if (count == 3 && !strcmp(words[1], "serve")) {
    run(listening(words[2]), serve, 0);
  } else if (count == 6 && !strcmp(words[1], "load")) {
    connectAll(words[2], atoi(words[3]), words[5]);
    run(-1, answered, atof(words[4]));
    printf("%lu done, %lu failed\n", done, failed);
  } else {
    fprintf(stderr, "usage: websocket serve PORT | websocket load PORT CONNECTIONS SECONDS HOST\n");
    return 2;
  }
  return 0;
}
