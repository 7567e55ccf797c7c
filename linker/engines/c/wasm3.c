/* Wasm3. */
#include "measure.h"

#include <stdlib.h>
#include <string.h>
#include "wasm3.h"

#define STACK_BYTES (1 << 20)

const char *const engine_name = "wasm3";

struct plugin {
    IM3Runtime kernel, plugin; /* the same in a linked module */
    IM3Global base;            /* of a linked module */
    IM3Function begin, end, error_set, reset, alloc, input_set, output_offset, output_length, error_get, length, echo;
};

static IM3Function find(IM3Runtime runtime, const char *name) {
    IM3Function function;
    check(m3_FindFunction(&function, runtime, name));
    return function;
}

static uint64_t get(IM3Function function, uint64_t a, uint64_t b) {
    uint64_t result = 0;
    check(m3_Call(function, m3_GetArgCount(function), (const void *[]){ &a, &b }));
    if (m3_GetRetCount(function)) check(m3_GetResults(function, 1, (const void *[]){ &result }));
    return result;
}

/* An import of the plugin that is an export of the kernel, the userdata: results first, then arguments. */
m3ApiRawFunction(forward) {
    IM3Function function = _ctx->userdata;
    uint32_t results = m3_GetRetCount(function);
    M3Result error = m3_Call(function, m3_GetArgCount(function), (const void *[]){ _sp + results, _sp + results + 1 });
    return error ? error : m3_GetResults(function, results, (const void *[]){ _sp });
}

static IM3Module load(IM3Runtime runtime, IM3Environment environment, struct bytes wasm) {
    IM3Module module;
    check(m3_ParseModule(environment, &module, wasm.data, (uint32_t)wasm.length));
    check(m3_LoadModule(runtime, module));
    return module;
}

struct plugin *open_usual(struct bytes kernel, struct bytes wasm) {
    static const char *const exports[] = {
        "alloc", "free", "length", "load_u8", "load_u64", "store_u8", "store_u64", "input_set", "input_offset", "input_length",
        "input_load_u8", "input_load_u64", "output_set", "output_offset", "output_length", "error_set", "error_get", "reset",
    };
    struct plugin *p = calloc(1, sizeof *p);
    IM3Environment environment = m3_NewEnvironment();
    p->kernel = m3_NewRuntime(environment, STACK_BYTES, NULL);
    p->plugin = m3_NewRuntime(environment, STACK_BYTES, NULL);
    load(p->kernel, environment, kernel);
    IM3Module plugin = load(p->plugin, environment, wasm);
    for (size_t i = 0; i < sizeof exports / sizeof *exports; i++) {
        M3Result result = m3_LinkRawFunctionEx(plugin, "extism:host/env", exports[i], NULL, forward, find(p->kernel, exports[i]));
        if (result != m3Err_functionLookupFailed) check(result);
    }
    p->error_set = find(p->kernel, "error_set");
    p->reset = find(p->kernel, "reset");
    p->alloc = find(p->kernel, "alloc");
    p->input_set = find(p->kernel, "input_set");
    p->output_offset = find(p->kernel, "output_offset");
    p->output_length = find(p->kernel, "output_length");
    p->error_get = find(p->kernel, "error_get");
    p->length = find(p->kernel, "length");
    p->echo = find(p->plugin, "echo");
    return p;
}

// README: begin
struct plugin *open_linked(struct bytes wasm) {
    struct plugin *p = calloc(1, sizeof *p);
    IM3Environment environment = m3_NewEnvironment();
    p->kernel = p->plugin = m3_NewRuntime(environment, STACK_BYTES, NULL);
    IM3Module module = load(p->plugin, environment, wasm); /* your own functions are all that is to be linked */
    p->base = m3_FindGlobal(module, PREFIX "base");
    p->begin = find(p->plugin, PREFIX "begin");
    p->end = find(p->plugin, PREFIX "end");
    p->echo = find(p->plugin, "echo");
    return p;
}

static struct bytes call_linked(struct plugin *p, struct bytes input) {
    uint64_t handle = get(p->begin, input.length, 0), end[4];
    M3TaggedValue base;
    check(m3_GetGlobal(p->base, &base));
    if (handle) memcpy(m3_GetMemory(p->plugin, NULL, 0) + base.value.i32 + handle, input.data, input.length);
    check(m3_Call(p->echo, 0, NULL));
    check(m3_Call(p->end, 0, NULL)); /* offset and length of the output, then of the error */
    check(m3_GetResults(p->end, 4, (const void *[]){ &end[0], &end[1], &end[2], &end[3] }));
    if (end[3]) check("the plugin failed");
    check(m3_GetGlobal(p->base, &base)); /* it moves when the plugin's memory grows */
    return (struct bytes){ m3_GetMemory(p->plugin, NULL, 0) + base.value.i32 + end[0], end[1] };
}
// README: end

struct bytes call(struct plugin *p, struct bytes input) {
    if (p->begin) return call_linked(p, input);
    get(p->error_set, 0, 0);
    get(p->reset, 0, 0);
    uint64_t handle = get(p->alloc, input.length, 0);
    memcpy(m3_GetMemory(p->kernel, NULL, 0) + handle, input.data, input.length);
    get(p->input_set, handle, input.length);
    check(m3_Call(p->echo, 0, NULL));
    struct bytes output = { m3_GetMemory(p->kernel, NULL, 0) + get(p->output_offset, 0, 0), get(p->output_length, 0, 0) };
    get(p->length, get(p->error_get, 0, 0), 0);
    return output;
}
