/* A host on WAMR that passes the header's array on as it is, twice in one process, as for two plugins. `-DAFTER` includes the
   header after WAMR's own. */
#ifdef AFTER
#include <wasm_export.h>
#endif
#include "extism-runtime-mvp.h"
#include <wasm_export.h>
#include <stdio.h>

static int use(void) {
  char error[128];
  wasm_module_t module = wasm_runtime_load(extism_runtime_wasm, extism_runtime_wasm_len, error, sizeof error);
  if (!module) return fprintf(stderr, "load: %s\n", error), 0;
  wasm_module_inst_t kernel = wasm_runtime_instantiate(module, 65536, 0, error, sizeof error);
  if (!kernel) return fprintf(stderr, "instantiate: %s\n", error), 0;
  wasm_exec_env_t env = wasm_runtime_create_exec_env(kernel, 65536);
  wasm_function_inst_t alloc = wasm_runtime_lookup_function(kernel, "alloc", NULL);
  uint32_t cells[2] = { 100, 0 }; /* an i64, its lower half first */
  if (!env || !alloc || !wasm_runtime_call_wasm(env, alloc, 2, cells) || !cells[0]) return fprintf(stderr, "alloc\n"), 0;
  return 1;
}

int main(void) { return wasm_runtime_init() && use() && use() ? 0 : 1; }
