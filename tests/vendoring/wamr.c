/* A host on WAMR that loads the header's array, as often as its argument says. `-DAFTER` includes the header after WAMR's own, as
   many hosts do; `-DCOPY` makes a copy for each load. */
#ifdef AFTER
#include <wasm_export.h>
#endif
#include "extism-runtime-mvp.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm_export.h>

static int use(void) {
  char error[128];
#ifdef COPY
  uint8_t *bytes = malloc(extism_runtime_wasm_len);
  if (!bytes) return 0;
  memcpy(bytes, extism_runtime_wasm, extism_runtime_wasm_len);
#else
  const uint8_t *bytes = extism_runtime_wasm;
#endif
  wasm_module_t module = wasm_runtime_load(bytes, extism_runtime_wasm_len, error, sizeof error);
  if (!module) return fprintf(stderr, "load: %s\n", error), 0;
  wasm_module_inst_t kernel = wasm_runtime_instantiate(module, 65536, 0, error, sizeof error);
  if (!kernel) return fprintf(stderr, "instantiate: %s\n", error), 0;
  wasm_exec_env_t env = wasm_runtime_create_exec_env(kernel, 65536);
  wasm_function_inst_t alloc = wasm_runtime_lookup_function(kernel, "alloc", NULL);
  uint32_t cells[2] = { 100, 0 }; /* an i64, its lower half first */
  return env && alloc && wasm_runtime_call_wasm(env, alloc, 2, cells) && cells[0];
}

int main(int count, char **arguments) {
  int loads = count == 2 ? atoi(arguments[1]) : 0;
  if (!loads || !wasm_runtime_init()) return 2;
  while (loads > 0 && use()) loads--;
  return loads != 0;
}
