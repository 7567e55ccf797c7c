/* A host that has always included a file of `xxd -i`: prints the kernel's bytes. `HEADER` is the file of dist/. */
#include HEADER
#include <stdio.h>

int main(void) {
#ifdef EXTISM_RUNTIME_WRITABLE
  extism_runtime_wasm[0] = extism_runtime_wasm[0];
#endif
  return fwrite(extism_runtime_wasm, 1, extism_runtime_wasm_len, stdout) != sizeof extism_runtime_wasm;
}
