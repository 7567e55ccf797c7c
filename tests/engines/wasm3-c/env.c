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

m3ApiRawFunction(config_get) {
    m3ApiReturnType(uint64_t) m3ApiGetArg(uint64_t, key)
    struct plugin *p = _ctx->userdata;
    struct bytes value = { 0 };
    for (const char *const (*pair)[2] = p->options.config; pair && (*pair)[0]; pair++)
        if (bytes_same(plugin_block(p, key), bytes_of((*pair)[0]))) value = bytes_of((*pair)[1]);
    plugin_kernel(p, "free", key, 0);
    m3ApiReturn(plugin_alloc(p, value));
}

struct var { struct var *next; struct bytes name, value; };

static struct var **find_var(struct plugin *p, struct bytes name) {
    struct var **var = &p->vars;
    while (*var && !bytes_same((*var)->name, name)) var = &(*var)->next;
    return var;
}

m3ApiRawFunction(var_get) {
    m3ApiReturnType(uint64_t) m3ApiGetArg(uint64_t, name)
    struct plugin *p = _ctx->userdata;
    struct var *var = *find_var(p, plugin_block(p, name));
    plugin_kernel(p, "free", name, 0);
    m3ApiReturn(var ? plugin_alloc(p, var->value) : 0);
}

static void delete_var(struct var **var) {
    struct var *old = *var;
    if (!old) return;
    *var = old->next;
    free(old->name.data), free(old->value.data), free(old);
}

m3ApiRawFunction(var_set) {
    m3ApiGetArg(uint64_t, name) m3ApiGetArg(uint64_t, value)
    struct plugin *p = _ctx->userdata;
    delete_var(find_var(p, plugin_block(p, name)));
    if (value) {
        struct var *var = malloc(sizeof *var);
        if (!var) abort();
        *var = (struct var){ p->vars, bytes_copy(plugin_block(p, name)), bytes_copy(plugin_block(p, value)) };
        p->vars = var;
    }
    plugin_kernel(p, "free", name, 0);
    plugin_kernel(p, "free", value, 0); /* perhaps the same block: freeing nothing does nothing */
    m3ApiSuccess();
}

m3ApiRawFunction(http_request) { m3ApiTrap("HTTP requests are not allowed by this host"); }
m3ApiRawFunction(http_status_code) { m3ApiReturnType(uint32_t) m3ApiReturn(0); }
m3ApiRawFunction(http_headers) { m3ApiReturnType(uint64_t) m3ApiReturn(0); }

m3ApiRawFunction(get_log_level) {
    m3ApiReturnType(int32_t) m3ApiReturn(((struct plugin *)_ctx->userdata)->options.log_level);
}

static const char *const LOG_LEVELS[] = { "log_trace", "log_debug", "log_info", "log_warn", "log_error" };

m3ApiRawFunction(log_message) {
    m3ApiGetArg(uint64_t, message)
    struct plugin *p = _ctx->userdata;
    int level = 0;
    while (strcmp(m3_GetFunctionName(_ctx->function), LOG_LEVELS[level])) level++;
    if (level >= p->options.log_level && p->options.log)
        p->options.log(p->options.user, level, plugin_block(p, message));
    plugin_kernel(p, "free", message, 0);
    m3ApiSuccess();
}

const struct host_function host_environment[] = {
    { "extism:host/env", "config_get", config_get }, { "extism:host/env", "var_get", var_get },
    { "extism:host/env", "var_set", var_set }, { "extism:host/env", "http_request", http_request },
    { "extism:host/env", "http_status_code", http_status_code }, { "extism:host/env", "http_headers", http_headers },
    { "extism:host/env", "get_log_level", get_log_level }, { "extism:host/env", "log_trace", log_message },
    { "extism:host/env", "log_debug", log_message }, { "extism:host/env", "log_info", log_message },
    { "extism:host/env", "log_warn", log_message }, { "extism:host/env", "log_error", log_message }, { 0 },
};

void host_forget_vars(struct plugin *p) {
    while (p->vars) delete_var(&p->vars);
}
