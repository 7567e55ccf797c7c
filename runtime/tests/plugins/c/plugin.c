/* A plugin in C with wasi-libc: a reactor, which `_initialize` makes ready. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(NAME) __attribute__((import_module("extism:host/env"), import_name(NAME)))
#define EXPORT(NAME) __attribute__((export_name(NAME)))

IMPORT("input_length") uint64_t input_length(void);
IMPORT("input_load_u8") uint32_t input_load_u8(uint64_t);
IMPORT("alloc") uint64_t alloc(uint64_t);
IMPORT("length") uint64_t length(uint64_t);
IMPORT("free") void release(uint64_t);
IMPORT("load_u8") uint32_t load_u8(uint64_t);
IMPORT("store_u8") void store_u8(uint64_t, uint32_t);
IMPORT("output_set") void output_set(uint64_t, uint64_t);
IMPORT("error_set") void error_set(uint64_t);
IMPORT("var_get") uint64_t var_get(uint64_t);
IMPORT("var_set") void var_set(uint64_t, uint64_t);
IMPORT("log_info") void log_info(uint64_t);

static uint64_t block(const char *bytes, size_t count) {
  uint64_t handle = alloc(count);
  for (size_t i = 0; i < count; i++) store_u8(handle + i, (uint8_t)bytes[i]);
  return handle;
}

static char *input(size_t *count) {
  char *bytes;
  *count = (size_t)input_length();
  bytes = malloc(*count + 1);
  for (size_t i = 0; i < *count; i++) bytes[i] = (char)input_load_u8(i);
  bytes[*count] = 0;
  return bytes;
}

static void output(const char *text) {
  size_t count = strlen(text);
  output_set(block(text, count), count);
}

static int made_ready;

__attribute__((constructor)) static void make_ready(void) { made_ready++; }

static int compare(const void *a, const void *b) { return *(const char *)a - *(const char *)b; }

EXPORT("sort") int32_t sort(void) {
  size_t count;
  char *bytes = input(&count);
  qsort(bytes, count, 1, compare);
  output_set(block(bytes, count), count);
  free(bytes);
  return 0;
}

EXPORT("count") int32_t count_calls(void) {
  char text[64];
  uint64_t value = var_get(block("calls", 5));
  int calls = value ? (int)load_u8(value) : 0;
  char next = (char)(calls + 1);
  release(value);
  var_set(block("calls", 5), block(&next, 1));
  snprintf(text, sizeof text, "%d calls, made ready %d times", calls + 1, made_ready);
  log_info(block(text, strlen(text)));
  output(text);
  return 0;
}

EXPORT("fail") int32_t fail(void) {
  const char text[] = "an error in C";
  error_set(block(text, sizeof text - 1));
  return 5;
}

EXPORT("exit") int32_t leave(void) {
  exit(9);
}

EXPORT("read") int32_t read_file(void) {
  char text[100] = "";
  FILE *file = fopen("/data/in.txt", "r");
  if (!file) return 1;
  fgets(text, sizeof text, file);
  fclose(file);
  output(text);
  return fopen("/data/out.txt", "w") ? 2 : 0;
}
