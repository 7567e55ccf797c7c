/* A plugin in a host: what an engine defines for measure.c. */
#include <stddef.h>
#include <stdint.h>

struct plugin;
struct bytes { uint8_t *data; size_t length; };

extern const char *const engine_name;
/* The kernel's prefix in a linked module. */
#define PREFIX "extism:kernel/"

/* A plugin beside a kernel, as usual; and one in one module with it. The bytes have to live as long. Failures end the process. */
struct plugin *open_usual(struct bytes kernel, struct bytes plugin);
struct plugin *open_linked(struct bytes module);

/* A whole call of echo. The output is in the kernel's memory, until the next call. */
struct bytes call(struct plugin *plugin, struct bytes input);

/* Ends the process if there is an error. */
void check(const char *error);
