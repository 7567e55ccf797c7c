/*
 * What a program in C pays for the things that it does often: two libextisms by turns in one process. Prints a line of CSV for each
 * thing: medians in nanoseconds, and the median of the ratios, with quartiles. `run` makes a table of them.
 *
 *   compare OURS.so RELEASED.so [PLUGIN.wasm...]   count_vowels.wasm, then handle_echo.wasm
 *   compare growth OURS.so RELEASED.so             what a call takes, for 0 bytes to 16 MiB
 *   compare live|resident|load LIBRARY.so          what needs a process of its own: a number
 *   compare flat|threads LIBRARY.so                the same
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "extism.h"

/* The library's functions, by the types that the header says. */
#define FUNCTIONS(F)                                                                                          \
  F(extism_plugin_new) F(extism_compiled_plugin_new) F(extism_compiled_plugin_free)                           \
  F(extism_plugin_new_from_compiled) F(extism_plugin_call) F(extism_plugin_free) F(extism_plugin_output_data) \
  F(extism_plugin_output_length) F(extism_function_new) F(extism_plugin_error) F(extism_current_plugin_memory) \
  F(extism_current_plugin_memory_alloc) F(extism_current_plugin_memory_length) F(extism_current_plugin_memory_free)
#define DECLARE(NAME) __typeof__(&NAME) NAME;

/* A library, and what is measured with it. */
struct side {
  FUNCTIONS(DECLARE)
  ExtismCompiledPlugin *compiled;
  ExtismPlugin *plugin;
};

static void load(struct side *side, const char *file) {
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror());
  CHECK(library);
#define LOAD(NAME)                                                                                            \
  {                                                                                                           \
    void *symbol = dlsym(library, #NAME);                                                                     \
    CHECK(symbol);                                                                                            \
    memcpy(&side->NAME, &symbol, sizeof symbol);                                                              \
  }
  FUNCTIONS(LOAD)
}

/* ---- plugins ---- */

static const char TINY[] = "(module (func (export \"run\")))";
static const char COMMAND[] = "(module (func (export \"_start\")))";

#define TIMES(COUNT, BODY)                                                                                    \
  "(local $i i32) (loop $again " BODY                                                                         \
  " (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const " #COUNT "))))"

/* 1 KB with two functions of the host. What ends in `_key` does the same as what it is named after, but for the calls themselves. */
static const char SMALL[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input_offset (result i64)))"
    "  (import \"extism:host/env\" \"input_length\" (func $input_length (result i64)))"
    "  (import \"extism:host/env\" \"input_load_u8\" (func $input_load_u8 (param i64) (result i32)))"
    "  (import \"extism:host/env\" \"input_load_u64\" (func $input_load_u64 (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"alloc\" (func $alloc (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"free\" (func $free (param i64)))"
    "  (import \"extism:host/env\" \"store_u8\" (func $store_u8 (param i64 i32)))"
    "  (import \"extism:host/env\" \"store_u64\" (func $store_u64 (param i64 i64)))"
    "  (import \"extism:host/env\" \"config_get\" (func $config_get (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"var_get\" (func $var_get (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"var_set\" (func $var_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"log_debug\" (func $log_debug (param i64)))"
    "  (import \"extism:host/user\" \"identity\" (func $identity (param i64) (result i64)))"
    "  (import \"extism:host/user\" \"answer\" (func $answer (param i64) (result i64)))"
    "  (memory 260)"
    "  (func (export \"empty\"))"
    /* As PDKs do it: the input goes to the plugin's memory, and from there to a new block. */
    "  (func (export \"echo\") (local $i i64) (local $length i64) (local $block i64)"
    "    (local.set $length (call $input_length))"
    "    (block $read (loop $next"
    "      (br_if $read (i64.ge_u (local.get $i) (local.get $length)))"
    "      (i64.store (i32.wrap_i64 (local.get $i)) (call $input_load_u64 (local.get $i)))"
    "      (local.set $i (i64.add (local.get $i) (i64.const 8))) (br $next)))"
    "    (local.set $block (call $alloc (local.get $length))) (local.set $i (i64.const 0))"
    "    (block $written (loop $next"
    "      (br_if $written (i64.ge_u (local.get $i) (local.get $length)))"
    "      (call $store_u64 (i64.add (local.get $block) (local.get $i)) (i64.load (i32.wrap_i64 (local.get $i))))"
    "      (local.set $i (i64.add (local.get $i) (i64.const 8))) (br $next)))"
    "    (call $output_set (local.get $block) (local.get $length)))"
    "  (func $key (result i64) (local $block i64)"
    "    (call $store_u8 (local.tee $block (call $alloc (i64.const 1))) (i32.const 107)) (local.get $block))"
    "  (func (export \"identity\") " TIMES(10000, "(drop (call $identity (i64.const 1)))") ")"
    "  (func (export \"answer\") " TIMES(10000, "(drop (call $answer (call $key)))") ")"
    "  (func (export \"answer_key\") " TIMES(10000, "(drop (call $key))") ")"
    "  (func (export \"config\") " TIMES(10000, "(drop (call $config_get (call $key)))") ")"
    "  (func (export \"log\") " TIMES(10000, "(call $log_debug (call $key))") ")"
    "  (func (export \"vars\") " TIMES(10000,
        "(call $var_set (call $key) (call $alloc (i64.const 8))) (drop (call $var_get (call $key)))") ")"
    "  (func (export \"allocs\") " TIMES(18000, "(drop (call $alloc (i64.const 64)))") ")"
    "  (func (export \"thirds\") (local $block i64) " TIMES(18000,
        "(local.set $block (call $alloc (i64.const 64)))"
        "(if (i32.eqz (i32.rem_u (local.get $i) (i32.const 3))) (then (call $free (local.get $block))))") "))";

/* A module of about 1.9 MB, whose first constant is its number. */
enum { LARGE_FUNCTIONS = 3800, LARGE_STEPS = 62, LARGE_ROOM = 4 << 20 };
static uint8_t large[LARGE_ROOM];

static uint8_t *leb(uint8_t *at, uint32_t value) {
  for (; value >= 128; value >>= 7) *at++ = (uint8_t)(value | 128);
  *at++ = (uint8_t)value;
  return at;
}
/* Moves what was written since `start` behind its length. */
static uint8_t *sized(uint8_t *start, uint8_t *end) {
  uint8_t length[5];
  size_t bytes = (size_t)(leb(length, (uint32_t)(end - start)) - length);
  memmove(start + bytes, start, (size_t)(end - start));
  memcpy(start, length, bytes);
  return end + bytes;
}
static size_t large_module(uint32_t number) {
  static const uint8_t HEAD[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 1, 9, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f, 3};
  uint8_t *at = large + sizeof HEAD, *start = at, *body;
  int i, step;
  memcpy(large, HEAD, sizeof HEAD);
  at = leb(at, LARGE_FUNCTIONS + 1);
  *at++ = 0;
  for (i = 0; i < LARGE_FUNCTIONS; i++) *at++ = 1;
  at = sized(start, at);
  memcpy(at, "\7\7\1\3run\0\0", 9);
  at += 9;
  *at++ = 10;
  start = at;
  at = leb(at, LARGE_FUNCTIONS + 1);
  memcpy(at, "\2\0\13", 3);
  at += 3;
  for (i = 0; i < LARGE_FUNCTIONS; i++) {
    body = at;
    *at++ = 0;
    *at++ = 0x20, *at++ = 0; /* local.get 0 */
    for (step = 0; step < LARGE_STEPS; step++) {
      *at++ = 0x41; /* i32.const, of two bytes */
      *at++ = (uint8_t)(128 | ((number + (uint32_t)(i * 7 + step)) & 127)), *at++ = 17;
      *at++ = step % 3 ? 0x6a : 0x6c; /* i32.add, i32.mul */
      *at++ = 0x20, *at++ = 0;
      *at++ = 0x73; /* i32.xor */
      if (step == 0) {
        *at++ = 0x41, *at++ = (uint8_t)(128 | ((number >> 7) & 127)), *at++ = 1, *at++ = 0x6a;
      }
    }
    *at++ = 0x0b;
    at = sized(body, at);
  }
  return (size_t)(sized(start, at) - large);
}

/* ---- what the host does ---- */

static struct side sides[2]; /* ours, the released one */

static void identity(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                     ExtismSize n_outputs, void *data) {
  (void)plugin, (void)n_inputs, (void)n_outputs, (void)data;
  outputs[0].v.i64 = inputs[0].v.i64;
}
/* Reads a block, frees it, and gives a copy back, as the glue of SDKs does. */
static void answer(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                   ExtismSize n_outputs, void *data) {
  static uint8_t copy[1 << 17];
  struct side *side = data;
  uint64_t handle = (uint64_t)inputs[0].v.i64;
  uint64_t length = side->extism_current_plugin_memory_length(plugin, handle);
  (void)n_inputs, (void)n_outputs;
  CHECK(length > 0 && length <= sizeof copy);
  memcpy(copy, side->extism_current_plugin_memory(plugin) + handle, length);
  side->extism_current_plugin_memory_free(plugin, handle);
  handle = side->extism_current_plugin_memory_alloc(plugin, length);
  memcpy(side->extism_current_plugin_memory(plugin) + handle, copy, length);
  outputs[0].v.i64 = (int64_t)handle;
}

static ExtismCompiledPlugin *compile(struct side *side, const void *wasm, size_t length) {
  const ExtismValType handle[] = {EXTISM_PTR};
  const ExtismFunction *functions[3];
  char *error = NULL;
  ExtismCompiledPlugin *compiled;
  functions[0] = side->extism_function_new("identity", handle, 1, handle, 1, identity, NULL, NULL);
  functions[1] = side->extism_function_new("answer", handle, 1, handle, 1, answer, side, NULL);
  functions[2] = side->extism_function_new("echo_handle", handle, 1, handle, 1, answer, side, NULL);
  compiled = side->extism_compiled_plugin_new(wasm, length, functions, 3, false, &error);
  if (!compiled) fprintf(stderr, "%s\n", error);
  CHECK(compiled);
  return compiled;
}
static ExtismPlugin *from(struct side *side, const ExtismCompiledPlugin *compiled) {
  ExtismPlugin *plugin = side->extism_plugin_new_from_compiled(compiled, NULL);
  CHECK(plugin);
  return plugin;
}
static ExtismPlugin *new_plugin(struct side *side, const void *wasm, size_t length) {
  ExtismPlugin *plugin = side->extism_plugin_new(wasm, length, NULL, 0, false, NULL);
  CHECK(plugin);
  return plugin;
}
static void call(struct side *side, const char *name, const void *data, size_t length) {
  int code = side->extism_plugin_call(side->plugin, name, data, length);
  if (code) fprintf(stderr, "%s: %s\n", name, side->extism_plugin_error(side->plugin));
  CHECK(code == 0);
}

/* ---- measuring ---- */

/* Time on a processor, so that others on the machine count less: of this thread, or, where libraries compile, of all threads. */
static clockid_t clock_used = CLOCK_THREAD_CPUTIME_ID;
static double now(void) {
  struct timespec time;
  clock_gettime(clock_used, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double quantile(const double *values, int count, double part) {
  double sorted[256];
  CHECK(count <= 256);
  memcpy(sorted, values, (size_t)count * sizeof *values);
  qsort(sorted, (size_t)count, sizeof *sorted, by_value);
  return sorted[(int)((count - 1) * part + 0.5)];
}

/* Has both do a thing by turns, in an order that is reversed each time; the first tenth warms up. `run` says how long one took. */
static void compare(const char *what, double goal, int repetitions, double (*run)(struct side *)) {
  double times[2][256], ratios[256];
  int warm_up = (repetitions + 9) / 10, repetition, i;
  for (repetition = -warm_up; repetition < repetitions; repetition++) {
    for (i = 0; i < 2; i++) {
      int which = repetition & 1 ? 1 - i : i;
      double time = run(&sides[which]);
      if (repetition >= 0) times[which][repetition] = time;
    }
    if (repetition >= 0) ratios[repetition] = times[0][repetition] / times[1][repetition];
  }
  printf("\"%s\",%.1f,%.1f,%.3f,%.3f,%.3f,%g\n", what, quantile(times[0], repetitions, 0.5),
         quantile(times[1], repetitions, 0.5), quantile(ratios, repetitions, 0.5), quantile(ratios, repetitions, 0.25),
         quantile(ratios, repetitions, 0.75), goal);
  fflush(stdout);
}

static const void *wasm;
static size_t wasm_length;
static void use(const void *bytes, size_t length) {
  int i;
  wasm = bytes, wasm_length = length;
  for (i = 0; i < 2; i++) {
    struct side *side = &sides[i];
    if (side->plugin) side->extism_plugin_free(side->plugin);
    if (side->compiled) side->extism_compiled_plugin_free(side->compiled);
    side->compiled = compile(side, bytes, length);
    side->plugin = from(side, side->compiled);
  }
}

enum { PLUGINS = 50 };
static double made_and_freed(struct side *side) {
  ExtismPlugin *plugins[PLUGINS];
  double start = now();
  int i;
  for (i = 0; i < PLUGINS; i++) plugins[i] = from(side, side->compiled);
  for (i = 0; i < PLUGINS; i++) side->extism_plugin_free(plugins[i]);
  return (now() - start) / PLUGINS;
}
/* The same with room for them, of which the released library knows nothing. */
static void compare_pooled(const char *what) {
  setenv("EXTISM_POOLING", "200", 1);
  use(wasm, wasm_length);
  compare(what, 0.12, 41, made_and_freed);
  unsetenv("EXTISM_POOLING");
  use(wasm, wasm_length);
}
/* The time that it takes to make one; freeing it doesn't count. */
static double made(struct side *side, const void *bytes, size_t length) {
  double start = now(), time;
  ExtismPlugin *plugin = new_plugin(side, bytes, length);
  time = now() - start;
  side->extism_plugin_free(plugin);
  return time;
}
static double known(struct side *side) { return made(side, wasm, wasm_length); }
static int number;
static double cold_tiny(struct side *side) {
  char text[64];
  int length = snprintf(text, sizeof text, "(module (func (export \"f%d\")))", ++number);
  return made(side, text, (size_t)length);
}
static double cold_large(struct side *side) {
  size_t length = large_module((uint32_t)++number);
  return made(side, large, length);
}

static const char *function;
static size_t input_length;
static uint8_t *input;
enum { MOST_INPUT = 16 << 20 };
static void make_input(void) {
  int i;
  input = malloc(MOST_INPUT);
  CHECK(input);
  for (i = 0; i < MOST_INPUT; i++) input[i] = (uint8_t)"abcde fghi\n"[i % 11];
}
static int count;
static double calls(struct side *side) {
  double start = now();
  int i;
  for (i = 0; i < count; i++) {
    call(side, function, input, input_length);
    CHECK(side->extism_plugin_output_data(side->plugin));
  }
  return (now() - start) / count;
}
/* A call with so much input; its output has to be that of the other library. */
static void compare_calls(const char *what, double goal, const char *name, size_t length, int how_many) {
  size_t lengths[2];
  int i;
  function = name, input_length = length, count = how_many;
  for (i = 0; i < 2; i++) {
    call(&sides[i], name, input, length);
    lengths[i] = sides[i].extism_plugin_output_length(sides[i].plugin);
  }
  CHECK(lengths[0] == lengths[1]);
  CHECK(!memcmp(sides[0].extism_plugin_output_data(sides[0].plugin), sides[1].extism_plugin_output_data(sides[1].plugin),
                lengths[0]));
  compare(what, goal, 41, calls);
}
/* What one of so many calls out of the plugin takes. */
static double each(struct side *side) {
  double start = now();
  call(side, function, NULL, 0);
  return (now() - start) / count;
}
static void compare_each(const char *what, double goal, const char *name, int how_many, int repetitions) {
  function = name, count = how_many;
  compare(what, goal, repetitions, each);
}

static size_t read_file(const char *name, void **bytes) {
  FILE *file = fopen(name, "rb");
  size_t length;
  CHECK(file);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  length = (size_t)ftell(file);
  rewind(file);
  *bytes = malloc(length);
  CHECK(*bytes && fread(*bytes, 1, length, file) == length);
  fclose(file);
  return length;
}

static long resident_bytes(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

/* A call with so many bytes in, and with as many in and out. */
static int growth(const char *ours, const char *released) {
  static const char *const FUNCTIONS[] = {"empty", "echo"};
  size_t length;
  int i;
  make_input();
  load(&sides[0], ours);
  load(&sides[1], released);
  use(SMALL, sizeof SMALL - 1);
  for (i = 0; i < 2; i++) {
    for (length = 0; length <= MOST_INPUT; length = length ? length * 8 : 8) {
      char what[64];
      /* For about as long for each length, with a ratio from as many turns. */
      int how_many = length <= 512 ? 500 : length <= 32768 ? 50 : length <= 1 << 18 ? 5 : 1;
      snprintf(what, sizeof what, "%s,%zu", FUNCTIONS[i], length);
      compare_calls(what, 1, FUNCTIONS[i], length, how_many);
    }
  }
  return 0;
}

/* Threads that call a plugin each until they are told to stop, and how often they could. */
enum { THREADS = 8 };
static volatile int stop;
struct caller {
  pthread_t thread;
  struct side side;
  long calls;
};
static void *call_on(void *data) {
  struct caller *caller = data;
  for (; !stop; caller->calls++) call(&caller->side, "echo", input, 4096);
  return NULL;
}
static double calls_by(struct side *side, int threads) {
  struct caller callers[THREADS];
  struct timespec a_while = {0, 300000000};
  long sum = 0;
  int i;
  stop = 0;
  for (i = 0; i < threads; i++) {
    callers[i].side = *side, callers[i].calls = 0;
    callers[i].side.plugin = from(side, side->compiled);
    CHECK(!pthread_create(&callers[i].thread, NULL, call_on, &callers[i]));
  }
  nanosleep(&a_while, NULL);
  stop = 1;
  for (i = 0; i < threads; i++) {
    CHECK(!pthread_join(callers[i].thread, NULL));
    sum += callers[i].calls;
    side->extism_plugin_free(callers[i].side.plugin);
  }
  return (double)sum;
}

/* What is measured in a process of its own. */
static int alone(const char *what, const char *file) {
  struct side *side = &sides[0];
  struct timespec start, end;
  long before;
  int i;
  clock_gettime(CLOCK_MONOTONIC, &start);
  load(side, file);
  clock_gettime(CLOCK_MONOTONIC, &end);
  if (!strcmp(what, "load")) {
    printf("%ld\n", (end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec);
    return 0;
  }
  side->compiled = compile(side, SMALL, sizeof SMALL - 1);
  if (!strcmp(what, "live")) {
    for (i = 0; i < 20000; i++) {
      side->plugin = side->extism_plugin_new_from_compiled(side->compiled, NULL);
      if (!side->plugin || side->extism_plugin_call(side->plugin, "empty", NULL, 0) != 0) break;
    }
    printf("%d\n", i);
  } else if (!strcmp(what, "flat")) {
    before = 0;
    for (i = 0; i < 100000; i++) {
      if (i == 1000) before = resident_bytes();
      side->plugin = from(side, side->compiled);
      call(side, "empty", "x", 1);
      side->extism_plugin_free(side->plugin);
    }
    printf("%ld\n", resident_bytes() - before);
  } else if (!strcmp(what, "threads")) {
    double ratios[9];
    make_input();
    calls_by(side, 1);
    for (i = 0; i < 9; i++) {
      double one = calls_by(side, 1);
      ratios[i] = calls_by(side, THREADS) / one;
    }
    printf("%.0f\n", 1000 * quantile(ratios, 9, 0.5) / (double)sysconf(_SC_NPROCESSORS_ONLN));
  } else {
    CHECK(!strcmp(what, "resident"));
    side->plugin = from(side, side->compiled);
    call(side, "empty", "x", 1);
    before = resident_bytes();
    for (i = 0; i < 1000; i++) {
      side->plugin = from(side, side->compiled);
      call(side, "empty", "x", 1);
    }
    printf("%ld\n", (resident_bytes() - before) / 1000);
  }
  fflush(stdout);
  _Exit(0); /* to free them all takes longer than to make them */
}

int main(int argc, char **argv) {
  void *file;
  size_t length;
  int i;
  if (argc == 3 && !strchr(argv[1], '/')) return alone(argv[1], argv[2]);
  if (argc == 4) return growth(argv[2], argv[3]);
  CHECK(argc == 3 || argc == 5);
  make_input();
  for (i = 0; i < 2; i++) load(&sides[i], argv[i + 1]);

  use(TINY, sizeof TINY - 1);
  compare("a plugin from a compiled one, made and freed: tiny", 0.30, 41, made_and_freed);
  compare_pooled("the same with `EXTISM_POOLING`");
  compare("`extism_plugin_new` of bytes seen before: tiny", 0.15, 41, known);
  use(SMALL, sizeof SMALL - 1);
  compare("made and freed: 2 KB, functions of the host", 0.30, 41, made_and_freed);
  compare_pooled("the same 2 KB with `EXTISM_POOLING`");
  compare_calls("empty call, 0 B", 0.12, "empty", 0, 2000);
  compare_calls("empty call, 4 KiB", 0.15, "empty", 4096, 2000);
  compare_calls("echo by u64, 4 KiB", 0.30, "echo", 4096, 500);
  compare_calls("echo by u64, 1 MiB", 0.40, "echo", 1 << 20, 3);
  compare_each("function of the host, i64 to i64", 0.20, "identity", 10000, 41);
  compare_each("function of the host that reads, frees, allocates", 0.005, "answer", 10000, 5);
  compare_each("`config_get`", 0.005, "config", 10000, 5);
  compare_each("`var_set` and `var_get`", 0.005, "vars", 10000, 3);
  compare_each("`log_debug`, switched off", 0.005, "log", 10000, 5);
  compare_each("18,000 allocs of 64 B", 0.9, "allocs", 18000, 41);
  compare_each("18,000 allocs of 64 B, every third freed", 0.02, "thirds", 18000, 5);
  use(COMMAND, sizeof COMMAND - 1);
  compare_calls("`_start` of an empty command", 0.30, "_start", 0, 50);
  if (argc == 5) {
    length = read_file(argv[3], &file);
    use(file, length);
    compare_calls("`count_vowels` of a Rust PDK, 4 KiB", 0.85, "count_vowels", 4096, 50);
    length = read_file(argv[4], &file);
    use(file, length);
    compare_calls("64 KiB to a function of the host and back", 0.5, "handle_echo", 65536, 20);
  }
  clock_used = CLOCK_PROCESS_CPUTIME_ID;
  length = large_module(0);
  use(large, length);
  compare("made and freed: 1.9 MB", 0.30, 21, made_and_freed);
  compare("`extism_plugin_new` of bytes seen before: 1.9 MB", 0.15, 21, known);
  compare("`extism_plugin_new`, cold: tiny", 1.0, 41, cold_tiny);
  compare("`extism_plugin_new`, cold: 1.9 MB", 1.05, 5, cold_large);
  return 0;
}
