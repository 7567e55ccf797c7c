/*
 * What a C program sees of libextism: linked both ways by `run`, and run under valgrind. Exits with 0 if everything is as it
 * should be, else says what isn't.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "extism.h"

static const char PLUGIN[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input_offset (result i64)))"
    "  (import \"extism:host/env\" \"length\" (func $length (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"alloc\" (func $alloc (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"error_set\" (func $error_set (param i64)))"
    "  (import \"extism:host/env\" \"var_set\" (func $var_set (param i64 i64)))"
    "  (import \"extism:host/user\" \"shout\" (func $shout (param i64) (result i64)))"
    "  (import \"mine\" \"add\" (func $add (param i32 f32 f64) (result f64)))"
    "  (func (export \"run\") (local $block i64)"
    "    (local.set $block (call $shout (call $input_offset)))"
    "    (call $output_set (local.get $block) (call $length (local.get $block))))"
    "  (func (export \"add\") (result i32)"
    "    (i32.trunc_f64_s (call $add (i32.const 1) (f32.const 0.5) (f64.const 40.5))))"
    "  (func (export \"var\") (call $var_set (call $alloc (i64.const 1)) (call $alloc (i64.const 100))))"
    "  (func (export \"fail\") (result i32) (call $error_set (call $input_offset)) (i32.const 3))"
    "  (func (export \"spin\") (loop $again (br $again))))";

static int frees;
static pthread_mutex_t frees_lock = PTHREAD_MUTEX_INITIALIZER;

static void count_free(void *data) {
  CHECK(*(int *)data == 77);
  pthread_mutex_lock(&frees_lock);
  frees++;
  pthread_mutex_unlock(&frees_lock);
  free(data);
}

static void shout(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                  ExtismSize n_outputs, void *data) {
  ExtismMemoryHandle argument, result;
  ExtismSize length, i;
  CHECK(n_inputs == 1 && n_outputs == 1 && inputs[0].t == EXTISM_PTR && outputs[0].t == EXTISM_PTR);
  CHECK(*(int *)data == 77 && outputs[0].v.i64 == 0);
  argument = (ExtismMemoryHandle)inputs[0].v.i64;
  length = extism_current_plugin_memory_length(plugin, argument);
  result = extism_current_plugin_memory_alloc(plugin, length);
  for (i = 0; i < length; i++) {
    uint8_t *memory = extism_current_plugin_memory(plugin);
    uint8_t c = memory[argument + i];
    memory[result + i] = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
  }
  extism_current_plugin_memory_free(plugin, argument);
  outputs[0].v.i64 = (int64_t)result;
}

static void add(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                ExtismSize n_outputs, void *data) {
  CHECK(n_inputs == 3 && n_outputs == 1 && data == NULL);
  CHECK(outputs[0].t == ExtismValType_F64);
  CHECK(extism_current_plugin_host_context(plugin) == NULL);
  outputs[0].v.f64 = inputs[0].v.i32 + (double)inputs[1].v.f32 + inputs[2].v.f64;
}

static void functions_new(ExtismFunction *functions[2]) {
  const ExtismValType handle[] = {EXTISM_PTR};
  const ExtismValType numbers[] = {ExtismValType_I32, ExtismValType_F32, ExtismValType_F64};
  const ExtismValType result[] = {ExtismValType_F64};
  int *data = malloc(sizeof *data);
  *data = 77;
  functions[0] = extism_function_new("shout", handle, 1, handle, 1, shout, data, count_free);
  functions[1] = extism_function_new("add", numbers, 3, result, 1, add, NULL, count_free);
  CHECK(functions[0] && functions[1]);
  extism_function_set_namespace(functions[1], "mine");
}

static ExtismPlugin *plugin_new(void) {
  ExtismFunction *functions[2];
  const ExtismFunction *given[2];
  ExtismPlugin *plugin;
  char *error = NULL;
  functions_new(functions);
  given[0] = functions[0];
  given[1] = functions[1];
  plugin = extism_plugin_new((const uint8_t *)PLUGIN, sizeof PLUGIN - 1, given, 2, true, &error);
  if (!plugin) fprintf(stderr, "%s\n", error);
  CHECK(plugin && !error);
  extism_function_free(functions[0]);
  extism_function_free(functions[1]);
  return plugin;
}

static void use(ExtismPlugin *plugin) {
  CHECK(extism_plugin_call(plugin, "run", (const uint8_t *)"Hello", 5) == 0);
  CHECK(extism_plugin_output_length(plugin) == 5);
  CHECK(memcmp(extism_plugin_output_data(plugin), "HELLO", 5) == 0);
  CHECK(extism_plugin_call(plugin, "add", NULL, 0) == 42);
  CHECK(extism_plugin_call(plugin, "var", NULL, 0) == 0);
  CHECK(extism_plugin_error(plugin) == NULL);
  CHECK(extism_plugin_call(plugin, "fail", (const uint8_t *)"text", 4) == 3);
  CHECK(strcmp(extism_plugin_error(plugin), "text") == 0);
  CHECK(extism_plugin_config(plugin, (const uint8_t *)"{\"a\": \"b\"}", 10));
  CHECK(extism_plugin_function_exists(plugin, "run") && !extism_plugin_function_exists(plugin, "none"));
  CHECK(extism_plugin_reset(plugin) && extism_plugin_output_length(plugin) == 0);
}

/* Many plugins of one compiled one, in a thread. */
struct many {
  const ExtismCompiledPlugin *compiled;
  int count;
};

static void *use_many(void *argument) {
  const struct many *many = argument;
  int i;
  for (i = 0; i < many->count; i++) {
    ExtismPlugin *plugin = extism_plugin_new_from_compiled(many->compiled, NULL);
    CHECK(plugin);
    use(plugin);
    extism_plugin_free(plugin);
  }
  return NULL;
}

static void many_plugins(int count) {
  enum { THREADS = 8 };
  ExtismFunction *functions[2];
  const ExtismFunction *given[2];
  pthread_t threads[THREADS];
  struct many many;
  ExtismCompiledPlugin *compiled;
  int i;
  functions_new(functions);
  given[0] = functions[0];
  given[1] = functions[1];
  compiled = extism_compiled_plugin_new((const uint8_t *)PLUGIN, sizeof PLUGIN - 1, given, 2, false, NULL);
  CHECK(compiled);
  many.compiled = compiled;
  many.count = count / THREADS;
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, use_many, &many) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  extism_compiled_plugin_free(compiled);
  extism_function_free(functions[0]);
  extism_function_free(functions[1]);
}

static void *cancel_soon(void *handle) {
  struct timespec wait = {0, 50000000};
  nanosleep(&wait, NULL);
  CHECK(extism_plugin_cancel(handle));
  return NULL;
}

static const char TIMED[] = "{\"wasm\": [{\"data\": \"KG1vZHVsZSAoZnVuYyAoZXhwb3J0ICJzcGluIikgKGxvb3AgKGJyIDApKSkp\"}], \"timeout_ms\": 50}";

static ExtismPlugin *timed_new(void) {
  ExtismPlugin *plugin = extism_plugin_new((const uint8_t *)TIMED, sizeof TIMED - 1, NULL, 0, false, NULL);
  CHECK(plugin);
  return plugin;
}

static void times_out(ExtismPlugin *plugin) {
  CHECK(extism_plugin_call(plugin, "spin", NULL, 0) == 134);
  CHECK(strcmp(extism_plugin_error(plugin), "timeout") == 0);
}

/* D21: a forked process had no timeouts. It makes plugins and uses those it has, with a timer of its own. */
static void fork_and_time_out(void) {
  ExtismPlugin *plugin = timed_new();
  pid_t child;
  int status;
  times_out(plugin);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    ExtismPlugin *fresh;
    alarm(20);
    times_out(plugin);
    fresh = timed_new();
    times_out(fresh);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  extism_plugin_free(plugin);
}

/* D12: a thread with less stack than WebAssembly may take died. */
static void *use_in_small_stack(void *plugin) {
  use(plugin);
  return NULL;
}

static void small_stack(void) {
  ExtismPlugin *plugin = plugin_new();
  pthread_attr_t attributes;
  pthread_t thread;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 128 * 1024) == 0);
  CHECK(pthread_create(&thread, &attributes, use_in_small_stack, plugin) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  pthread_attr_destroy(&attributes);
  extism_plugin_free(plugin);
}

/* D1: Java and .NET read a bool as 32 bits: all of them have to be set. */
static void bools_fill_their_register(void) {
  int (*custom)(const char *) = (int (*)(const char *))(void (*)(void))extism_log_custom;
  int (*reset)(ExtismPlugin *) = (int (*)(ExtismPlugin *))(void (*)(void))extism_plugin_reset;
  int (*exists)(ExtismPlugin *, const char *) =
      (int (*)(ExtismPlugin *, const char *))(void (*)(void))extism_plugin_function_exists;
  ExtismPlugin *plugin = plugin_new();
  CHECK(custom("off") == 1);
  CHECK(custom("off") == 0);
  CHECK(reset(plugin) == 1 && reset(NULL) == 0);
  CHECK(exists(plugin, "run") == 1 && exists(plugin, "none") == 0);
  extism_plugin_free(plugin);
}

int main(int argc, char **argv) {
  int plugins = argc > 1 ? atoi(argv[1]) : 1000;
  ExtismPlugin *plugin;
  pthread_t thread;
  char *error = NULL;
  CHECK(sizeof(ExtismVal) == 16 && sizeof(ExtismValType) == 4);
  CHECK(strncmp(extism_version(), "1.", 2) == 0);
  bools_fill_their_register();

  CHECK(!extism_plugin_new((const uint8_t *)"nonsense", 8, NULL, 0, false, &error) && error);
  CHECK(strncmp(error, "Unable to compile Extism plugin: Unknown manifest format", 56) == 0);
  extism_plugin_new_error_free(error);

  plugin = plugin_new();
  use(plugin);
  CHECK(pthread_create(&thread, NULL, cancel_soon, (void *)(uintptr_t)extism_plugin_cancel_handle(plugin)) == 0);
  times_out(plugin);
  CHECK(pthread_join(thread, NULL) == 0);
  use(plugin);
  extism_plugin_free(plugin);

  many_plugins(plugins);
  CHECK(frees == 3);
  if (argc <= 2) { /* valgrind takes a change of stacks for errors, and would follow the child */
    small_stack();
    fork_and_time_out();
    CHECK(frees == 4);
  }
  printf("%d plugins in 8 threads: all as it should be\n", plugins);
  return 0;
}
