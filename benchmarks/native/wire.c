#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

_Noreturn void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

void set_nonblocking(int fd) {
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK) < 0) fail("fcntl");
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(fd, 4096) < 0) fail("listen");
    set_nonblocking(fd);
    return fd;
}

int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int is_header(const char *line, const char *name) {
    return strncasecmp(line, name, strlen(name)) == 0;
}

struct message parse_head(const char *data, size_t size) {
    struct message found = {.head = 0, .length = -1};
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) return found;
    found.head = (size_t)(end - data) + 4;
    for (const char *line = strstr(data, "\r\n"); line != NULL && line < end; line = strstr(line, "\r\n")) {
        line += 2;
        if (is_header(line, "content-length:")) found.length = strtol(line + 15, NULL, 10);
        if (is_header(line, "transfer-encoding:")) found.chunked = 1;
        if (is_header(line, "connection: close")) found.closes = 1;
    }
    return found;
}

size_t message_end(const char *data, size_t size, const struct message *message) {
    size_t at = message->head;
    if (at == 0) return 0;
    if (!message->chunked) {
        at += message->length > 0 ? (size_t)message->length : 0;
        return at <= size ? at : 0;
    }
    for (;;) {
        const char *line = memmem(data + at, size - at, "\r\n", 2);
        if (line == NULL) return 0;
        size_t chunk = strtoul(data + at, NULL, 16);
        at = (size_t)(line - data) + 2 + chunk + 2; /* the chunk, or the empty trailer of the last one */
        if (at > size) return 0;
        if (chunk == 0) return at;
    }
}
