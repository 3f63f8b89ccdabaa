/* A deterministic OpenAI-compatible engine that costs next to nothing: what the gateways of the benchmark stand before.
 *
 * upstream PORT TOKENS GAP_US
 *
 * POST gets a chat completion of about 970 bytes, or, when the body asks for a stream, TOKENS events with GAP_US
 * microseconds between them (the first at once), a usage event and [DONE]. Each event carries the time at which it was
 * sent, so that whoever receives it knows how long it was under way. One thread, epoll, no allocation per request.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { BUFFER = 65536, MOST_FDS = 16384, BATCH = 256 };

struct connection {
    int fd;
    size_t size;
    int tokens_left; /* of the stream that is being sent; 0 without one */
    int64_t due_ns;
    struct connection *next; /* in the order of due_ns: all streams have the same gap */
    char data[BUFFER + 1];
};

static struct connection *connections[MOST_FDS];
static struct connection *first, *last;
static int tokens, timer;
static int64_t gap_ns;
static char answer[2048];
static size_t answer_size;

static const char HEALTH[] =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
/* x-accel-buffering tells nginx to pass events on at once. */
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n";
static const char EVENT[] =
    "data: {\"id\":\"chatcmpl-benchmark\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%019lld \"},"
    "\"finish_reason\":null}]}\n\n";
static const char STREAM_END[] =
    "data: {\"id\":\"chatcmpl-benchmark\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"bench-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":180,\"completion_tokens\":%d,"
    "\"total_tokens\":%d}}\n\ndata: [DONE]\n\n";

static void build_answer(void) {
    static const char words[] = "The parcel left the warehouse on Monday and should arrive within three working days. ";
    char body[1400], text[800] = "";
    for (int i = 0; i < 8; i++) strcat(text, words);
    int size = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-benchmark\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench-model\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":180,\"completion_tokens\":140,\"total_tokens\":320}}",
        text);
    answer_size = (size_t)snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", size, body);
}

static void forget(struct connection *connection) {
    struct connection **link = &first, *before = NULL;
    while (*link != NULL && *link != connection) {
        before = *link;
        link = &before->next;
    }
    if (*link == connection) {
        *link = connection->next;
        if (last == connection) last = before;
    }
    close(connection->fd);
    connections[connection->fd] = NULL;
    free(connection);
}

/* Returns 0 when the peer cannot take it: answers are smaller than a socket's buffer, so it is gone or stuck. */
static int sent(struct connection *connection, const char *data, size_t size) {
    return send(connection->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void arm(void) {
    struct itimerspec at = {0};
    if (first != NULL) {
        at.it_value.tv_sec = first->due_ns / 1000000000;
        at.it_value.tv_nsec = first->due_ns % 1000000000;
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void enqueue(struct connection *connection, int64_t due_ns) {
    connection->due_ns = due_ns;
    connection->next = NULL;
    if (last != NULL) last->next = connection;
    else first = connection;
    last = connection;
}

/* Sends the next event of a stream, and its end with the last one. */
static int send_event(struct connection *connection, const char *head) {
    char event[512], frame[1400];
    int size = snprintf(event, sizeof event, EVENT, (long long)now_ns());
    int length = snprintf(frame, sizeof frame, "%s%x\r\n%s\r\n", head, (unsigned)size, event);
    if (--connection->tokens_left == 0) {
        size = snprintf(event, sizeof event, STREAM_END, tokens, 180 + tokens);
        length += snprintf(frame + length, sizeof frame - (size_t)length, "%x\r\n%s\r\n0\r\n\r\n", (unsigned)size, event);
    }
    return sent(connection, frame, (size_t)length);
}

static int answer_request(struct connection *connection, size_t head, size_t end) {
    const char *data = connection->data;
    if (strncmp(data, "POST", 4) != 0) return sent(connection, HEALTH, sizeof HEALTH - 1);
    int streams = memmem(data + head, end - head, "\"stream\":true", 13) != NULL ||
                  memmem(data + head, end - head, "\"stream\": true", 14) != NULL;
    if (!streams) return sent(connection, answer, answer_size);
    connection->tokens_left = tokens;
    if (!send_event(connection, STREAM_HEAD)) return 0;
    if (connection->tokens_left > 0) {
        enqueue(connection, now_ns() + gap_ns);
        if (first == connection) arm();
    }
    return 1;
}

static void on_readable(struct connection *connection) {
    ssize_t size = recv(connection->fd, connection->data + connection->size, BUFFER - connection->size, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
        forget(connection);
        return;
    }
    connection->size += (size_t)size;
    connection->data[connection->size] = 0;
    while (connection->size > 0) {
        struct message message = parse_head(connection->data, connection->size);
        size_t end = message_end(connection->data, connection->size, &message);
        if (end == 0) {
            if (connection->size == BUFFER) forget(connection);
            return;
        }
        if (!answer_request(connection, message.head, end) || message.closes) {
            forget(connection);
            return;
        }
        connection->size -= end;
        memmove(connection->data, connection->data + end, connection->size + 1);
    }
}

static void on_time(void) {
    uint64_t times;
    if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) fail("timer");
    int64_t now = now_ns();
    while (first != NULL && first->due_ns <= now) {
        struct connection *connection = first;
        first = connection->next;
        if (first == NULL) last = NULL;
        if (!send_event(connection, "")) forget(connection);
        else if (connection->tokens_left > 0) enqueue(connection, connection->due_ns + gap_ns);
    }
    arm();
}

static void accept_all(int listener, int poll) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = fd < MOST_FDS ? calloc(1, sizeof *connection) : NULL;
        if (connection == NULL) {
            close(fd);
            continue;
        }
        connection->fd = fd;
        connections[fd] = connection;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: upstream PORT TOKENS GAP_US\n");
        return 2;
    }
    tokens = atoi(argv[2]);
    gap_ns = atoll(argv[3]) * 1000;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1UL);
    raise_file_limit();
    build_answer();
    int listener = listen_on(atoi(argv[1])), poll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int watched[] = {listener, timer};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, watched[i], &event);
    }
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(poll, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) accept_all(listener, poll);
            else if (fd == timer) on_time();
            else if (connections[fd] != NULL) on_readable(connections[fd]);
        }
    }
}
