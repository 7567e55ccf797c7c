/* The trace of tests/engines/README.md on a kernel that wasm2c has made C of: prints its hash. */
#include <inttypes.h>
#include <stdio.h>
#include "kernel.h"

#define CALL(name, ...) Z_kernelZ_##name(&kernel, ##__VA_ARGS__)

static Z_kernel_instance_t kernel;

static uint32_t next(void) {
  static uint32_t state = 2463534242;
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state;
}

static uint64_t hash = 14695981039346656037u;

static void add(const uint8_t *bytes, uint64_t length) {
  for (uint64_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
}

int main(void) {
  static uint64_t h[64];
  wasm_rt_init();
  Z_kernel_init_module();
  Z_kernel_instantiate(&kernel);
  for (int step = 0; step < 12000; step++) {
    uint32_t r = next(), a = next(), i = (r >> 8) % 64;
    uint64_t result = 0;
    switch (r % 16) {
      case 0: case 1: case 2: case 3: result = h[i] = CALL(alloc, a % 600); break;
      case 4: result = h[i] = CALL(alloc, a % 20000); break;
      case 5: case 6: case 7: CALL(free, h[i]); break;
      case 8: result = CALL(length, h[i]); break;
      case 9: CALL(store_u8, h[i] + a % 64, a); break;
      case 10: CALL(store_u64, h[i] + a % 512, ((uint64_t)a << 32) + r); break;
      case 11: result = CALL(load_u8, h[i] + a % 64); break;
      case 12: result = CALL(load_u64, a); break;
      case 13: CALL(output_set, h[i], a % 64); result = CALL(output_length); break;
      case 14: CALL(input_set, h[i], a % 700); result = CALL(input_load_u64, r % 700); break;
      case 15:
        CALL(error_set, h[i]);
        if (a % 256 == 0) CALL(reset);
        result = CALL(error_get);
    }
    add((const uint8_t *)&result, 8); /* little endian, as the machine is */
  }
  add(CALL(memory)->data, CALL(memory)->size);
  printf("%016" PRIx64 "\n", hash);
}
