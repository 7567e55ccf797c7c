/* Runs the cases of a file, and tells on stderr which failed: false if it can't be read. */
#include "host.h"

bool conformance(struct bytes kernel, const char *file, int *cases, int *failed);

/* The whole file; exits if there is none. */
struct bytes read_file(const char *name);

/* A kernel alone. Null if it can't be loaded. Of the arguments, spare is how many pages it may grow by; -1 for all. */
IM3Runtime kernel_open(IM3Environment environment, struct bytes wasm, long spare);

/* Calls an export with a number of arguments; all numbers are unsigned. */
M3Result kernel_call(IM3Runtime kernel, const char *name, int count, const uint64_t *args, uint64_t *result);
