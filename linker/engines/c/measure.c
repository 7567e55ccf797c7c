/* ENGINE PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust. */
#define _GNU_SOURCE
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 15, MOST_FILES = 8 };

void check(const char *error) {
    if (!error) return;
    fprintf(stderr, "%s: %s\n", engine_name, error);
    exit(1);
}

static struct bytes read_file(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) check(name);
    fseek(file, 0, SEEK_END);
    struct bytes bytes = { NULL, (size_t)ftell(file) };
    rewind(file);
    bytes.data = malloc(bytes.length);
    if (fread(bytes.data, 1, bytes.length, file) != bytes.length) check(name);
    fclose(file);
    return bytes;
}

/* Microseconds of CPU time of a call, in the mean of so many. */
static double measure(struct plugin *plugin, struct bytes input, uint8_t *copy, int calls) {
    struct timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (int i = 0; i < calls; i++) {
        struct bytes output = call(plugin, input);
        memcpy(copy, output.data, output.length);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return ((end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3) / calls;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    struct bytes echo = read_file(arguments[1]);
    int subjects = count - 2;
    struct plugin *plugins[MOST_FILES];
    for (int at = 0; at < subjects && at < MOST_FILES; at++) {
        char *file = strchr(arguments[at + 2], '=');
        if (!file) check("usage: ENGINE PLUGIN.wasm NAME=FILE...");
        *file++ = 0;
        struct bytes module = read_file(file);
        int is_linked = memmem(module.data, module.length, PREFIX "begin", strlen(PREFIX "begin")) != NULL;
        plugins[at] = is_linked ? open_linked(module) : open_usual(module, echo);
    }
    const size_t sizes[] = { 64, 4096, 1 << 20 };
    for (int s = 0; s < 3; s++) {
        struct bytes input = { malloc(sizes[s]), sizes[s] };
        uint8_t *copy = malloc(sizes[s]);
        for (size_t i = 0; i < input.length; i++) input.data[i] = (uint8_t)(i * 7);
        double times[MOST_FILES][ROUNDS];
        int batch[MOST_FILES];
        for (int at = 0; at < subjects; at++) {
            struct bytes output = call(plugins[at], input);
            if (output.length != input.length || memcmp(output.data, input.data, input.length)) check("the output is not the input");
            batch[at] = 1 + (int)(20000 / measure(plugins[at], input, copy, 3));
        }
        for (int round = 0; round < ROUNDS; round++)
            for (int at = 0; at < subjects; at++) times[at][round] = measure(plugins[at], input, copy, batch[at]);
        for (int at = 0; at < subjects; at++) {
            qsort(times[at], ROUNDS, sizeof(double), compare);
            printf("%s %s %zu %.4f\n", engine_name, arguments[at + 2], sizes[s], times[at][ROUNDS / 2]);
        }
    }
}
