/* What every host offers under "extism:host/env" beside the kernel's exports. Each function owns the blocks that it
   is given. This host keeps variables and logs, and allows no HTTP. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

struct bytes bytes_copy(struct bytes bytes) {
    struct bytes copied = { malloc(bytes.length + 1), bytes.length };
    if (!copied.data) abort();
    memcpy(copied.data, bytes.data, bytes.length);
    copied.data[bytes.length] = 0; /* so texts can be used as C's */
    return copied;
}

bool bytes_same(struct bytes a, struct bytes b) { return a.length == b.length && !memcmp(a.data, b.data, a.length); }

struct bytes bytes_of(const char *string) { return (struct bytes){ (uint8_t *)string, strlen(string) }; }

const char *const kernel_exports[] = {
    "alloc", "free", "length", "length_unsafe", "load_u8", "load_u64", "store_u8", "store_u64",
    "input_set", "input_offset", "input_length", "input_load_u8", "input_load_u64",
    "output_set", "output_offset", "output_length", "error_set", "error_get", "memory_bytes", "reset", NULL,
};

static const char *config_get(struct plugin *p, uint64_t *slots) {
    struct bytes value = { 0 };
    for (const char *const (*pair)[2] = plugin_options(p)->config; pair && (*pair)[0]; pair++)
        if (bytes_same(plugin_block(p, slots[0]), bytes_of((*pair)[0]))) value = bytes_of((*pair)[1]);
    plugin_kernel(p, "free", slots[0], 0);
    slots[0] = plugin_alloc(p, value);
    return NULL;
}

struct var { struct var *next; struct bytes name, value; };

static struct var **find_var(struct plugin *p, struct bytes name) {
    struct var **var = plugin_vars(p);
    while (*var && !bytes_same((*var)->name, name)) var = &(*var)->next;
    return var;
}

static void delete_var(struct var **var) {
    struct var *old = *var;
    if (!old) return;
    *var = old->next;
    free(old->name.data), free(old->value.data), free(old);
}

void forget_vars(struct var **vars) {
    while (*vars) delete_var(vars);
}

static const char *var_get(struct plugin *p, uint64_t *slots) {
    struct var *var = *find_var(p, plugin_block(p, slots[0]));
    plugin_kernel(p, "free", slots[0], 0);
    slots[0] = var ? plugin_alloc(p, var->value) : 0;
    return NULL;
}

static const char *var_set(struct plugin *p, uint64_t *slots) {
    struct bytes name = plugin_block(p, slots[0]), value = plugin_block(p, slots[1]);
    delete_var(find_var(p, name));
    if (slots[1]) {
        struct var *var = malloc(sizeof *var), **vars = plugin_vars(p);
        if (!var) abort();
        *var = (struct var){ *vars, bytes_copy(name), bytes_copy(value) };
        *vars = var;
    }
    plugin_kernel(p, "free", slots[0], 0);
    plugin_kernel(p, "free", slots[1], 0); /* perhaps the same block: freeing nothing does nothing */
    return NULL;
}

static const char *http_request(struct plugin *p, uint64_t *slots) {
    (void)p, (void)slots;
    return "HTTP requests are not allowed by this host";
}

static const char *http_nothing(struct plugin *p, uint64_t *slots) {
    (void)p, slots[0] = 0;
    return NULL;
}

static const char *get_log_level(struct plugin *p, uint64_t *slots) {
    slots[0] = (uint32_t)plugin_options(p)->log_level;
    return NULL;
}

static const char *log_message(struct plugin *p, uint64_t handle, int level) {
    struct plugin_options *options = plugin_options(p);
    if (level >= options->log_level && options->log) options->log(options->user, level, plugin_block(p, handle));
    plugin_kernel(p, "free", handle, 0);
    return NULL;
}

static const char *log_trace(struct plugin *p, uint64_t *slots) { return log_message(p, slots[0], 0); }
static const char *log_debug(struct plugin *p, uint64_t *slots) { return log_message(p, slots[0], 1); }
static const char *log_info(struct plugin *p, uint64_t *slots) { return log_message(p, slots[0], 2); }
static const char *log_warn(struct plugin *p, uint64_t *slots) { return log_message(p, slots[0], 3); }
static const char *log_error(struct plugin *p, uint64_t *slots) { return log_message(p, slots[0], 4); }

const struct host_function host_environment[] = {
    { "extism:host/env", "config_get", config_get }, { "extism:host/env", "var_get", var_get },
    { "extism:host/env", "var_set", var_set }, { "extism:host/env", "http_request", http_request },
    { "extism:host/env", "http_status_code", http_nothing }, { "extism:host/env", "http_headers", http_nothing },
    { "extism:host/env", "get_log_level", get_log_level }, { "extism:host/env", "log_trace", log_trace },
    { "extism:host/env", "log_debug", log_debug }, { "extism:host/env", "log_info", log_info },
    { "extism:host/env", "log_warn", log_warn }, { "extism:host/env", "log_error", log_error }, { 0 },
};
