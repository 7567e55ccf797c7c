/* A kernel alone, as the conformance cases and the trace see it: each engine has its own. All numbers are unsigned. */
#ifndef KERNEL_H
#define KERNEL_H

#include "host.h"

#define PAGE 65536
#define MAX_ARGS 4
#define SECONDS 20 /* for a case; more is an endless loop */

extern const char *const engine_name, *const engine_version;
extern const bool engine_limits; /* can a host limit the memory? */

struct kernel;

/* Null if it can't be loaded. spare: how many pages its memory may grow by, -1 for all. */
struct kernel *kernel_open(struct bytes wasm, long spare);

/* Calls an export: its result, 0 if there is none; and an error or null. */
const char *kernel_call(struct kernel *kernel, const char *name, int count, const uint64_t *args, uint64_t *result);

struct bytes kernel_memory(struct kernel *kernel);
bool kernel_grow(struct kernel *kernel, uint32_t pages);

/* In conformance.c. Runs the cases of a file, and tells on stderr which failed: false if there are none. */
bool conformance(struct bytes kernel, const char *file, int *cases, int *failed);

/* In main.c. The whole file; exits if there is none. */
struct bytes read_file(const char *name);

#endif
