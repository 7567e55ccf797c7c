/* A host for Extism plugins in C: host.c of each engine links and calls, env.c has the functions of every host. */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes { uint8_t *data; size_t length; };
struct plugin;

/* The arguments are in slots, an i32 in the first half of its slot; the result goes to slots[0]. Gives an error or null. */
struct host_function {
    const char *module, *name;
    const char *(*body)(struct plugin *plugin, uint64_t *slots);
};

struct plugin_options {
    const char *const (*config)[2];          /* keys and values; ends with a null. Null for none */
    const struct host_function *functions;   /* the embedder's own; ends with a null name. Null for none */
    void (*log)(void *user, int level, struct bytes text);
    void *user;
    int log_level;                           /* the lowest that log gets: 0 is trace, 4 is error */
    uint32_t kernel_pages;                   /* the most that the kernel's memory may have; 0 for no limit */
};

/* The bytes of both modules must stay. Null if it can't be: *error says why. */
struct plugin *plugin_open(struct bytes kernel, struct bytes wasm, struct plugin_options options, const char **error);
void plugin_close(struct plugin *plugin);

/* Calls a function: its output, or if it fails (false) the error's text. To be freed either way. */
bool plugin_call(struct plugin *plugin, const char *name, struct bytes input, struct bytes *output);

/* For host functions. A block's bytes are in the kernel's memory: they move when it grows. */
struct bytes plugin_block(struct plugin *plugin, uint64_t handle);
uint64_t plugin_alloc(struct plugin *plugin, struct bytes bytes); /* 0 if they are none, or there is no room */
/* Calls an export of the kernel; it takes as many of the arguments as it has. */
uint64_t plugin_kernel(struct plugin *plugin, const char *name, uint64_t a, uint64_t b);

struct bytes bytes_of(const char *text);
struct bytes bytes_copy(struct bytes bytes); /* to be freed; ends with a zero that isn't counted */
bool bytes_same(struct bytes a, struct bytes b);

/* For env.c, whose functions get at what a plugin has beside its modules by this. */
struct var;
struct plugin_options *plugin_options(struct plugin *plugin);
struct var **plugin_vars(struct plugin *plugin);

/* In env.c: the functions end with a null name. The names of the kernel's exports that are functions end with a null. */
extern const struct host_function host_environment[];
extern const char *const kernel_exports[];
void forget_vars(struct var **vars);

#endif
