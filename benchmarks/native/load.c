/* The load generator of the gateway benchmark. One thread, epoll, keep-alive connections on loopback.
 *
 * load MODE PORT REQUEST_FILE CONNECTIONS WARMUP_MS MEASURE_MS RATE PIDS
 *
 * closed  each connection asks again as soon as it has its answer: how many requests a second are possible.
 * open    RATE requests a second whatever the answers do; a request's time counts from when it was due, so a stall
 *         counts for all requests that it held up (no coordinated omission).
 * stream  each connection reads one stream after the other, with up to 20 ms between them; they start spread over RATE
 *         milliseconds. These times are drawn (always the same), for users do not keep step: evenly spread streams get
 *         their tokens in the same instants where their distance divides the time between two tokens (64 at a time, of
 *         512 over 1,280 ms), and those that one stall held up would stay together for good.
 *
 * Prints one JSON object. Processor time is that of PIDS ("12,13") over the measured window alone.
 */
#define _GNU_SOURCE
#include "samples.h"
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

enum { BUFFER = 1 << 17, BATCH = 256, STAMP_DIGITS = 19, GRACE_MS = 2000, PAUSE_MS = 20 };
enum mode { CLOSED, OPEN, STREAM };

struct client {
    int fd, busy;
    int64_t asked_ns;        /* when the request was due (open) or sent */
    size_t size, scanned;    /* bytes in data; of them, without the rest of an event */
    struct message message;
    int said_done, got_token;
    int64_t due_ns;          /* stream: when the next one begins */
    struct client *next;     /* in the order of due_ns */
    char data[BUFFER + 1];
};

static struct {
    enum mode mode;
    int port, connections;
    char *request;
    size_t request_size;
    int64_t warmup_ns, measure_ns;
    double rate;
    struct watched watched;
} options;

static struct {
    int measuring;
    int64_t start_ns, end_ns, processor_ns, own_ns;
    long answers, errors, reconnects, streams, broken, tokens;
    struct samples latency, first_token, transit;
} seen;

static int poll_fd, timer_fd;
static struct client *clients;
static int *idle, idle_count;      /* open loop: connections without a request, the last used on top */
static int64_t begun_ns, asked;    /* open loop: requests sent so far */
static struct client *waiting;     /* stream: those between two streams, the next one first */
static unsigned short draws[] = {20, 3, 5};

static void join(struct client *client) {
    client->fd = connect_to(options.port);
    if (client->fd < 0) fail("connect");
    set_nonblocking(client->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0) fail("epoll_ctl");
    client->size = 0;
}

static void rejoin(struct client *client) {
    close(client->fd);
    seen.reconnects++;
    join(client);
}

static void ask(struct client *client, int64_t asked_ns) {
    client->busy = 1;
    client->asked_ns = asked_ns;
    client->size = client->scanned = 0;
    client->message.head = 0;
    client->said_done = client->got_token = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        ssize_t size = send(client->fd, options.request, options.request_size, MSG_NOSIGNAL);
        if (size == (ssize_t)options.request_size) return;
        rejoin(client);
    }
    seen.errors++;
}

static void set_timer(int64_t at_ns) {
    struct itimerspec at = {.it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Has a connection begin its next stream after a drawn time. */
static void begin_within(struct client *client, int64_t from_ns, double longest_ms) {
    client->due_ns = from_ns + (int64_t)(erand48(draws) * longest_ms * 1e6);
    struct client **link = &waiting;
    while (*link != NULL && (*link)->due_ns <= client->due_ns) link = &(*link)->next;
    client->next = *link;
    *link = client;
    if (waiting == client) set_timer(client->due_ns);
}

static void answered(struct client *client, int64_t now, int good) {
    client->busy = 0;
    if (seen.measuring) {
        if (options.mode == STREAM) *(good && client->said_done ? &seen.streams : &seen.broken) += 1;
        else if (good) seen.answers++;
        else seen.errors++;
        if (options.mode != STREAM && client->asked_ns >= seen.start_ns) add_sample(&seen.latency, now - client->asked_ns);
    }
    if (options.mode == OPEN) idle[idle_count++] = (int)(client - clients);
    else if (options.mode == STREAM) begin_within(client, now, PAUSE_MS);
    else ask(client, now);
}

/* Takes the times out of all events that have arrived whole; chunk heads between them do no harm. */
static void scan_events(struct client *client, int64_t now) {
    static const char mark[] = "\"content\":";
    char *at = client->data + client->scanned, *end = client->data + client->size, *found;
    char *last = memrchr(at, '\n', (size_t)(end - at));
    if (last == NULL) return;
    while ((found = memmem(at, (size_t)(last - at), mark, sizeof mark - 1)) != NULL) {
        at = found + sizeof mark - 1;
        char *text = at + strspn(at, " \"");
        if (strspn(text, "0123456789") < STAMP_DIGITS) continue;
        int64_t stamp = strtoll(text, NULL, 10);
        if (!client->got_token && client->asked_ns >= seen.start_ns && seen.measuring)
            add_sample(&seen.first_token, now - client->asked_ns);
        client->got_token = 1;
        if (!seen.measuring) continue;
        seen.tokens++;
        add_sample(&seen.transit, now - stamp);
    }
    at = client->data + client->scanned;
    if (memmem(at, (size_t)(last - at), "data: [DONE]", 12) != NULL) client->said_done = 1;
    client->scanned = (size_t)(last - client->data);
}

static void on_readable(struct client *client) {
    ssize_t size = recv(client->fd, client->data + client->size, BUFFER - client->size, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    int64_t now = now_ns();
    if (size <= 0 || !client->busy || client->size + (size_t)size == BUFFER) {
        int was_busy = client->busy;
        rejoin(client);
        if (was_busy) answered(client, now, 0);
        return;
    }
    client->size += (size_t)size;
    client->data[client->size] = 0;
    if (client->message.head == 0) client->message = parse_head(client->data, client->size);
    if (client->message.head == 0) return;
    if (options.mode == STREAM) scan_events(client, now);
    /* Walking all chunks at every arrival would cost more than the rest; a stream's last bytes say that it is worth it. */
    if (options.mode == STREAM && client->message.chunked && memcmp(client->data + client->size - 5, "0\r\n\r\n", 5) != 0)
        return;
    if (message_end(client->data, client->size, &client->message) == 0) return;
    int good = strncmp(client->data + 8, " 200", 4) == 0;
    if (client->message.closes) rejoin(client);
    answered(client, now, good);
}

static int64_t due_ns(int64_t number) {
    return begun_ns + (int64_t)((double)number * 1e9 / options.rate);
}

/* Sends what is due: the next requests of the open loop, the next streams. */
static void send_due(int64_t until_ns) {
    int64_t now = now_ns();
    if (options.mode == CLOSED) return;
    if (options.mode == STREAM) {
        struct client *next;
        while ((next = waiting) != NULL && next->due_ns <= now) {
            waiting = next->next;
            ask(next, now_ns());
        }
        if (waiting != NULL) set_timer(waiting->due_ns);
        return;
    }
    while (idle_count > 0 && due_ns(asked) <= now && due_ns(asked) < until_ns) {
        ask(&clients[idle[--idle_count]], due_ns(asked));
        asked++;
    }
    if (idle_count > 0 && due_ns(asked) < until_ns) set_timer(due_ns(asked));
}

static void begin_measuring(int64_t now) {
    seen.measuring = 1;
    seen.start_ns = now;
    seen.processor_ns = processor_ns(&options.watched);
    seen.own_ns = own_processor_ns();
}

static void end_measuring(int64_t now) {
    seen.end_ns = now;
    seen.processor_ns = processor_ns(&options.watched) - seen.processor_ns;
    seen.own_ns = own_processor_ns() - seen.own_ns;
}

static void turn(int64_t until_ns) {
    struct epoll_event events[BATCH];
    uint64_t times;
    int count = epoll_wait(poll_fd, events, BATCH, 20);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr != NULL) on_readable(events[i].data.ptr);
        else if (read(timer_fd, &times, sizeof times) < 0 && errno != EAGAIN) fail("timer");
    }
    send_due(until_ns);
}

/* Open loop: waits for the answers that are still due; what does not come counts with the time it has waited. */
static void collect_rest(int64_t until_ns) {
    int64_t give_up_ns = now_ns() + GRACE_MS * 1000000LL;
    while ((idle_count < options.connections || due_ns(asked) < until_ns) && now_ns() < give_up_ns) turn(until_ns);
    int64_t now = now_ns();
    for (int i = 0; i < options.connections; i++) {
        if (!clients[i].busy) continue;
        seen.errors++;
        add_sample(&seen.latency, now - clients[i].asked_ns);
    }
    for (; due_ns(asked) < until_ns; asked++) {
        seen.errors++;
        add_sample(&seen.latency, now - due_ns(asked));
    }
}

static void run(void) {
    begun_ns = now_ns();
    int64_t warm_ns = begun_ns + options.warmup_ns, until_ns = warm_ns + options.measure_ns;
    if (options.mode == CLOSED)
        for (int i = 0; i < options.connections; i++) ask(&clients[i], now_ns());
    if (options.mode == STREAM)
        for (int i = 0; i < options.connections; i++) begin_within(&clients[i], begun_ns, options.rate);
    send_due(until_ns);
    int64_t now;
    while ((now = now_ns()) < until_ns) {
        if (!seen.measuring && now >= warm_ns) begin_measuring(now);
        turn(until_ns);
    }
    end_measuring(now);
    if (options.mode == OPEN) collect_rest(until_ns);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path);
    options.request = malloc(65536);
    options.request_size = fread(options.request, 1, 65536, file);
    fclose(file);
}

static void print_results(void) {
    printf("{\"window_s\": %.6f, \"answers\": %ld, \"errors\": %ld, \"reconnects\": %ld, \"streams\": %ld, "
           "\"broken\": %ld, \"tokens\": %ld, \"cpu_s\": %.6f, \"generator_cpu_s\": %.6f, ",
           (double)(seen.end_ns - seen.start_ns) / 1e9, seen.answers, seen.errors, seen.reconnects, seen.streams,
           seen.broken, seen.tokens, (double)seen.processor_ns / 1e9, (double)seen.own_ns / 1e9);
    print_samples("latency_us", &seen.latency);
    printf(", ");
    print_samples("first_token_us", &seen.first_token);
    printf(", ");
    print_samples("transit_us", &seen.transit);
    printf("}\n");
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: load closed|open|stream PORT REQUEST_FILE CONNECTIONS WARMUP_MS MEASURE_MS RATE PIDS\n");
        return 2;
    }
    options.mode = strcmp(argv[1], "closed") == 0 ? CLOSED : strcmp(argv[1], "open") == 0 ? OPEN : STREAM;
    options.port = atoi(argv[2]);
    read_request(argv[3]);
    options.connections = atoi(argv[4]);
    options.warmup_ns = atoll(argv[5]) * 1000000;
    options.measure_ns = atoll(argv[6]) * 1000000;
    options.rate = atof(argv[7]);
    options.watched = parse_pids(argv[8]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1UL);
    raise_file_limit();
    poll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    clients = calloc((size_t)options.connections, sizeof *clients);
    idle = calloc((size_t)options.connections, sizeof *idle);
    if (clients == NULL || idle == NULL) fail("memory");
    for (int i = 0; i < options.connections; i++) {
        join(&clients[i]);
        idle[idle_count++] = i;
    }
    run();
    print_results();
    return 0;
}
