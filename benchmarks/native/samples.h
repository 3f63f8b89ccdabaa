/* Measured durations and the processor time of other processes, and how both are printed as JSON. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* Durations in units of 100 ns. */
struct samples {
    uint32_t *values;
    size_t count, room;
};

void add_sample(struct samples *samples, int64_t duration_ns);

/* Sorts the samples and prints `"NAME": {"count": .., "mean": .., "p50": .., ...}` in microseconds. */
void print_samples(const char *name, struct samples *samples);

/* The processes whose processor time is taken, as a list "12,13"; empty for none. */
struct watched {
    int count;
    int pids[64];
};

struct watched parse_pids(const char *list);

/* User and system time of all watched processes with all their threads so far. */
int64_t processor_ns(const struct watched *watched);

int64_t own_processor_ns(void);

#endif
