/* The kernel alone, on Wasm3. */
#include "kernel.h"

#include <stdlib.h>
#include "wasm3.h"
#include "m3_env.h" /* to limit and to grow a memory, which wasm3.h doesn't offer */

#define STACK_BYTES (1 << 20)

const char *const engine_name = "wasm3-c", *const engine_version = M3_VERSION;
const bool engine_limits = true;

struct kernel { IM3Runtime runtime; };

struct kernel *kernel_open(struct bytes wasm, long spare) {
    struct kernel *kernel = malloc(sizeof *kernel);
    IM3Environment environment = m3_NewEnvironment();
    IM3Module module;
    if (!kernel || m3_ParseModule(environment, &module, wasm.data, wasm.length)) return NULL;
    if (spare >= 0) module->memoryInfo.maxPages = module->memoryInfo.initPages + spare;
    kernel->runtime = m3_NewRuntime(environment, STACK_BYTES, NULL);
    return m3_LoadModule(kernel->runtime, module) ? NULL : kernel;
}

const char *kernel_call(struct kernel *kernel, const char *name, int count, const uint64_t *args, uint64_t *result) {
    IM3Function function;
    const void *pointers[MAX_ARGS];
    for (int i = 0; i < count; i++) pointers[i] = args + i; /* of an i32, the first half is read */
    *result = 0;                                            /* and only that written */
    M3Result error = m3_FindFunction(&function, kernel->runtime, name);
    if (!error) error = m3_Call(function, count, pointers);
    if (!error && m3_GetRetCount(function)) error = m3_GetResults(function, 1, (const void *[]){ result });
    return error;
}

struct bytes kernel_memory(struct kernel *kernel) {
    uint32_t size;
    uint8_t *data = m3_GetMemory(kernel->runtime, &size, 0);
    return (struct bytes){ data, size };
}

bool kernel_grow(struct kernel *kernel, uint32_t pages) {
    return !ResizeMemory(kernel->runtime, kernel_memory(kernel).length / PAGE + pages);
}
