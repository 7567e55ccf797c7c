#include <stdint.h>
#include "wasm_export.h"

/* A module with what it takes to call it. Of the bytes, a copy is made, as WAMR writes into them. */
struct instance { uint8_t *bytes; wasm_module_t module; wasm_module_inst_t instance; wasm_exec_env_t env; };

/* In host.c. Instantiates: an error's text or null, which is kept until the next. */
const char *instance_open(struct instance *instance, const uint8_t *bytes, uint32_t length);
void instance_close(struct instance *instance);

/* Calls an export of the kernel: an error or null. */
const char *export_call(struct instance *kernel, const char *name, const uint64_t *args, uint64_t *result);
