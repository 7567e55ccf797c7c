/* A host for Extism plugins on WAMR, to copy from: what a plugin imports, and how it is called. */
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include "lib_export.h"
#include "wamr.h"

#define STACK_BYTES (1 << 20)
#define NO_HEAP 0 /* WAMR's own heap would lie in the kernel's memory */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A plugin with a kernel of its own. */
struct plugin {
    struct plugin_options options;
    struct instance kernel, plugin;
    struct var *vars;
};

struct plugin_options *plugin_options(struct plugin *p) { return &p->options; }
struct var **plugin_vars(struct plugin *p) { return &p->vars; }

static void forward(wasm_exec_env_t env, uint64_t *slots);

/* The kernel's exports as WAMR wants to know them: i is i32, I is i64. The last is what forward gets as attachment. */
#define EXPORT(name, signature) { name, forward, signature, name }
static NativeSymbol exports[] = {
    EXPORT("alloc", "(I)I"), EXPORT("free", "(I)"), EXPORT("length", "(I)I"), EXPORT("length_unsafe", "(I)I"),
    EXPORT("load_u8", "(I)i"), EXPORT("load_u64", "(I)I"), EXPORT("store_u8", "(Ii)"), EXPORT("store_u64", "(II)"),
    EXPORT("input_set", "(II)"), EXPORT("input_offset", "()I"), EXPORT("input_length", "()I"),
    EXPORT("input_load_u8", "(I)i"), EXPORT("input_load_u64", "(I)I"), EXPORT("output_set", "(II)"),
    EXPORT("output_offset", "()I"), EXPORT("output_length", "()I"), EXPORT("error_set", "(I)"),
    EXPORT("error_get", "()I"), EXPORT("memory_bytes", "()I"), EXPORT("reset", "()"),
};

const char *instance_open(struct instance *i, const uint8_t *bytes, uint32_t length) {
    static char error[128];
    if (!(i->bytes = malloc(length))) abort();
    memcpy(i->bytes, bytes, length);
    if (!(i->module = wasm_runtime_load(i->bytes, length, error, sizeof error))) return error;
    i->instance = wasm_runtime_instantiate(i->module, STACK_BYTES, NO_HEAP, error, sizeof error);
    if (!i->instance) return error;
    i->env = wasm_runtime_create_exec_env(i->instance, STACK_BYTES);
    return i->env ? NULL : "no memory for the stack";
}

void instance_close(struct instance *i) {
    if (i->env) wasm_runtime_destroy_exec_env(i->env);
    if (i->instance) wasm_runtime_deinstantiate(i->instance);
    if (i->module) wasm_runtime_unload(i->module);
    free(i->bytes);
}

const char *export_call(struct instance *kernel, const char *name, const uint64_t *args, uint64_t *result) {
    wasm_function_inst_t function = wasm_runtime_lookup_function(kernel->instance, name, NULL);
    const NativeSymbol *export = exports;
    while (export < exports + COUNT(exports) && strcmp(export->symbol, name)) export++;
    if (!function || export == exports + COUNT(exports)) return "no such export";
    uint32_t cells[4] = { 0 }, count = 0; /* an i64 has two, the lower half first */
    const char *type = export->signature + 1;
    for (; *type != ')'; type++, args++) {
        cells[count++] = (uint32_t)*args;
        if (*type == 'I') cells[count++] = (uint32_t)(*args >> 32);
    }
    wasm_runtime_clear_exception(kernel->instance);
    if (!wasm_runtime_call_wasm(kernel->env, function, count, cells)) return wasm_runtime_get_exception(kernel->instance);
    *result = !type[1] ? 0 : type[1] == 'i' ? cells[0] : cells[0] | (uint64_t)cells[1] << 32;
    return NULL;
}

uint64_t plugin_kernel(struct plugin *p, const char *name, uint64_t a, uint64_t b) {
    uint64_t result;
    if (export_call(&p->kernel, name, (uint64_t[]){ a, b }, &result)) abort(); /* no export of the kernel ever traps */
    return result;
}

static struct bytes range(struct plugin *p, uint64_t offset, uint64_t length) {
    uint32_t start, size;
    uint8_t *memory = wasm_runtime_addr_app_to_native(p->kernel.instance, 0);
    wasm_runtime_get_app_addr_range(p->kernel.instance, 0, &start, &size);
    if (offset > size || length > size - offset) return (struct bytes){ memory, 0 };
    return (struct bytes){ memory + offset, length };
}

struct bytes plugin_block(struct plugin *p, uint64_t handle) {
    return range(p, handle, plugin_kernel(p, "length", handle, 0));
}

uint64_t plugin_alloc(struct plugin *p, struct bytes bytes) {
    uint64_t handle = bytes.length ? plugin_kernel(p, "alloc", bytes.length, 0) : 0;
    if (handle) memcpy(range(p, handle, bytes.length).data, bytes.data, bytes.length);
    return handle;
}

/* WAMR links by name, for the whole process: which plugin it is that calls, the environment of the call tells. */
static void forward(wasm_exec_env_t env, uint64_t *slots) {
    struct plugin *p = wasm_runtime_get_user_data(env);
    uint64_t result = 0;
    const char *error = export_call(&p->kernel, wasm_runtime_get_function_attachment(env), slots, &result);
    if (error) wasm_runtime_set_exception(p->plugin.instance, error);
    slots[0] = result;
}

static void call_host(wasm_exec_env_t env, uint64_t *slots) {
    struct plugin *p = wasm_runtime_get_user_data(env);
    const struct host_function *function = wasm_runtime_get_function_attachment(env);
    const char *error = function->body(p, slots);
    if (error) wasm_runtime_set_exception(p->plugin.instance, error);
}

/* The list of a module's functions has to stay, since WAMR keeps it. */
static bool register_host(const struct host_function *functions) {
    for (const struct host_function *f = functions; f && f->name; f++) {
        NativeSymbol *symbol = malloc(sizeof *symbol);
        if (!symbol) abort();
        *symbol = (NativeSymbol){ f->name, call_host, NULL, (void *)f };
        if (!wasm_runtime_register_natives_raw(f->module, symbol, 1)) return false;
    }
    return true;
}

/* What the plugin's language wants before the first call: its constructors, then Haskell's runtime. WAMR has called
   `__wasm_call_ctors` when it instantiated the module; where there is none to be seen, `_initialize` calls it. */
static const char *initialize(struct instance *plugin) {
    uint32_t arguments[2] = { 0 };
    bool done = wasm_runtime_lookup_function(plugin->instance, "__wasm_call_ctors", NULL);
    wasm_function_inst_t constructors = wasm_runtime_lookup_function(plugin->instance, "_initialize", NULL);
    wasm_function_inst_t haskell = wasm_runtime_lookup_function(plugin->instance, "hs_init", NULL);
    bool ok = done || !constructors || wasm_runtime_call_wasm(plugin->env, constructors, 0, NULL);
    if (ok && haskell) ok = wasm_runtime_call_wasm(plugin->env, haskell, 2, arguments);
    return ok ? NULL : wasm_runtime_get_exception(plugin->instance);
}

static const char *load(struct plugin *p, struct bytes kernel, struct bytes plugin) {
    const char *error;
    static bool registered;
    // README: begin
    if (!registered && !wasm_runtime_init()) return "WAMR can't start";
    /* The kernel's exports are imports of the plugin, under the same module name as the host's functions. */
    if (!registered && !wasm_runtime_register_natives_raw("extism:host/env", exports, COUNT(exports))) return "no natives";
    if (!registered && !register_host(host_environment)) return "no natives";
    registered = true;
    if (!register_host(p->options.functions)) return "no natives";
    if ((error = instance_open(&p->kernel, kernel.data, kernel.length))) return error; /* it imports nothing */
    if ((error = instance_open(&p->plugin, plugin.data, plugin.length))) return error;
    wasm_runtime_set_user_data(p->plugin.env, p);
    // README: end
    return initialize(&p->plugin);
}

struct plugin *plugin_open(struct bytes kernel, struct bytes wasm, struct plugin_options options, const char **error) {
    struct plugin *p = calloc(1, sizeof *p);
    if (!p) abort();
    p->options = options;
    if (!(*error = load(p, kernel, wasm))) return p;
    plugin_close(p);
    return NULL;
}

void plugin_close(struct plugin *p) {
    forget_vars(&p->vars);
    instance_close(&p->plugin);
    instance_close(&p->kernel);
    free(p);
}

bool plugin_call(struct plugin *p, const char *name, struct bytes input, struct bytes *output) {
    uint32_t code[2] = { 0 };
    plugin_kernel(p, "error_set", 0, 0);
    plugin_kernel(p, "reset", 0, 0);
    uint64_t handle = plugin_alloc(p, input);
    if (input.length && !handle) return *output = bytes_copy(bytes_of("the kernel has no room for the input")), false;
    plugin_kernel(p, "input_set", handle, input.length);

    const char *trap = NULL;
    wasm_function_inst_t function = wasm_runtime_lookup_function(p->plugin.instance, name, NULL);
    wasm_runtime_clear_exception(p->plugin.instance);
    if (!function) trap = "the plugin has no such function";
    else if (!wasm_runtime_call_wasm(p->plugin.env, function, 0, code)) trap = wasm_runtime_get_exception(p->plugin.instance);

    uint64_t error = plugin_kernel(p, "error_get", 0, 0);
    if (error && plugin_kernel(p, "length", error, 0)) *output = bytes_copy(plugin_block(p, error));
    else if (trap) *output = bytes_copy(bytes_of(trap));
    else if (code[0]) *output = bytes_copy(bytes_of("the function returned another number than 0"));
    else {
        uint64_t length = plugin_kernel(p, "output_length", 0, 0);
        *output = bytes_copy(range(p, plugin_kernel(p, "output_offset", 0, 0), length));
        return true;
    }
    return false;
}
