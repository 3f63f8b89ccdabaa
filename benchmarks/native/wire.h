/* What the upstream and the load generator share: time, sockets on loopback, and where an HTTP/1.1 message ends. */
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of the monotonic clock, which all processes of a machine share. */
int64_t now_ns(void);

/* Ends the program with a message and errno's text. */
_Noreturn void fail(const char *what);

/* Returns a non-blocking listening socket with TCP_NODELAY on 127.0.0.1. */
int listen_on(int port);

/* Returns a blocking connected socket with TCP_NODELAY to 127.0.0.1, or -1. */
int connect_to(int port);

void set_nonblocking(int fd);

/* Allows as many descriptors as the system lets this user have. */
void raise_file_limit(void);

/* What is known of a message whose first bytes lie in a buffer. */
struct message {
    size_t head;     /* bytes of start line and headers with the blank line; 0 while incomplete */
    long length;     /* content-length, -1 without */
    int chunked;     /* transfer-encoding: chunked */
    int closes;      /* connection: close */
};

/* Reads the head at the beginning of a buffer that is terminated by a zero byte. */
struct message parse_head(const char *data, size_t size);

/* Returns where the message ends (an offset into data), or 0 while bytes are missing. Chunked bodies are walked. */
size_t message_end(const char *data, size_t size, const struct message *message);

#endif
