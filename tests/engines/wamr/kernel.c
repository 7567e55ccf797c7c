/* The kernel alone, on WAMR. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>
#include "wamr.h"

const char *const engine_name = "wamr", *const engine_version = WAMR_VERSION;
const bool engine_limits = false; /* its host can't limit a memory */

struct kernel { struct instance instance; };

/* Not in WAMR's public headers, but the only way to grow a memory. */
bool wasm_enlarge_memory(wasm_module_inst_t instance, uint32_t pages);

/* The WAMR of the crate is an old one, that looks for host functions under four module names only, as this function of
   its own says. Later ones look under any, and so does this, which the linker puts in its place (see run). */
bool __wrap_wasm_runtime_is_built_in_module(const char *name);
bool __wrap_wasm_runtime_is_built_in_module(const char *name) { return *name != 0; }

/* It also looks for the end of its stack at every call, for which libc reads /proc/self/maps. Later ones remember it, and so
   does this: a call of a plugin takes a hundredth of the time. */
uint8_t *__real_os_thread_get_stack_boundary(void);
uint8_t *__wrap_os_thread_get_stack_boundary(void);
uint8_t *__wrap_os_thread_get_stack_boundary(void) {
    static _Thread_local uint8_t *boundary;
    return boundary ? boundary : (boundary = __real_os_thread_get_stack_boundary());
}

static uint32_t leb(const uint8_t **at) {
    uint32_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint32_t)(**at & 127) << shift;
        if (*(*at)++ < 128) return value;
    }
}

static uint8_t *to_leb(uint8_t *at, uint32_t value) {
    for (; value > 127; value >>= 7) *at++ = value | 128;
    *at++ = value;
    return at;
}

/* The module with a maximum for its memory, so many pages more than it starts with. */
static struct bytes limited(struct bytes wasm, uint32_t spare) {
    struct bytes copy = { malloc(wasm.length + 16), 0 };
    if (!copy.data) abort();
    for (const uint8_t *at = wasm.data + 8; at < wasm.data + wasm.length;) {
        const uint8_t *section = at++;
        uint32_t length = leb(&at);
        if (*section == 5) {
            const uint8_t *content = at + 2; /* behind the number of memories and the flags */
            uint32_t initial = leb(&content);
            uint8_t memory[16] = { 1, 1 }, *end = to_leb(to_leb(memory + 2, initial), initial + spare);
            uint8_t *to = copy.data + (section - wasm.data);
            memcpy(copy.data, wasm.data, section - wasm.data);
            *to++ = 5;
            to = to_leb(to, end - memory);
            memcpy(to, memory, end - memory);
            to += end - memory;
            memcpy(to, at + length, wasm.data + wasm.length - at - length);
            copy.length = to - copy.data + (wasm.data + wasm.length - at - length);
        }
        at += length;
    }
    return copy;
}

struct kernel *kernel_open(struct bytes wasm, long spare) {
    struct kernel *kernel = calloc(1, sizeof *kernel);
    struct bytes bytes = spare < 0 ? wasm : limited(wasm, spare);
    if (!kernel || !wasm_runtime_init()) return NULL;
    return instance_open(&kernel->instance, bytes.data, bytes.length) ? NULL : kernel;
}

const char *kernel_call(struct kernel *kernel, const char *name, int count, const uint64_t *args, uint64_t *result) {
    (void)count; /* the signature has it */
    return export_call(&kernel->instance, name, args, result);
}

struct bytes kernel_memory(struct kernel *kernel) {
    uint32_t start, end;
    wasm_runtime_get_app_addr_range(kernel->instance.instance, 0, &start, &end);
    return (struct bytes){ wasm_runtime_addr_app_to_native(kernel->instance.instance, 0), end };
}

bool kernel_grow(struct kernel *kernel, uint32_t pages) { return wasm_enlarge_memory(kernel->instance.instance, pages); }
