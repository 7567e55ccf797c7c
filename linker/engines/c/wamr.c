/* WAMR. */
#include "measure.h"

#include <stdlib.h>
#include <string.h>
#include "wasm_export.h"

#define STACK_BYTES (1 << 20)
#define NO_HEAP 0 /* WAMR's own heap would lie in the kernel's memory */

const char *const engine_name = "wamr";

struct instance { wasm_module_inst_t instance; wasm_exec_env_t env; };

/* The kernel's exports as WAMR wants to know them: i is i32, I is i64. The last is what forward gets: which of them it is. */
enum { ALLOC, FREE, LENGTH, LOAD_U8, LOAD_U64, STORE_U8, STORE_U64, INPUT_SET, INPUT_OFFSET, INPUT_LENGTH, INPUT_LOAD_U8,
       INPUT_LOAD_U64, OUTPUT_SET, OUTPUT_OFFSET, OUTPUT_LENGTH, ERROR_SET, ERROR_GET, RESET, EXPORTS };
static void forward(wasm_exec_env_t env, uint64_t *slots);
#define EXPORT(name, signature, at) [at] = { name, forward, signature, &numbers[at] }
static int numbers[EXPORTS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 };
static const NativeSymbol exports[EXPORTS] = {
    EXPORT("alloc", "(I)I", ALLOC), EXPORT("free", "(I)", FREE), EXPORT("length", "(I)I", LENGTH),
    EXPORT("load_u8", "(I)i", LOAD_U8), EXPORT("load_u64", "(I)I", LOAD_U64), EXPORT("store_u8", "(Ii)", STORE_U8),
    EXPORT("store_u64", "(II)", STORE_U64), EXPORT("input_set", "(II)", INPUT_SET), EXPORT("input_offset", "()I", INPUT_OFFSET),
    EXPORT("input_length", "()I", INPUT_LENGTH), EXPORT("input_load_u8", "(I)i", INPUT_LOAD_U8),
    EXPORT("input_load_u64", "(I)I", INPUT_LOAD_U64), EXPORT("output_set", "(II)", OUTPUT_SET),
    EXPORT("output_offset", "()I", OUTPUT_OFFSET), EXPORT("output_length", "()I", OUTPUT_LENGTH),
    EXPORT("error_set", "(I)", ERROR_SET), EXPORT("error_get", "()I", ERROR_GET), EXPORT("reset", "()", RESET),
};

struct plugin {
    struct instance kernel, plugin; /* the same in a linked module */
    wasm_function_inst_t functions[EXPORTS], begin, end, base_get, echo;
};

/* The WAMR of the crate looks for host functions under four module names only; later ones look under any. See tests/engines/wamr. */
bool __wrap_wasm_runtime_is_built_in_module(const char *name);
bool __wrap_wasm_runtime_is_built_in_module(const char *name) { return *name != 0; }

/* It looks for the end of its stack at every call; later ones remember it. */
uint8_t *__real_os_thread_get_stack_boundary(void);
uint8_t *__wrap_os_thread_get_stack_boundary(void);
uint8_t *__wrap_os_thread_get_stack_boundary(void) {
    static _Thread_local uint8_t *boundary;
    return boundary ? boundary : (boundary = __real_os_thread_get_stack_boundary());
}

static struct instance open_module(struct bytes wasm) {
    static char error[128];
    static int started;
    if (!started++ && !wasm_runtime_init()) check("WAMR can't start");
    /* Of the bytes a copy, as WAMR writes into them. */
    uint8_t *bytes = memcpy(malloc(wasm.length), wasm.data, wasm.length);
    wasm_module_t module = wasm_runtime_load(bytes, (uint32_t)wasm.length, error, sizeof error);
    if (!module) check(error);
    struct instance i = { wasm_runtime_instantiate(module, STACK_BYTES, NO_HEAP, error, sizeof error), NULL };
    if (!i.instance) check(error);
    i.env = wasm_runtime_create_exec_env(i.instance, STACK_BYTES);
    return i;
}

static void run(struct instance *i, wasm_function_inst_t function, uint32_t count, uint32_t *cells) {
    if (!wasm_runtime_call_wasm(i->env, function, count, cells)) check(wasm_runtime_get_exception(i->instance));
}

/* Calls an export of the kernel, with arguments as they come. */
static uint64_t kernel(struct plugin *p, int export, const uint64_t *args) {
    uint32_t cells[4] = { 0 }, count = 0; /* an i64 has two, the lower half first */
    const char *type = exports[export].signature + 1;
    for (; *type != ')'; type++, args++) {
        cells[count++] = (uint32_t)*args;
        if (*type == 'I') cells[count++] = (uint32_t)(*args >> 32);
    }
    run(&p->kernel, p->functions[export], count, cells);
    return !type[1] ? 0 : type[1] == 'i' ? cells[0] : cells[0] | (uint64_t)cells[1] << 32;
}

static void forward(wasm_exec_env_t env, uint64_t *slots) {
    slots[0] = kernel(wasm_runtime_get_user_data(env), *(const int *)wasm_runtime_get_function_attachment(env), slots);
}

struct plugin *open_usual(struct bytes kernel_wasm, struct bytes wasm) {
    struct plugin *p = calloc(1, sizeof *p);
    static NativeSymbol sorted[EXPORTS]; /* by WAMR */
    p->kernel = open_module(kernel_wasm);
    if (!sorted->symbol) {
        memcpy(sorted, exports, sizeof exports);
        if (!wasm_runtime_register_natives_raw("extism:host/env", sorted, EXPORTS)) check("no natives");
    }
    p->plugin = open_module(wasm);
    wasm_runtime_set_user_data(p->plugin.env, p);
    for (int i = 0; i < EXPORTS; i++) p->functions[i] = wasm_runtime_lookup_function(p->kernel.instance, exports[i].symbol, NULL);
    p->echo = wasm_runtime_lookup_function(p->plugin.instance, "echo", NULL);
    return p;
}

static uint8_t *memory(struct instance *i) { return wasm_runtime_addr_app_to_native(i->instance, 0); }

// README: begin
struct plugin *open_linked(struct bytes wasm) {
    struct plugin *p = calloc(1, sizeof *p);
    p->kernel = p->plugin = open_module(wasm); /* your own functions are all that is to be registered before */
    p->begin = wasm_runtime_lookup_function(p->plugin.instance, PREFIX "begin", NULL);
    p->end = wasm_runtime_lookup_function(p->plugin.instance, PREFIX "end", NULL);
    p->base_get = wasm_runtime_lookup_function(p->plugin.instance, PREFIX "base_get", NULL);
    p->echo = wasm_runtime_lookup_function(p->plugin.instance, "echo", NULL);
    return p;
}

static uint32_t base(struct plugin *p) {
    uint32_t base[1];
    run(&p->plugin, p->base_get, 0, base);
    return base[0]; /* it moves when the plugin's memory grows */
}

static struct bytes call_linked(struct plugin *p, struct bytes input) {
    uint32_t begin[2] = { (uint32_t)input.length, 0 }, end[8] = { 0 }, code[1] = { 0 };
    run(&p->plugin, p->begin, 2, begin);
    if (begin[0]) memcpy(memory(&p->plugin) + base(p) + begin[0], input.data, input.length);
    run(&p->plugin, p->echo, 0, code);
    run(&p->plugin, p->end, 0, end); /* offset and length of the output, then of the error: two cells each, the lower half first */
    if (end[6]) check("the plugin failed");
    return (struct bytes){ memory(&p->plugin) + base(p) + end[0], end[2] };
}
// README: end

struct bytes call(struct plugin *p, struct bytes input) {
    if (p->begin) return call_linked(p, input);
    uint32_t code[1] = { 0 };
    kernel(p, ERROR_SET, (uint64_t[]){ 0 });
    kernel(p, RESET, NULL);
    uint64_t handle = kernel(p, ALLOC, (uint64_t[]){ input.length });
    memcpy(memory(&p->kernel) + handle, input.data, input.length);
    kernel(p, INPUT_SET, (uint64_t[]){ handle, input.length });
    run(&p->plugin, p->echo, 0, code);
    struct bytes output = { memory(&p->kernel) + kernel(p, OUTPUT_OFFSET, NULL), kernel(p, OUTPUT_LENGTH, NULL) };
    kernel(p, LENGTH, (uint64_t[]){ kernel(p, ERROR_GET, NULL) });
    return output;
}
