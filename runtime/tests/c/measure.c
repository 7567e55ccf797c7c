/*
 * What a program in C pays for the things that it does often. Loads the library that is its argument, so that any libextism can
 * be measured, and prints a line for each thing: its name, and nanoseconds, the least of several trials. `measure` makes a table.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "extism.h"

#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                        \
      exit(1);                                                                                               \
    }                                                                                                        \
  } while (0)

/* The library's functions, by the types that the header says. */
#define FUNCTIONS(F)                                                                                         \
  F(extism_plugin_new) F(extism_compiled_plugin_new) F(extism_plugin_new_from_compiled) F(extism_plugin_call) \
  F(extism_plugin_free) F(extism_plugin_output_data) F(extism_plugin_output_length) F(extism_function_new)   \
  F(extism_plugin_error)
#define DECLARE(NAME) static __typeof__(&NAME) lib_##NAME;
FUNCTIONS(DECLARE)

static void load(const char *file) {
  void *library = dlopen(file, RTLD_NOW);
  if (!library) fprintf(stderr, "%s\n", dlerror());
  CHECK(library);
#define LOAD(NAME)                                                                                           \
  {                                                                                                          \
    void *symbol = dlsym(library, #NAME);                                                                    \
    CHECK(symbol);                                                                                           \
    memcpy(&lib_##NAME, &symbol, sizeof symbol);                                                             \
  }
  FUNCTIONS(LOAD)
}

/* `…_key` does the same as `config` and `vars`, but for these calls themselves. */
static const char PLUGIN[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input_offset (result i64)))"
    "  (import \"extism:host/env\" \"input_length\" (func $input_length (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"alloc\" (func $alloc (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"free\" (func $free (param i64)))"
    "  (import \"extism:host/env\" \"store_u8\" (func $store_u8 (param i64 i32)))"
    "  (import \"extism:host/env\" \"config_get\" (func $config_get (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"var_get\" (func $var_get (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"var_set\" (func $var_set (param i64 i64)))"
    "  (import \"extism:host/user\" \"f\" (func $f (param i64) (result i64)))"
    "  (memory 1)"
    "  (func (export \"empty\"))"
    "  (func (export \"echo\") (call $output_set (call $input_offset) (call $input_length)))"
    "  (func (export \"host\") (local $i i32)"
    "    (loop $again"
    "      (drop (call $f (i64.const 1)))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000)))))"
    "  (func $blocks (local $i i32)"
    "    (loop $again"
    "      (drop (call $alloc (i64.const 16)))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000)))))"
    "  (func $key (result i64) (local $block i64)"
    "    (call $store_u8 (local.tee $block (call $alloc (i64.const 1))) (i32.const 107)) (local.get $block))"
    "  (func (export \"config_key\") (local $i i32) (call $blocks)"
    "    (loop $again"
    "      (call $free (call $key))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))))"
    "  (func (export \"config\") (local $i i32) (call $blocks)"
    "    (loop $again"
    "      (drop (call $config_get (call $key)))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))))"
    "  (func (export \"vars_key\") (local $i i32) (call $blocks)"
    "    (loop $again"
    "      (call $free (call $key)) (call $free (call $alloc (i64.const 8)))"
    "      (call $free (call $key)) (call $free (call $alloc (i64.const 8)))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200)))))"
    "  (func (export \"vars\") (local $i i32) (call $blocks)"
    "    (loop $again"
    "      (call $var_set (call $key) (call $alloc (i64.const 8)))"
    "      (call $free (call $var_get (call $key)))"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200))))))";

static void identity(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                     ExtismSize n_outputs, void *data) {
  (void)plugin, (void)n_inputs, (void)n_outputs, (void)data;
  outputs[0].v.i64 = inputs[0].v.i64;
}

/* This thread's time on a processor, so that others on the machine count less. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

enum { TRIALS = 15 };

static double least(double a, double b) { return a < b ? a : b; }

static void call(ExtismPlugin *plugin, const char *name, const uint8_t *data, ExtismSize length) {
  int code = lib_extism_plugin_call(plugin, name, data, length);
  if (code) fprintf(stderr, "%s: %s\n", name, lib_extism_plugin_error(plugin));
  CHECK(code == 0);
}

/* One of so many calls. */
static double calls(ExtismPlugin *plugin, const char *name, ExtismSize length, int count) {
  static uint8_t input[4096];
  double best = 1e18;
  int trial, i;
  for (trial = 0; trial < TRIALS; trial++) {
    double start = now();
    for (i = 0; i < count; i++) {
      call(plugin, name, input, length);
      CHECK(lib_extism_plugin_output_length(plugin) == (strcmp(name, "echo") ? 0 : length));
      CHECK(lib_extism_plugin_output_data(plugin));
    }
    best = least(best, (now() - start) / count);
  }
  return best;
}

static ExtismPlugin *from(const ExtismCompiledPlugin *compiled) {
  ExtismPlugin *plugin = lib_extism_plugin_new_from_compiled(compiled, NULL);
  CHECK(plugin);
  return plugin;
}

static ExtismCompiledPlugin *compile(void) {
  const ExtismValType handle[] = {EXTISM_PTR};
  const ExtismFunction *functions[1];
  ExtismCompiledPlugin *compiled;
  functions[0] = lib_extism_function_new("f", handle, 1, handle, 1, identity, NULL, NULL);
  compiled = lib_extism_compiled_plugin_new((const uint8_t *)PLUGIN, sizeof PLUGIN - 1, functions, 1, false, NULL);
  CHECK(compiled);
  return compiled;
}

/* How many plugins can live at once, up to a number. */
static int live(int most) {
  ExtismCompiledPlugin *compiled = compile();
  int count = 0;
  while (count < most && lib_extism_plugin_new_from_compiled(compiled, NULL)) count++;
  return count;
}

int main(int argc, char **argv) {
  enum { PLUGINS = 100 };
  static const char SMALL[] = "(module (func (export \"run\")))";
  ExtismPlugin *plugins[PLUGINS], *plugin;
  ExtismCompiledPlugin *compiled;
  double made = 1e18, freed = 1e18, known = 1e18;
  int trial, i;
  CHECK(argc > 1);
  load(argv[1]);
  if (argc > 2) {
    printf("live %d\n", live(atoi(argv[2])));
    fflush(stdout);
    _Exit(0); /* to free them all takes longer than to make them */
  }
  compiled = compile();
  for (trial = 0; trial < TRIALS; trial++) {
    double start = now(), between;
    for (i = 0; i < PLUGINS; i++) plugins[i] = from(compiled);
    between = now();
    for (i = 0; i < PLUGINS; i++) lib_extism_plugin_free(plugins[i]);
    made = least(made, (between - start) / PLUGINS);
    freed = least(freed, (now() - between) / PLUGINS);
  }
  for (trial = 0; trial < TRIALS; trial++) {
    double start = now();
    plugin = lib_extism_plugin_new((const uint8_t *)SMALL, sizeof SMALL - 1, NULL, 0, false, NULL);
    known = least(known, now() - start);
    CHECK(plugin);
    lib_extism_plugin_free(plugin);
  }
  plugin = from(compiled);
  printf("new %.0f\nfree %.0f\nknown %.0f\n", made, freed, known);
  printf("empty %.1f\n", calls(plugin, "empty", 0, 5000));
  printf("echo %.1f\n", calls(plugin, "echo", 4096, 5000));
  printf("host %.2f\n", (calls(plugin, "host", 0, 1) - calls(plugin, "empty", 0, 1)) / 100000);
  printf("config %.1f\n", (calls(plugin, "config", 0, 1) - calls(plugin, "config_key", 0, 1)) / 1000);
  printf("vars %.1f\n", (calls(plugin, "vars", 0, 1) - calls(plugin, "vars_key", 0, 1)) / 200);
  lib_extism_plugin_free(plugin);
  return 0;
}
