/*
 * What a C program sees of the libextism from before 1.0: a check for each function and for each rule.
 *
 *   client          makes all checks
 *   client --list   names them, and says what the released library of that time does with each: passes, fails, or "any": whatever
 *                   happens then, as memory is used that isn't there any more or that others use
 *   client NAME     makes one
 *
 * Exits with 0 if everything is as it should be, else says what isn't.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../../tests/c/check.h"
#include "extism.h"

#define IMPORTS                                                                                        \
  "  (import \"env\" \"extism_input_offset\" (func $input_offset (result i64)))"                        \
  "  (import \"env\" \"extism_input_length\" (func $input_length (result i64)))"                        \
  "  (import \"env\" \"extism_length\" (func $length (param i64) (result i64)))"                        \
  "  (import \"env\" \"extism_alloc\" (func $alloc (param i64) (result i64)))"                          \
  "  (import \"env\" \"extism_store_u8\" (func $store_u8 (param i64 i32)))"                             \
  "  (import \"env\" \"extism_output_set\" (func $output_set (param i64 i64)))"                         \
  "  (import \"env\" \"extism_error_set\" (func $error_set (param i64)))"                               \
  "  (import \"env\" \"extism_config_get\" (func $config_get (param i64) (result i64)))"                \
  "  (import \"env\" \"extism_var_get\" (func $var_get (param i64) (result i64)))"                      \
  "  (import \"env\" \"extism_var_set\" (func $var_set (param i64 i64)))"                               \
  "  (import \"env\" \"extism_log_info\" (func $log_info (param i64)))"                                 \
  "  (import \"env\" \"extism_log_error\" (func $log_error (param i64)))"

#define OUTPUT                                                                                         \
  "  (func $output (param $block i64) (call $output_set (local.get $block) (call $length (local.get $block))))"

static const char PLAIN[] =
    "(module" IMPORTS OUTPUT
    "  (func (export \"echo\") (call $output_set (call $input_offset) (call $input_length)))"
    "  (func (export \"seven\") (result i32) (i32.const 7))"
    "  (func (export \"fail\") (result i32) (call $error_set (call $input_offset)) (i32.const 3))"
    "  (func (export \"warn\") (call $error_set (call $input_offset)))"
    "  (func (export \"trap\") unreachable)"
    "  (func (export \"two\") (result i32 i32) (i32.const 1) (i32.const 2))"
    "  (func (export \"spin\") (loop $again (br $again)))"
    /* 1 if there is no such key. */
    "  (func (export \"config\") (result i32) (local $value i64)"
    "    (local.set $value (call $config_get (call $input_offset)))"
    "    (call $output (local.get $value))"
    "    (i64.eqz (local.get $value)))"
    /* What a plugin passes stays its own: the key is used four times, and read in the end. */
    "  (func (export \"keeps\") (local $key i64)"
    "    (local.set $key (call $input_offset))"
    "    (call $var_set (local.get $key) (local.get $key))"
    "    (call $log_info (local.get $key))"
    "    (call $log_error (local.get $key))"
    "    (drop (call $config_get (local.get $key)))"
    "    (call $output (call $var_get (local.get $key)))"
    "    (if (i64.ne (call $length (local.get $key)) (call $input_length)) (then unreachable))))";

static const char OTHER[] = "(module (func (export \"eight\") (result i32) (i32.const 8)))";

/* Wasm that is no module. */
static const char BROKEN[] = "(module (func (export \"f\") (result i32)))";

static const char NEEDY[] = "(module (import \"env\" \"missing\" (func)))";

/* Imports the host's `twice` from `env`, and its `add` from `mine`. */
static const char HOSTED[] =
    "(module" IMPORTS
    "  (import \"env\" \"twice\" (func $twice (param i64) (result i64)))"
    "  (import \"mine\" \"add\" (func $add (param i32 i64) (result i32)))"
    OUTPUT
    "  (func (export \"run\") (call $output (call $twice (call $input_offset))))"
    "  (func (export \"add\") (result i32) (call $add (i32.const 40) (i64.const 2))))";

static int call(ExtismContext *ctx, ExtismPlugin plugin, const char *name, const char *input) {
  return extism_plugin_call(ctx, plugin, name, (const uint8_t *)input, strlen(input));
}

static bool gives(ExtismContext *ctx, ExtismPlugin plugin, const char *output) {
  ExtismSize length = extism_plugin_output_length(ctx, plugin);
  return length == strlen(output) && memcmp(extism_plugin_output_data(ctx, plugin), output, length) == 0;
}

/* A text that ends where it should. The released library puts quotes around some, and a NUL behind none. */
static bool says(ExtismContext *ctx, ExtismPlugin plugin, const char *text) {
  const char *error = extism_error(ctx, plugin);
  return error && strcmp(error, text) == 0;
}

/* The same, for what both libraries shall be able to say. */
static bool mentions(ExtismContext *ctx, ExtismPlugin plugin, const char *text) {
  const char *error = extism_error(ctx, plugin);
  return error && strstr(error, text) != NULL;
}

static ExtismPlugin made(ExtismContext *ctx, const char *wasm) {
  return extism_plugin_new(ctx, (const uint8_t *)wasm, strlen(wasm), NULL, 0, false);
}

static bool updated(ExtismContext *ctx, ExtismPlugin plugin, const char *wasm) {
  return extism_plugin_update(ctx, plugin, (const uint8_t *)wasm, strlen(wasm), NULL, 0, false);
}

/* A context with one plugin, which is 0. */
static ExtismContext *context(const char *wasm) {
  ExtismContext *ctx = extism_context_new();
  CHECK(ctx);
  if (made(ctx, wasm) != 0) {
    fprintf(stderr, "%s\n", extism_error(ctx, -1));
    exit(1);
  }
  return ctx;
}

/* A file in the working folder. */
static void write_file(const char *name, const char *text) {
  FILE *file = fopen(name, "w");
  CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* --- the functions ------------------------------------------------------------------------------------------------- */

static void version(void) { CHECK(strncmp(extism_version(), "0.", 2) == 0); }

static void context_new_and_free(void) {
  ExtismContext *one = context(PLAIN), *other = context(PLAIN);
  CHECK(one != other);
  CHECK(call(one, 0, "seven", "") == 7);
  extism_context_free(one);
  CHECK(call(other, 0, "seven", "") == 7);
  extism_context_free(other);
  extism_context_free(NULL);
}

static void context_reset(void) {
  ExtismContext *ctx = context(PLAIN);
  extism_context_reset(ctx);
  CHECK(call(ctx, 0, "seven", "") == -1);
  CHECK(made(ctx, PLAIN) == 1);
  CHECK(call(ctx, 1, "seven", "") == 7);
  extism_context_free(ctx);
}

static void plugin_new(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(made(ctx, OTHER) == 1);
  CHECK(made(ctx, BROKEN) == -1);
  CHECK(extism_error(ctx, -1) != NULL);
  CHECK(made(ctx, NEEDY) == -1);
  CHECK(mentions(ctx, -1, "unknown import: `env::missing` has not been defined"));
  CHECK(made(ctx, "nonsense") == -1);
  CHECK(made(ctx, "{\"wasm\": []}") == -1);
  CHECK(mentions(ctx, -1, "No wasm files specified"));
  CHECK(made(ctx, OTHER) == 2);
  extism_context_free(ctx);
}

static void plugin_update(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(updated(ctx, 0, OTHER));
  CHECK(call(ctx, 0, "eight", "") == 8);
  CHECK(!updated(ctx, 0, BROKEN));
  CHECK(extism_error(ctx, -1) != NULL);
  CHECK(call(ctx, 0, "eight", "") == 8);
  CHECK(!updated(ctx, 5, OTHER));
  CHECK(says(ctx, -1, "Plugin index does not exist"));
  CHECK(!updated(ctx, -1, OTHER));
  CHECK(made(ctx, OTHER) == 1);
  extism_context_free(ctx);
}

static void plugin_free(void) {
  ExtismContext *ctx = context(PLAIN);
  extism_plugin_free(ctx, 0);
  CHECK(call(ctx, 0, "seven", "") == -1);
  extism_plugin_free(ctx, 0);
  extism_plugin_free(ctx, -1);
  extism_plugin_free(ctx, 77);
  extism_plugin_free(NULL, 0);
  extism_context_free(ctx);
}

static void plugin_config(void) {
  const char set[] = "{\"key\": \"value\"}", unset[] = "{\"key\": null}", wrong[] = "[]";
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "config", "key") == 1);
  CHECK(extism_plugin_config(ctx, 0, (const uint8_t *)set, sizeof set - 1));
  CHECK(call(ctx, 0, "config", "key") == 0 && gives(ctx, 0, "value"));
  CHECK(!extism_plugin_config(ctx, 0, (const uint8_t *)wrong, sizeof wrong - 1));
  CHECK(extism_error(ctx, 0) != NULL);
  CHECK(call(ctx, 0, "config", "key") == 0 && gives(ctx, 0, "value"));
  CHECK(extism_plugin_config(ctx, 0, (const uint8_t *)unset, sizeof unset - 1));
  CHECK(call(ctx, 0, "config", "key") == 1);
  extism_context_free(ctx);
}

static void plugin_function_exists(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(extism_plugin_function_exists(ctx, 0, "echo"));
  CHECK(!extism_plugin_function_exists(ctx, 0, "missing"));
  CHECK(extism_error(ctx, 0) == NULL);
  extism_context_free(ctx);
}

static void plugin_call(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "echo", "Hello") == 0);
  CHECK(extism_error(ctx, 0) == NULL);
  CHECK(call(ctx, 0, "seven", "") == 7);
  CHECK(extism_error(ctx, 0) == NULL);
  CHECK(call(ctx, 0, "missing", "") == -1);
  CHECK(mentions(ctx, 0, "Function not found: missing"));
  CHECK(call(ctx, 0, "two", "") == -1);
  CHECK(mentions(ctx, 0, "Function two has 2 results, expected 0 or 1"));
  CHECK(call(ctx, 0, "trap", "") == -1);
  CHECK(mentions(ctx, 0, "Call failed"));
  CHECK(mentions(ctx, 0, "unreachable"));
  CHECK(call(ctx, 0, "seven", "") == 7);
  extism_context_free(ctx);
}

static void error(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(extism_error(ctx, 0) == NULL && extism_error(ctx, -1) == NULL);
  CHECK(call(ctx, 0, "fail", "what") == 3);
  CHECK(mentions(ctx, 0, "what"));
  CHECK(mentions(ctx, 0, "what")); /* to ask doesn't clear it */
  CHECK(extism_error(ctx, -1) == NULL);
  CHECK(call(ctx, 0, "warn", "beware") == 0);
  CHECK(mentions(ctx, 0, "beware"));
  extism_context_free(ctx);
}

static void plugin_output(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "echo", "Hello") == 0);
  CHECK(extism_plugin_output_length(ctx, 0) == 5);
  CHECK(memcmp(extism_plugin_output_data(ctx, 0), "Hello", 5) == 0);
  CHECK(call(ctx, 0, "echo", "") == 0);
  CHECK(extism_plugin_output_length(ctx, 0) == 0);
  CHECK(extism_plugin_output_data(ctx, 0) != NULL);
  extism_context_free(ctx);
}

static void *cancel_soon(void *handle) {
  struct timespec wait = {0, 300000000};
  nanosleep(&wait, NULL);
  CHECK(extism_plugin_cancel(handle));
  return NULL;
}

static void plugin_cancel(void) {
  ExtismContext *ctx = context(PLAIN);
  const ExtismCancelHandle *handle = extism_plugin_cancel_handle(ctx, 0);
  pthread_t thread;
  CHECK(handle);
  CHECK(call(ctx, 0, "seven", "") == 7);
  CHECK(pthread_create(&thread, NULL, cancel_soon, (void *)(uintptr_t)handle) == 0);
  CHECK(call(ctx, 0, "spin", "") == -1);
  CHECK(mentions(ctx, 0, "timeout"));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(call(ctx, 0, "seven", "") == 7);
  extism_context_free(ctx);
}

static int frees;

static void count_free(void *data) {
  CHECK(*(int *)data == 77);
  frees++;
}

static int seventy_seven = 77;

static void twice(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                  ExtismSize n_outputs, void *data) {
  ExtismMemoryHandle argument, extra, result;
  ExtismSize length;
  uint8_t *memory;
  CHECK(n_inputs == 1 && n_outputs == 1 && inputs[0].t == I64 && outputs[0].t == I64 && *(int *)data == 77);
  argument = (ExtismMemoryHandle)inputs[0].v.i64;
  length = extism_current_plugin_memory_length(plugin, argument);
  extra = extism_current_plugin_memory_alloc(plugin, 100);
  CHECK(extra && extism_current_plugin_memory_length(plugin, extra) == 100);
  extism_current_plugin_memory_free(plugin, extra);
  result = extism_current_plugin_memory_alloc(plugin, 2 * length);
  CHECK(result && extism_current_plugin_memory_length(plugin, result) == 2 * length);
  memory = extism_current_plugin_memory(plugin);
  memcpy(memory + result, memory + argument, length);
  memcpy(memory + result + length, memory + argument, length);
  outputs[0].v.i64 = (int64_t)result;
}

static void add(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                ExtismSize n_outputs, void *data) {
  CHECK(plugin && n_inputs == 2 && n_outputs == 1 && data == NULL);
  CHECK(inputs[0].t == I32 && inputs[1].t == I64 && outputs[0].t == I32);
  outputs[0].v.i32 = inputs[0].v.i32 + (int32_t)inputs[1].v.i64;
}

static void functions_new(ExtismFunction *functions[3]) {
  const ExtismValType handle[] = {I64}, numbers[] = {I32, I64}, number[] = {I32};
  functions[0] = extism_function_new("twice", handle, 1, handle, 1, twice, &seventy_seven, count_free);
  functions[1] = NULL; /* which is skipped */
  functions[2] = extism_function_new("add", numbers, 2, number, 1, add, NULL, NULL);
  CHECK(functions[0] && functions[2]);
  extism_function_set_namespace(functions[2], "mine");
}

/* extism_function_new, _set_namespace and _free, and what a host function can do: the functions serve two plugins. */
static void functions(void) {
  ExtismFunction *functions[3];
  const ExtismFunction *given[3];
  ExtismContext *ctx = extism_context_new();
  const uint8_t *wasm = (const uint8_t *)HOSTED;
  int i;
  functions_new(functions);
  for (i = 0; i < 3; i++) given[i] = functions[i];
  CHECK(extism_plugin_new(ctx, wasm, sizeof HOSTED - 1, given, 3, false) == 0);
  CHECK(extism_plugin_new(ctx, wasm, sizeof HOSTED - 1, given, 3, false) == 1);
  CHECK(extism_plugin_update(ctx, 0, wasm, sizeof HOSTED - 1, given, 3, false));
  for (i = 0; i < 2; i++) {
    CHECK(call(ctx, i, "run", "Hello") == 0 && gives(ctx, i, "HelloHello"));
    CHECK(call(ctx, i, "add", "") == 42);
  }
  CHECK(made(ctx, HOSTED) == -1);
  CHECK(frees == 0);
  extism_context_free(ctx);
  extism_function_free(functions[0]);
  extism_function_free(functions[2]);
  CHECK(frees == 1);
  CHECK(!extism_function_new("\xff", NULL, 0, NULL, 0, add, NULL, NULL));
}

static void log_file(void) {
  char line[300];
  FILE *log;
  ExtismContext *ctx;
  remove("legacy.log");
  CHECK(!extism_log_file("missing-\xff-folder/file", "info"));
  CHECK(extism_log_file("legacy.log", "info"));
  CHECK(!extism_log_file("legacy.log", "info")); /* one logger for the process */
  ctx = context(PLAIN);
  call(ctx, 0, "keeps", "logged-text");
  extism_context_free(ctx);
  log = fopen("legacy.log", "r");
  CHECK(log && fgets(line, sizeof line, log) && strstr(line, "logged-text"));
  fclose(log);
}

/* --- the rules ----------------------------------------------------------------------------------------------------- */

static void indices_are_reused_when_25_are_free(void) {
  ExtismContext *ctx = extism_context_new();
  int i;
  for (i = 0; i < 30; i++) CHECK(made(ctx, OTHER) == i);
  for (i = 23; i >= 0; i--) extism_plugin_free(ctx, i);
  CHECK(made(ctx, OTHER) == 30); /* 24 are free */
  extism_plugin_free(ctx, 29);
  CHECK(made(ctx, OTHER) == 23); /* the oldest of 25 */
  CHECK(made(ctx, OTHER) == 31);
  CHECK(call(ctx, 23, "eight", "") == 8);
  extism_context_free(ctx);
}

static void an_unknown_index_is_the_contexts_error(void) {
  ExtismContext *ctx = context(PLAIN);
  const char *text = "Plugin does not exist: 5";
#define CLEARED (extism_plugin_output_length(ctx, 0) == 0 && extism_error(ctx, -1) == NULL)
  CHECK(call(ctx, 5, "seven", "") == -1 && says(ctx, 5, text) && says(ctx, -1, text) && CLEARED);
  CHECK(!extism_plugin_config(ctx, 5, (const uint8_t *)"{}", 2) && says(ctx, -1, text) && CLEARED);
  CHECK(!extism_plugin_function_exists(ctx, 5, "seven") && says(ctx, -1, text) && CLEARED);
  CHECK(extism_plugin_output_length(ctx, 5) == 0 && says(ctx, -1, text) && CLEARED);
  CHECK(extism_plugin_output_data(ctx, 5) == NULL && says(ctx, -1, text) && CLEARED);
  CHECK(extism_plugin_cancel_handle(ctx, 5) == NULL && says(ctx, -1, text) && CLEARED);
  CHECK(call(ctx, -1, "seven", "") == -1 && says(ctx, -1, "Plugin does not exist: -1") && CLEARED);
#undef CLEARED
  extism_context_free(ctx);
}

static void functions_on_a_plugin_clear_both_errors(void) {
  ExtismContext *ctx = context(PLAIN);
  int i;
  for (i = 0; i < 6; i++) {
    CHECK(call(ctx, 0, "fail", "what") == 3 && extism_error(ctx, 0));
    CHECK(made(ctx, NEEDY) == -1 && extism_error(ctx, -1) && extism_error(ctx, 0));
    switch (i) {
      case 0: call(ctx, 0, "seven", ""); break;
      case 1: extism_plugin_output_length(ctx, 0); break;
      case 2: extism_plugin_output_data(ctx, 0); break;
      case 3: extism_plugin_function_exists(ctx, 0, "seven"); break;
      case 4: extism_plugin_config(ctx, 0, (const uint8_t *)"{}", 2); break;
      case 5: extism_plugin_cancel_handle(ctx, 0); break;
    }
    CHECK(extism_error(ctx, 0) == NULL && extism_error(ctx, -1) == NULL);
  }
  /* Making and freeing others doesn't. */
  CHECK(call(ctx, 0, "fail", "what") == 3 && made(ctx, NEEDY) == -1);
  CHECK(made(ctx, OTHER) == 1);
  CHECK(updated(ctx, 1, OTHER));
  extism_plugin_free(ctx, 1);
  CHECK(extism_error(ctx, 0) && extism_error(ctx, -1));
  extism_context_free(ctx);
}

/* What the host says of a call is that text and no more. */
static void texts_are_exact(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "missing", "") == -1 && says(ctx, 0, "Function not found: missing"));
  CHECK(call(ctx, 0, "two", "") == -1 && says(ctx, 0, "Function two has 2 results, expected 0 or 1"));
  CHECK(call(ctx, 0, "fail", "what") == 3 && says(ctx, 0, "what"));
  CHECK(call(ctx, 0, "trap", "") == -1 && strncmp(extism_error(ctx, 0), "Call failed\n\nCaused by:\n    0: ", 31) == 0);
  CHECK(mentions(ctx, 0, "\n    1: wasm trap: wasm `unreachable` instruction executed"));
  extism_context_free(ctx);
}

#define SPIN "KG1vZHVsZSAoZnVuYyAoZXhwb3J0ICJzcGluIikgKGxvb3AgKGJyIDApKSkp" /* (module (func (export "spin") (loop (br 0)))) */

static void the_time_is_limited(void) {
  ExtismContext *ctx = context("{\"wasm\": [{\"data\": \"" SPIN "\"}], \"timeout_ms\": 50}");
  CHECK(call(ctx, 0, "spin", "") == -1);
  CHECK(mentions(ctx, 0, "timeout"));
  CHECK(call(ctx, 0, "spin", "") == -1);
  CHECK(mentions(ctx, 0, "timeout"));
  extism_context_free(ctx);
}

/* A manifest that says nothing gives 30 seconds: the only check that takes so long. */
static void the_time_is_30_seconds(void) {
  ExtismContext *ctx = context("{\"wasm\": [{\"data\": \"" SPIN "\"}]}");
  time_t start = time(NULL);
  CHECK(call(ctx, 0, "spin", "") == -1);
  CHECK(mentions(ctx, 0, "timeout"));
  CHECK(time(NULL) - start >= 29 && time(NULL) - start < 45);
  extism_context_free(ctx);
}

/* WASI, with a start function that isn't there before the first call. */
static const char COMMAND[] =
    "(module" IMPORTS
    "  (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))"
    "  (import \"wasi_snapshot_preview1\" \"environ_sizes_get\" (func $sizes (param i32 i32) (result i32)))"
    "  (import \"wasi_snapshot_preview1\" \"environ_get\" (func $get (param i32 i32) (result i32)))"
    OUTPUT
    "  (memory (export \"memory\") 1)"
    "  (func (export \"exit\") (call $exit (i32.const 9)))"
    "  (func (export \"exit_well\") (call $exit (i32.const 0)))"
    "  (global $initial (mut i32) (i32.const -1))"
    "  (func (export \"_initialize\")"
    "    (drop (call $sizes (i32.const 0) (i32.const 4)))"
    "    (global.set $initial (i32.load (i32.const 0))))"
    "  (func (export \"initial\") (result i32) (global.get $initial))"
    "  (func (export \"environment\") (local $block i64) (local $at i32)"
    "    (drop (call $sizes (i32.const 0) (i32.const 4)))"
    "    (drop (call $get (i32.const 100) (i32.const 1000)))"
    "    (local.set $block (call $alloc (i64.extend_i32_u (i32.load (i32.const 4)))))"
    "    (block $done (loop $next"
    "      (br_if $done (i32.eq (local.get $at) (i32.load (i32.const 4))))"
    "      (call $store_u8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $at)))"
    "        (i32.load8_u (i32.add (i32.load (i32.const 100)) (local.get $at))))"
    "      (local.set $at (i32.add (local.get $at) (i32.const 1)))"
    "      (br $next)))"
    "    (call $output (local.get $block))))";

static ExtismContext *command(void) {
  ExtismContext *ctx = extism_context_new();
  CHECK(extism_plugin_new(ctx, (const uint8_t *)COMMAND, sizeof COMMAND - 1, NULL, 0, true) == 0);
  return ctx;
}

static void hosts_are_refused_unless_allowed(void) {
  ExtismContext *ctx = context(
      "(module" IMPORTS "  (import \"env\" \"extism_http_request\" (func $request (param i64 i64) (result i64)))"
      "  (func (export \"get\") (drop (call $request (call $input_offset) (i64.const 0)))))");
  CHECK(call(ctx, 0, "get", "{\"url\": \"http://127.0.0.1:9/\"}") == -1);
  CHECK(mentions(ctx, 0, "Call failed") && mentions(ctx, 0, "HTTP request to http://127.0.0.1:9/ is not allowed"));
  extism_context_free(ctx);
}

static void exit_codes_are_results(void) {
  ExtismContext *ctx = command();
  CHECK(call(ctx, 0, "exit", "") == 9);
  CHECK(extism_error(ctx, 0) != NULL);
  CHECK(call(ctx, 0, "exit_well", "") == 0);
  CHECK(extism_error(ctx, 0) == NULL);
  extism_context_free(ctx);
}

static void configure(ExtismContext *ctx, const char *json) {
  CHECK(extism_plugin_config(ctx, 0, (const uint8_t *)json, strlen(json)));
}

static bool environment_is(ExtismContext *ctx, const char *expected, size_t length) {
  CHECK(call(ctx, 0, "environment", "") == 0);
  return extism_plugin_output_length(ctx, 0) == length &&
         memcmp(extism_plugin_output_data(ctx, 0), expected, length) == 0;
}

static void the_configuration_is_the_environment(void) {
  ExtismContext *ctx = command();
  configure(ctx, "{\"KEY\": \"value\", \"NEXT\": \"\"}");
  CHECK(environment_is(ctx, "KEY=value\0NEXT=", 16));
  CHECK(call(ctx, 0, "initial", "") == 2); /* also for what ran before all calls */
  extism_context_free(ctx);
}

static void the_environment_changes_with_the_configuration(void) {
  ExtismContext *ctx = command();
  configure(ctx, "{\"KEY\": \"value\"}");
  CHECK(environment_is(ctx, "KEY=value", 10));
  configure(ctx, "{\"KEY\": \"other\", \"A\": \"b\"}");
  CHECK(environment_is(ctx, "A=b\0KEY=other", 14));
  configure(ctx, "{\"KEY\": null, \"A\": null}");
  CHECK(environment_is(ctx, "", 0));
  extism_context_free(ctx);
}

static void arguments_stay_the_plugins(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "keeps", "some key") == 0);
  CHECK(gives(ctx, 0, "some key"));
  extism_context_free(ctx);
}

#define MODULE(number) "(module (memory (export \"memory\") 1 1) (func (export \"number\") (result i32) (i32.const " number ")))"

static int number_of(const char *manifest) {
  ExtismContext *ctx = context(manifest);
  int number = call(ctx, 0, "number", "");
  extism_context_free(ctx);
  return number;
}

static void the_main_module_is_main_or_the_last_by_name(void) {
  write_file("zz-first.wat", MODULE("1"));
  write_file("zz-last.wat", MODULE("2"));
  write_file("main.wat", MODULE("3"));
  CHECK(number_of("{\"wasm\": [{\"path\": \"zz-last.wat\"}]}") == 2);
  CHECK(number_of("{\"wasm\": [{\"path\": \"zz-last.wat\"}, {\"path\": \"zz-first.wat\"}]}") == 2);
  CHECK(number_of("{\"wasm\": [{\"path\": \"zz-last.wat\"}, {\"path\": \"zz-first.wat\", \"name\": \"zzz\"}]}") == 1);
  CHECK(number_of("{\"wasm\": [{\"path\": \"main.wat\"}, {\"path\": \"zz-last.wat\"}]}") == 3);
  CHECK(number_of("{\"wasm\": [{\"path\": \"zz-first.wat\", \"name\": \"main\"}, {\"path\": \"zz-last.wat\"}]}") == 1);
}

static void modules_import_by_file_name(void) {
  ExtismContext *ctx;
  write_file("helper.wat", MODULE("5"));
  write_file("main.wat",
             "(module (import \"helper\" \"number\" (func $n (result i32)))"
             "  (func (export \"more\") (result i32) (i32.add (call $n) (i32.const 1))))");
  ctx = context("{\"wasm\": [{\"path\": \"helper.wat\"}, {\"path\": \"main.wat\"}]}");
  CHECK(call(ctx, 0, "more", "") == 6);
  extism_context_free(ctx);
}

static void old_names_of_fields(void) {
  ExtismContext *ctx = extism_context_new();
  write_file("grows.wat",
             "(module (memory (export \"memory\") 1 9)"
             "  (func (export \"grow\") (result i32) (memory.grow (i32.const 7))))");
  CHECK(made(ctx, "{\"wasm\": [{\"path\": \"grows.wat\"}], \"memory\": {\"max\": 20}}") == 0);
  CHECK(call(ctx, 0, "grow", "") == 1);
  CHECK(made(ctx, "{\"wasm\": [{\"path\": \"grows.wat\"}], \"memory\": {\"max\": 20, \"max_pages\": 20}}") == -1);
  CHECK(made(ctx, "{\"wasm\": [{\"path\": \"grows.wat\"}], \"memory\": {\"most\": 20}}") == -1);
  /* Understood: nobody listens there, which is another error. */
  CHECK(made(ctx, "{\"wasm\": [{\"url\": \"http://127.0.0.1:9/x.wasm\", \"header\": {\"a\": \"b\"}}]}") == -1);
  CHECK(!mentions(ctx, -1, "nknown") && !mentions(ctx, -1, "variant"));
  extism_context_free(ctx);
}

/* --- what the released library couldn't do ------------------------------------------------------------------------- */

static void a_call_without_output_has_none(void) {
  ExtismContext *ctx = context(PLAIN);
  CHECK(call(ctx, 0, "echo", "Hello") == 0 && gives(ctx, 0, "Hello"));
  CHECK(call(ctx, 0, "seven", "") == 7 && gives(ctx, 0, ""));
  extism_context_free(ctx);
}

static void what_a_plugin_says_of_a_trap_is_kept(void) {
  ExtismContext *ctx = context("(module" IMPORTS "  (func (export \"f\") (call $error_set (call $input_offset)) unreachable))");
  CHECK(call(ctx, 0, "f", "what") == -1 && says(ctx, 0, "what"));
  extism_context_free(ctx);
}

static void a_failing_start_is_said(void) {
  ExtismContext *ctx = context("(module (func $start unreachable) (start $start) (func (export \"f\")))");
  CHECK(call(ctx, 0, "f", "") == -1);
  CHECK(mentions(ctx, 0, "Call failed") && mentions(ctx, 0, "wasm trap: wasm `unreachable` instruction executed"));
  extism_context_free(ctx);
}

static void look_at_freed(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                          ExtismSize n_outputs, void *data) {
  ExtismMemoryHandle block = extism_current_plugin_memory_alloc(plugin, 100);
  CHECK(!inputs && n_inputs == 0 && !outputs && n_outputs == 0 && !data);
  CHECK(block && extism_current_plugin_memory_length(plugin, block) == 100);
  extism_current_plugin_memory_free(plugin, block);
  CHECK(extism_current_plugin_memory_length(plugin, block) == 0);
}

static void a_freed_block_has_no_length(void) {
  static const char LOOKS[] = "(module (import \"env\" \"look\" (func $look)) (export \"look\" (func $look)))";
  ExtismFunction *function = extism_function_new("look", NULL, 0, NULL, 0, look_at_freed, NULL, NULL);
  const ExtismFunction *given[] = {function};
  ExtismContext *ctx = extism_context_new();
  CHECK(extism_plugin_new(ctx, (const uint8_t *)LOOKS, sizeof LOOKS - 1, given, 1, false) == 0);
  CHECK(call(ctx, 0, "look", "") == 0);
  extism_context_free(ctx);
  extism_function_free(function);
}

static void manifests_in_toml(void) {
  ExtismContext *ctx = context("[[wasm]]\ndata = \"" SPIN "\"\n[config]\na = \"b\"\n");
  CHECK(extism_plugin_function_exists(ctx, 0, "spin"));
  CHECK(made(ctx, "wasm = [{path = \"missing\", nothing = 1}]") == -1 && mentions(ctx, -1, "unknown field `nothing`"));
  extism_context_free(ctx);
}

static void null_is_an_answer_everywhere(void) {
  const ExtismValType wrong[] = {(ExtismValType)7};
  ExtismContext *ctx = context(PLAIN);
  CHECK(extism_plugin_new(NULL, (const uint8_t *)PLAIN, sizeof PLAIN - 1, NULL, 0, false) == -1);
  CHECK(extism_plugin_new(ctx, NULL, 7, NULL, 0, false) == -1 && extism_plugin_new(ctx, NULL, 0, NULL, 7, false) == -1);
  CHECK(!extism_plugin_update(NULL, 0, NULL, 0, NULL, 0, false) && !extism_plugin_update(ctx, 0, NULL, 7, NULL, 0, false));
  CHECK(call(NULL, 0, "seven", "") == -1 && extism_plugin_call(ctx, 0, NULL, NULL, 0) == -1);
  CHECK(mentions(ctx, 0, "null pointer"));
  CHECK(extism_plugin_call(ctx, 0, "seven", NULL, 7) == -1 && extism_plugin_call(ctx, 0, "seven", NULL, 0) == 7);
  CHECK(!extism_plugin_config(NULL, 0, NULL, 0) && !extism_plugin_config(ctx, 0, NULL, 7));
  CHECK(!extism_plugin_function_exists(NULL, 0, "seven") && !extism_plugin_function_exists(ctx, 0, NULL));
  CHECK(extism_error(NULL, 0) == NULL && extism_error(NULL, -1) == NULL);
  CHECK(extism_plugin_output_length(NULL, 0) == 0 && extism_plugin_output_data(NULL, 0) == NULL);
  CHECK(extism_plugin_cancel_handle(NULL, 0) == NULL && !extism_plugin_cancel(NULL));
  CHECK(extism_current_plugin_memory(NULL) == NULL && extism_current_plugin_memory_alloc(NULL, 1) == 0);
  CHECK(extism_current_plugin_memory_length(NULL, 1) == 0);
  extism_current_plugin_memory_free(NULL, 1);
  CHECK(!extism_function_new(NULL, NULL, 0, NULL, 0, add, NULL, NULL));
  CHECK(!extism_function_new("f", NULL, 0, NULL, 0, NULL, NULL, NULL));
  CHECK(!extism_function_new("f", wrong, 1, NULL, 0, add, NULL, NULL));
  extism_function_set_namespace(NULL, "mine");
  extism_function_free(NULL);
  extism_context_reset(NULL);
  extism_context_free(ctx);
}

static void a_cancel_handle_outlives_its_plugin(void) {
  ExtismContext *ctx = context(PLAIN);
  const ExtismCancelHandle *handle = extism_plugin_cancel_handle(ctx, 0);
  CHECK(handle == extism_plugin_cancel_handle(ctx, 0));
  CHECK(extism_plugin_cancel(handle)); /* no call is running: nothing happens */
  CHECK(call(ctx, 0, "seven", "") == 7);
  extism_plugin_free(ctx, 0);
  CHECK(!extism_plugin_cancel(handle));
  extism_context_free(ctx);
}

static void half(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                 ExtismSize n_outputs, void *data) {
  CHECK(plugin && n_inputs == 2 && n_outputs == 1 && !data && inputs[1].t == F32);
  outputs[0].v.f64 = inputs[0].v.f64 / 2 + (double)inputs[1].v.f32;
}

static void host_functions_with_floats(void) {
  static const char FLOATS[] =
      "(module (import \"env\" \"half\" (func $half (param f64 f32) (result f64)))"
      "  (func (export \"run\") (result i32)"
      "    (i32.trunc_f64_s (f64.mul (call $half (f64.const 2.5) (f32.const 0.25)) (f64.const 10)))))";
  const ExtismValType numbers[] = {F64, F32}, number[] = {F64};
  ExtismFunction *function = extism_function_new("half", numbers, 2, number, 1, half, NULL, NULL);
  const ExtismFunction *given[] = {function};
  ExtismContext *ctx = extism_context_new();
  CHECK(extism_plugin_new(ctx, (const uint8_t *)FLOATS, sizeof FLOATS - 1, given, 1, false) == 0);
  CHECK(call(ctx, 0, "run", "") == 15);
  extism_context_free(ctx);
  extism_function_free(function);
}

/* Functions may be freed before the plugins that have them: their data is freed with the last of these. */
static void plugins_keep_their_functions(void) {
  ExtismFunction *functions[3];
  const ExtismFunction *given[3];
  ExtismContext *ctx = extism_context_new();
  int i;
  functions_new(functions);
  for (i = 0; i < 3; i++) given[i] = functions[i];
  CHECK(extism_plugin_new(ctx, (const uint8_t *)HOSTED, sizeof HOSTED - 1, given, 3, false) == 0);
  extism_function_free(functions[0]);
  extism_function_free(functions[2]);
  CHECK(call(ctx, 0, "run", "Hello") == 0 && gives(ctx, 0, "HelloHello"));
  CHECK(frees == 0);
  CHECK(updated(ctx, 0, OTHER));
  CHECK(frees == 1);
  extism_context_free(ctx);
  CHECK(frees == 1);
}

struct nested {
  ExtismContext *ctx;
  const char *what;
};

static void nest(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                 ExtismSize n_outputs, void *data) {
  const struct nested *nested = data;
  ExtismContext *ctx = nested->ctx;
  CHECK(plugin && inputs && n_inputs == 1 && outputs && n_outputs == 1);
  outputs[0].v.i64 = inputs[0].v.i64;
  if (strcmp(nested->what, "other") == 0) {
    CHECK(call(ctx, 1, "echo", "inner") == 0 && gives(ctx, 1, "inner"));
  } else if (strcmp(nested->what, "same") == 0) {
    CHECK(call(ctx, 0, "run", "") == -1);
    CHECK(says(ctx, -1, "cannot make reentrant calls into plugin"));
    CHECK(extism_plugin_output_length(ctx, 0) == 0 && extism_plugin_output_data(ctx, 0) == NULL);
    CHECK(extism_error(ctx, 0) == NULL);
    CHECK(extism_plugin_function_exists(ctx, 0, "run"));
    CHECK(extism_plugin_config(ctx, 0, (const uint8_t *)"{}", 2));
  } else if (strcmp(nested->what, "update") == 0) {
    CHECK(updated(ctx, 0, OTHER));
    CHECK(call(ctx, 0, "eight", "") == 8);
  } else {
    extism_plugin_free(ctx, 0);
    CHECK(call(ctx, 0, "run", "") == -1 && says(ctx, 0, "Plugin does not exist: 0"));
  }
}

/* A host function that uses the context of the plugin which calls it. */
static void nested(const char *what) {
  static const char NESTS[] =
      "(module" IMPORTS
      "  (import \"env\" \"nest\" (func $nest (param i64) (result i64)))"
    OUTPUT
      "  (func (export \"run\") (result i32)"
      "    (call $output (call $nest (call $input_offset))) (i32.const 6)))";
  const ExtismValType handle[] = {I64};
  struct nested nested;
  ExtismFunction *function = extism_function_new("nest", handle, 1, handle, 1, nest, &nested, NULL);
  const ExtismFunction *given[] = {function};
  nested.ctx = extism_context_new();
  nested.what = what;
  CHECK(extism_plugin_new(nested.ctx, (const uint8_t *)NESTS, sizeof NESTS - 1, given, 1, false) == 0);
  CHECK(made(nested.ctx, PLAIN) == 1);
  CHECK(call(nested.ctx, 0, "run", "Hello") == 6);
  if (strcmp(what, "other") == 0 || strcmp(what, "same") == 0) CHECK(gives(nested.ctx, 0, "Hello"));
  extism_context_free(nested.ctx);
  extism_function_free(function);
}

static void a_host_function_may_call_another_plugin(void) { nested("other"); }
static void a_host_function_may_ask_its_plugin(void) { nested("same"); }
static void a_host_function_may_update_its_plugin(void) { nested("update"); }
static void a_host_function_may_free_its_plugin(void) { nested("free"); }

static void *use(void *argument) {
  ExtismContext *ctx = argument;
  int i;
  for (i = 0; i < 20; i++) {
    ExtismPlugin plugin = made(ctx, PLAIN);
    CHECK(plugin >= 1);
    CHECK(call(ctx, plugin, "echo", "mine") == 0 && gives(ctx, plugin, "mine"));
    CHECK(call(ctx, 0, "seven", "") == 7); /* which all of them have */
    extism_plugin_free(ctx, plugin);
  }
  return NULL;
}

static void threads_share_a_context(void) {
  enum { THREADS = 8 };
  ExtismContext *ctx = context(PLAIN);
  pthread_t threads[THREADS];
  int i;
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, use, ctx) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  extism_context_free(ctx);
}

/* Callers that read 32 bits of a bool get them. */
static void bools_fill_their_register(void) {
  int (*exists)(ExtismContext *, ExtismPlugin, const char *) =
      (int (*)(ExtismContext *, ExtismPlugin, const char *))(void (*)(void))extism_plugin_function_exists;
  int (*cancel)(const ExtismCancelHandle *) = (int (*)(const ExtismCancelHandle *))(void (*)(void))extism_plugin_cancel;
  ExtismContext *ctx = context(PLAIN);
  CHECK(exists(ctx, 0, "echo") == 1 && exists(ctx, 0, "none") == 0 && exists(ctx, 5, "echo") == 0);
  CHECK(cancel(extism_plugin_cancel_handle(ctx, 0)) == 1 && cancel(NULL) == 0);
  extism_context_free(ctx);
}

/* --- all of them --------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  void (*check)(void);
  const char *released;
  bool is_slow;
} CHECKS[] = {
#define BOTH(name) {#name, name, "passes", false}
#define OURS(name) {#name, name, "fails", false}
#define UNDEFINED(name) {#name, name, "any", false}
    BOTH(version),
    BOTH(context_new_and_free),
    BOTH(context_reset),
    BOTH(plugin_new),
    BOTH(plugin_update),
    BOTH(plugin_free),
    BOTH(plugin_config),
    BOTH(plugin_function_exists),
    BOTH(plugin_call),
    BOTH(error),
    BOTH(plugin_output),
    BOTH(plugin_cancel),
    BOTH(functions),
    BOTH(log_file),
    BOTH(indices_are_reused_when_25_are_free),
    BOTH(an_unknown_index_is_the_contexts_error),
    BOTH(functions_on_a_plugin_clear_both_errors),
    BOTH(the_time_is_limited),
    {"the_time_is_30_seconds", the_time_is_30_seconds, "passes", true},
    BOTH(hosts_are_refused_unless_allowed),
    BOTH(exit_codes_are_results),
    BOTH(the_configuration_is_the_environment),
    BOTH(arguments_stay_the_plugins),
    BOTH(the_main_module_is_main_or_the_last_by_name),
    BOTH(modules_import_by_file_name),
    BOTH(old_names_of_fields),
    BOTH(a_host_function_may_call_another_plugin),
    OURS(texts_are_exact),
    OURS(the_environment_changes_with_the_configuration),
    OURS(a_call_without_output_has_none),
    OURS(what_a_plugin_says_of_a_trap_is_kept),
    OURS(a_failing_start_is_said),
    OURS(a_freed_block_has_no_length),
    OURS(manifests_in_toml),
    OURS(null_is_an_answer_everywhere),
    OURS(a_cancel_handle_outlives_its_plugin),
    OURS(host_functions_with_floats),
    UNDEFINED(plugins_keep_their_functions),
    UNDEFINED(a_host_function_may_ask_its_plugin),
    UNDEFINED(a_host_function_may_update_its_plugin),
    UNDEFINED(a_host_function_may_free_its_plugin),
    UNDEFINED(threads_share_a_context),
    UNDEFINED(bools_fill_their_register),
};

int main(int argc, char **argv) {
  const int count = sizeof CHECKS / sizeof CHECKS[0];
  const char *wanted = argc > 1 ? argv[1] : NULL;
  int i, made = 0;
  CHECK(sizeof(ExtismVal) == 16 && sizeof(ExtismValType) == 4 && sizeof(ExtismPlugin) == 4);
  for (i = 0; i < count; i++) {
    if (wanted && strcmp(wanted, "--list") == 0) {
      printf("%s %s\n", CHECKS[i].name, CHECKS[i].released);
    } else if (wanted ? strcmp(wanted, CHECKS[i].name) == 0 : !CHECKS[i].is_slow) {
      frees = 0;
      CHECKS[i].check();
      made++;
    }
  }
  if (!wanted) printf("%d checks: all as it should be\n", made);
  return wanted && strcmp(wanted, "--list") != 0 && made != 1;
}
