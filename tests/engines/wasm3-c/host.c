/* A host for Extism plugins on Wasm3, to copy from: what a plugin imports, and how it is called. */
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include "wasm3.h"
#include "m3_env.h" /* for the memory's maximum, which wasm3.h doesn't show */

#define STACK_BYTES (1 << 20)

/* What an import of the plugin is: a function of the host. */
struct binding { struct binding *next; struct plugin *plugin; const struct host_function *function; };

/* A plugin with a kernel of its own. */
struct plugin {
    struct plugin_options options;
    IM3Environment environment;
    IM3Runtime kernel, plugin;
    struct binding *bindings;
    struct var *vars;
};

struct plugin_options *plugin_options(struct plugin *p) { return &p->options; }
struct var **plugin_vars(struct plugin *p) { return &p->vars; }

uint64_t plugin_kernel(struct plugin *p, const char *name, uint64_t a, uint64_t b) {
    IM3Function function;
    uint64_t result = 0;
    /* No export of the kernel ever traps, so an error means that this is none. */
    if (m3_FindFunction(&function, p->kernel, name)) abort();
    if (m3_Call(function, m3_GetArgCount(function), (const void *[]){ &a, &b })) abort();
    if (m3_GetRetCount(function)) m3_GetResults(function, 1, (const void *[]){ &result });
    return result;
}

static struct bytes range(struct plugin *p, uint64_t offset, uint64_t length) {
    uint32_t size;
    uint8_t *memory = m3_GetMemory(p->kernel, &size, 0);
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

/* An import of the plugin that is an export of the kernel, the userdata: results first, then arguments. */
m3ApiRawFunction(forward) {
    IM3Function function = _ctx->userdata;
    uint32_t results = m3_GetRetCount(function);
    M3Result error = m3_Call(function, m3_GetArgCount(function), (const void *[]){ _sp + results, _sp + results + 1 });
    return error ? error : m3_GetResults(function, results, (const void *[]){ _sp });
}

/* An import that is a function of the host. */
m3ApiRawFunction(call_host) {
    struct binding *binding = _ctx->userdata;
    uint64_t slots[4] = { 0 }, *args = _sp + m3_GetRetCount(_ctx->function);
    memcpy(slots, args, m3_GetArgCount(_ctx->function) * sizeof *slots);
    const char *error = binding->function->body(binding->plugin, slots);
    if (m3_GetRetCount(_ctx->function)) _sp[0] = slots[0];
    return error;
}

/* What the plugin doesn't import isn't found, which is no error. */
static M3Result link(IM3Module module, const char *space, const char *name, M3RawCall body, const void *userdata) {
    M3Result result = m3_LinkRawFunctionEx(module, space, name, NULL, body, userdata);
    return result == m3Err_functionLookupFailed ? m3Err_none : result;
}

static M3Result link_host(struct plugin *p, IM3Module module, const struct host_function *functions) {
    M3Result error = m3Err_none;
    for (const struct host_function *f = functions; f && f->name && !error; f++) {
        struct binding *binding = malloc(sizeof *binding);
        if (!binding) abort();
        *binding = (struct binding){ p->bindings, p, f };
        p->bindings = binding;
        error = link(module, f->module, f->name, call_host, binding);
    }
    return error;
}

/* What the plugin's language wants before the first call: its constructors, then Haskell's runtime. */
static M3Result initialize(IM3Runtime plugin) {
    IM3Function function;
    M3Result error = m3Err_none;
    /* The one calls the other. */
    if (!m3_FindFunction(&function, plugin, "_initialize") || !m3_FindFunction(&function, plugin, "__wasm_call_ctors"))
        error = m3_CallV(function);
    if (!error && !m3_FindFunction(&function, plugin, "hs_init")) error = m3_CallV(function, 0, 0);
    return error;
}

static M3Result load(struct plugin *p, struct bytes kernel_wasm, struct bytes plugin_wasm) {
    M3Result error;
    IM3Module kernel, plugin;
    IM3Function function;
    // README: begin
    /* Each has a runtime of its own: modules in one runtime would share its memory and its stack. */
    p->kernel = m3_NewRuntime(p->environment, STACK_BYTES, NULL);
    p->plugin = m3_NewRuntime(p->environment, STACK_BYTES, NULL);
    if ((error = m3_ParseModule(p->environment, &kernel, kernel_wasm.data, kernel_wasm.length))) return error;
    if (p->options.kernel_pages) kernel->memoryInfo.maxPages = p->options.kernel_pages;
    if ((error = m3_LoadModule(p->kernel, kernel))) return error; /* it imports nothing */
    if ((error = m3_ParseModule(p->environment, &plugin, plugin_wasm.data, plugin_wasm.length))) return error;
    if ((error = m3_LoadModule(p->plugin, plugin))) return error;
    /* The kernel's exports are imports of the plugin, under the same module name as the host's functions. */
    for (const char *const *name = kernel_exports; *name; name++) {
        if ((error = m3_FindFunction(&function, p->kernel, *name))) return error;
        if ((error = link(plugin, "extism:host/env", *name, forward, function))) return error;
    }
    if ((error = link_host(p, plugin, host_environment))) return error;
    if ((error = link_host(p, plugin, p->options.functions))) return error;
    // README: end
    return initialize(p->plugin);
}

struct plugin *plugin_open(struct bytes kernel, struct bytes wasm, struct plugin_options options, const char **error) {
    struct plugin *p = calloc(1, sizeof *p);
    if (!p) abort();
    p->options = options;
    p->environment = m3_NewEnvironment();
    if (!(*error = load(p, kernel, wasm))) return p;
    plugin_close(p);
    return NULL;
}

void plugin_close(struct plugin *p) {
    forget_vars(&p->vars);
    for (struct binding *next; p->bindings; p->bindings = next) next = p->bindings->next, free(p->bindings);
    if (p->plugin) m3_FreeRuntime(p->plugin);
    if (p->kernel) m3_FreeRuntime(p->kernel);
    m3_FreeEnvironment(p->environment);
    free(p);
}

bool plugin_call(struct plugin *p, const char *name, struct bytes input, struct bytes *output) {
    IM3Function function;
    uint32_t code = 0;
    *output = (struct bytes){ 0 };
    plugin_kernel(p, "error_set", 0, 0);
    plugin_kernel(p, "reset", 0, 0);
    uint64_t handle = plugin_alloc(p, input);
    if (input.length && !handle) return *output = bytes_copy(bytes_of("the kernel has no room for the input")), false;
    plugin_kernel(p, "input_set", handle, input.length);

    M3Result trap = m3_FindFunction(&function, p->plugin, name);
    if (!trap) trap = m3_CallV(function);
    if (!trap && m3_GetRetCount(function)) trap = m3_GetResultsV(function, &code);

    uint64_t error = plugin_kernel(p, "error_get", 0, 0);
    if (error && plugin_kernel(p, "length", error, 0)) *output = bytes_copy(plugin_block(p, error));
    else if (trap) *output = bytes_copy(bytes_of(trap));
    else if (code) *output = bytes_copy(bytes_of("the function returned another number than 0"));
    else {
        uint64_t length = plugin_kernel(p, "output_length", 0, 0);
        *output = bytes_copy(range(p, plugin_kernel(p, "output_offset", 0, 0), length));
        return true;
    }
    return false;
}
