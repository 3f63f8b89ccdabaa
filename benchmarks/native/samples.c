#define _GNU_SOURCE
#include "samples.h"

#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { UNIT_NS = 100 };

void add_sample(struct samples *samples, int64_t duration_ns) {
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 1 << 16;
        samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
        if (samples->values == NULL) fail("memory");
    }
    int64_t units = duration_ns / UNIT_NS;
    samples->values[samples->count++] = units < 0 ? 0 : units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static int compare(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static double quantile_us(const struct samples *samples, double share) {
    if (samples->count == 0) return -1;
    size_t at = (size_t)(share * (double)(samples->count - 1) + 0.5);
    return samples->values[at] * (UNIT_NS / 1000.0);
}

void print_samples(const char *name, struct samples *samples) {
    double sum = 0;
    if (samples->count > 0) qsort(samples->values, samples->count, sizeof *samples->values, compare);
    for (size_t i = 0; i < samples->count; i++) sum += samples->values[i] * (UNIT_NS / 1000.0);
    printf("\"%s\": {\"count\": %zu, \"mean\": %.2f, \"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p999\": %.2f, "
           "\"max\": %.2f}",
           name, samples->count, samples->count ? sum / (double)samples->count : -1, quantile_us(samples, 0.5),
           quantile_us(samples, 0.9), quantile_us(samples, 0.99), quantile_us(samples, 0.999), quantile_us(samples, 1));
}

struct watched parse_pids(const char *list) {
    struct watched found = {0};
    while (*list != 0 && found.count < 64) {
        char *end;
        long pid = strtol(list, &end, 10);
        if (end == list) break;
        found.pids[found.count++] = (int)pid;
        list = *end == ',' ? end + 1 : end;
    }
    return found;
}

int64_t processor_ns(const struct watched *watched) {
    int64_t sum = 0;
    for (int i = 0; i < watched->count; i++) {
        clockid_t clock;
        struct timespec spent;
        if (clock_getcpuclockid(watched->pids[i], &clock) != 0 || clock_gettime(clock, &spent) != 0) continue;
        sum += (int64_t)spent.tv_sec * 1000000000 + spent.tv_nsec;
    }
    return sum;
}

int64_t own_processor_ns(void) {
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * 1000000000 + spent.tv_nsec;
}
