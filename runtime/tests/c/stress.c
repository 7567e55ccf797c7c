/*
 * Eight threads make, call, cancel, let time out and free plugins, in random order:
 *
 *   stress SECONDS [SEED]
 *
 * A crash isn't all that counts. What each call answers is held against what can have caused it:
 *
 * - a call that ends as if its time were up had that time, or was cancelled meanwhile: it isn't stopped by others (D20)
 * - a call that never ends by itself is cancelled once, after it has told that it runs, and ends: no cancel is lost (D22)
 * - all others give the right answer
 * - in the end all is gone: memory, threads, mappings and the data of host functions are as after the first seconds
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "extism.h"

enum {
  THREADS = 8,
  SLOTS = 12,
  /* In milliseconds: one that is always up soon, and one that never is. */
  SHORT = 10,
  LONG = 3600 * 1000,
  /* A call that hasn't ended after so many seconds won't. */
  PATIENCE = 60,
  /* The library keeps so many compiled modules of each sort. */
  KEPT = 32,
};

static const char PLUGIN[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input_offset (result i64)))"
    "  (import \"extism:host/env\" \"input_length\" (func $input_length (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"error_set\" (func $error_set (param i64)))"
    "  (import \"extism:host/user\" \"begun\" (func $begun))"
    "  (import \"wasi_snapshot_preview1\" \"poll_oneoff\" (func $poll (param i32 i32 i32 i32) (result i32)))"
    "  (memory (export \"memory\") 1)"
    "  (func (export \"echo\") (call $begun) (call $output_set (call $input_offset) (call $input_length)))"
    "  (func (export \"work\") (result i32) (local $i i32)"
    "    (call $begun)"
    "    (loop $again"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 500000))))"
    "    (i32.const 42))"
    "  (func (export \"fail\") (result i32) (call $begun) (call $error_set (call $input_offset)) (i32.const 3))"
    "  (func (export \"trap\") (call $begun) unreachable)"
    "  (func (export \"spin\") (call $begun) (loop $again (br $again)))"
    /* Waits for a clock, for 30 years. */
    "  (func (export \"sleep\")"
    "    (call $begun)"
    "    (i32.store offset=16 (i32.const 0) (i32.const 1))"
    "    (i64.store offset=24 (i32.const 0) (i64.const 1000000000000000000))"
    "    (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))))";

static const char OTHER[] = "(module (func (export \"unused\")))";

static const struct kind {
  uint64_t timeout;
  uint64_t fuel; /* 0: as much as it likes */
  bool is_two_modules;
} kinds[] = {{LONG, 0, false}, {SHORT, 0, false}, {LONG, UINT64_MAX / 2, false}, {LONG, 0, true}, {SHORT, 0, true}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* A place for a plugin. Who calls it holds the lock, alone or with others; who makes or frees it holds it alone. */
static struct slot {
  pthread_rwlock_t lock;
  int kind;
  ExtismPlugin *plugin;
  _Atomic uintptr_t handle;
  /* How many cancels of what is or was here have begun and ended: those during a call may have stopped it. */
  atomic_ulong cancels_begun, cancels_ended;
} slots[SLOTS];

static struct compiled {
  pthread_rwlock_t lock;
  ExtismCompiledPlugin *plugin;
} compiled[KINDS];

/* A call's plugin may still be busy with another; it runs; somebody cancels it; it is over. */
enum phase { WAITS, RUNS, CLAIMED, OVER, PHASES };

/* What a thread is calling, for the others to see. */
static struct call {
  /* The number of the call times PHASES, and its phase. */
  atomic_ulong state;
  _Atomic(struct slot *) slot;
  _Atomic(const char *) name;
  _Atomic double since;
  /* Nothing but a cancel ends it. */
  atomic_bool is_endless;
  bool cancels_itself;
  uint64_t random;
} calls[THREADS];

static atomic_ulong n_made, n_compiled, n_calls, n_cancels, n_cancelled, n_timeouts;
static atomic_long functions;
static atomic_bool is_over;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t below(uint64_t *random, uint64_t limit) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return *random % limit;
}

/* The plugin may be freed at this very moment. */
static void cancel(struct slot *slot) {
  atomic_fetch_add(&slot->cancels_begun, 1);
  extism_plugin_cancel((const ExtismCancelHandle *)atomic_load(&slot->handle));
  atomic_fetch_add(&slot->cancels_ended, 1);
  atomic_fetch_add(&n_cancels, 1);
}

/* Ends an endless call, once it runs. Nobody does so again: a second cancel would hide that the first one was lost. */
static void end(struct call *call) {
  unsigned long state = atomic_load(&call->state);
  struct slot *slot = atomic_load(&call->slot);
  if (state % PHASES == RUNS && atomic_load(&call->is_endless) &&
      atomic_compare_exchange_strong(&call->state, &state, state - RUNS + CLAIMED))
    cancel(slot);
}

static void begun(ExtismCurrentPlugin *plugin, const ExtismVal *inputs, ExtismSize n_inputs, ExtismVal *outputs,
                  ExtismSize n_outputs, void *data) {
  struct call *call = extism_current_plugin_host_context(plugin);
  CHECK(!inputs && !n_inputs && !outputs && !n_outputs && *(int *)data == 77);
  atomic_fetch_add(&call->state, RUNS - WAITS);
  if (call->cancels_itself) end(call);
}

static void free_data(void *data) {
  free(data);
  atomic_fetch_sub(&functions, 1);
}

/* Makes a plugin of a kind, or a compiled one if there is a place for it. Code with another number is compiled. */
static ExtismPlugin *make(const struct kind *kind, unsigned long number, ExtismCompiledPlugin **place) {
  char code[sizeof PLUGIN + 40], other[100] = "", text[300], *error = NULL;
  const uint8_t *data = (const uint8_t *)text;
  const ExtismFunction *given[1];
  ExtismFunction *function;
  ExtismPlugin *plugin = NULL;
  ExtismSize size;
  int *user_data = malloc(sizeof *user_data);
  CHECK(user_data);
  *user_data = 77;
  atomic_fetch_add(&functions, 1);
  given[0] = function = extism_function_new("begun", NULL, 0, NULL, 0, begun, user_data, free_data);
  CHECK(function);
  snprintf(code, sizeof code, "(; %lu ;)%s", number, PLUGIN);
  if (kind->is_two_modules)
    snprintf(other, sizeof other, "{\"name\": \"other\", \"data\": {\"ptr\": %" PRIuPTR ", \"len\": %zu}}, ",
             (uintptr_t)OTHER, sizeof OTHER - 1);
  size = (ExtismSize)snprintf(
      text, sizeof text, "{\"wasm\": [%s{\"data\": {\"ptr\": %" PRIuPTR ", \"len\": %zu}}], \"timeout_ms\": %" PRIu64 "}",
      other, (uintptr_t)code, strlen(code), kind->timeout);
  if (place)
    *place = kind->fuel ? extism_compiled_plugin_new_with_fuel_limit(data, size, given, 1, true, kind->fuel, &error)
                        : extism_compiled_plugin_new(data, size, given, 1, true, &error);
  else
    plugin = kind->fuel ? extism_plugin_new_with_fuel_limit(data, size, given, 1, true, kind->fuel, &error)
                        : extism_plugin_new(data, size, given, 1, true, &error);
  /* A short time may be up before the plugin is made. */
  if (error && !place && kind->timeout == SHORT && strstr(error, "timeout"))
    extism_plugin_new_error_free(error);
  else if (error)
    fprintf(stderr, "%s\n", error), abort();
  extism_function_free(function);
  return plugin;
}

/* Of an empty slot makes one with a plugin, and the other way round. */
static void change(struct slot *slot, uint64_t *random) {
  if (slot->plugin) {
    extism_plugin_free(slot->plugin);
    slot->plugin = NULL;
    return;
  }
  slot->kind = (int)below(random, KINDS);
  if (below(random, 50) == 0) {
    slot->plugin = make(&kinds[slot->kind], 1 + below(random, UINT32_MAX), NULL);
    atomic_fetch_add(&n_compiled, 1);
  } else if (below(random, 4) == 0) {
    slot->plugin = make(&kinds[slot->kind], 0, NULL);
  } else {
    struct compiled *source = &compiled[slot->kind];
    CHECK(pthread_rwlock_rdlock(&source->lock) == 0);
    slot->plugin = extism_plugin_new_from_compiled(source->plugin, NULL);
    CHECK(slot->plugin || kinds[slot->kind].timeout == SHORT);
    CHECK(pthread_rwlock_unlock(&source->lock) == 0);
  }
  if (!slot->plugin) return;
  atomic_store(&slot->handle, (uintptr_t)extism_plugin_cancel_handle(slot->plugin));
  atomic_fetch_add(&n_made, 1);
}

static void compile_again(int kind) {
  if (pthread_rwlock_trywrlock(&compiled[kind].lock)) return;
  extism_compiled_plugin_free(compiled[kind].plugin);
  make(&kinds[kind], 0, &compiled[kind].plugin);
  CHECK(pthread_rwlock_unlock(&compiled[kind].lock) == 0);
}

/* Calls the slot's plugin, and looks at how that ends. Others may call it, too, unless it is this thread's alone. */
static void call_plugin(struct slot *slot, struct call *call, bool is_alone) {
  enum function { ECHO, WORK, FAIL, TRAP, SPIN, SLEEP };
  static const char *const names[] = {"echo", "work", "fail", "trap", "spin", "sleep"};
  static const int codes[] = {0, 42, 3, 134};
  bool is_short = kinds[slot->kind].timeout == SHORT;
  enum function function = (enum function)below(&call->random, 6);
  char input[9];
  unsigned long cancels_before = atomic_load(&slot->cancels_ended);
  const char *error;
  double start = now(), took;
  bool was_cancelled;
  int32_t code;

  snprintf(input, sizeof input, "%08x", (unsigned)below(&call->random, UINT32_MAX));
  call->cancels_itself = below(&call->random, 4) == 0;
  atomic_store(&call->slot, slot);
  atomic_store(&call->name, names[function]);
  atomic_store(&call->since, start);
  atomic_store(&call->is_endless, function >= SPIN && !is_short);
  atomic_store(&call->state, (atomic_load(&call->state) / PHASES + 1) * PHASES + WAITS);
  code = extism_plugin_call_with_host_context(slot->plugin, names[function], (const uint8_t *)input, 8, call);
  atomic_store(&call->state, atomic_load(&call->state) / PHASES * PHASES + OVER);
  took = now() - start;
  was_cancelled = atomic_load(&slot->cancels_begun) > cancels_before;
  atomic_fetch_add(&n_calls, 1);

  error = is_alone ? extism_plugin_error(slot->plugin) : NULL;
  if (code == 134 && (function != TRAP || (error && strcmp(error, "timeout") == 0))) {
    CHECK(!is_alone || (error && strcmp(error, "timeout") == 0));
    if (!was_cancelled && !(is_short && took >= SHORT / 1e3)) {
      fprintf(stderr, "%s was stopped after %f s by what wasn't its own timeout or cancel\n", names[function], took);
      abort();
    }
    atomic_fetch_add(was_cancelled ? &n_cancelled : &n_timeouts, 1);
    return;
  }
  if (function >= SPIN || code != codes[function]) {
    fprintf(stderr, "%s answered %d: %s\n", names[function], code, error ? error : "");
    abort();
  }
  if (!is_alone) return;
  switch (function) {
    case ECHO:
      CHECK(!error && extism_plugin_output_length(slot->plugin) == 8);
      CHECK(memcmp(extism_plugin_output_data(slot->plugin), input, 8) == 0);
      break;
    case FAIL: CHECK(strcmp(error, input) == 0); break;
    case TRAP: CHECK(strstr(error, "unreachable")); break;
    default: CHECK(!error);
  }
}

static void *use_all(void *argument) {
  struct call *call = argument;
  while (!atomic_load(&is_over)) {
    struct slot *slot = &slots[below(&call->random, SLOTS)];
    uint64_t what = below(&call->random, 100);
    if (what == 0) {
      compile_again((int)below(&call->random, KINDS));
    } else if (what < 8) {
      cancel(slot);
    } else if (what < 25) {
      end(&calls[below(&call->random, THREADS)]);
    } else if (what < 60) {
      if (pthread_rwlock_tryrdlock(&slot->lock)) continue;
      if (slot->plugin) {
        call_plugin(slot, call, false);
        extism_plugin_function_exists(slot->plugin, "echo");
        CHECK(extism_plugin_config(slot->plugin, (const uint8_t *)"{\"a\": \"b\"}", 10));
      }
      CHECK(pthread_rwlock_unlock(&slot->lock) == 0);
    } else {
      if (pthread_rwlock_trywrlock(&slot->lock)) continue;
      if (!slot->plugin || below(&call->random, 2) == 0) {
        change(slot, &call->random);
      } else {
        call_plugin(slot, call, true);
        if (below(&call->random, 4) == 0) CHECK(extism_plugin_reset(slot->plugin));
      }
      CHECK(pthread_rwlock_unlock(&slot->lock) == 0);
    }
  }
  return NULL;
}

struct usage {
  long pages, threads, mappings;
};

static struct usage usage(void) {
  struct usage usage = {0, 0, 0};
  FILE *statm = fopen("/proc/self/statm", "r"), *maps = fopen("/proc/self/maps", "r");
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  int c;
  CHECK(statm && maps && tasks && fscanf(statm, "%*d %ld", &usage.pages) == 1);
  while ((c = getc(maps)) != EOF) usage.mappings += c == '\n';
  while ((task = readdir(tasks))) usage.threads += task->d_name[0] != '.';
  fclose(statm), fclose(maps), closedir(tasks);
  return usage;
}

/* For so many seconds; then all is freed. This thread sees to it that no call waits for ever. */
static struct usage run(double seconds) {
  pthread_t threads[THREADS];
  struct usage after;
  double until = now() + seconds;
  int i;
  for (i = 0; i < KINDS; i++) make(&kinds[i], 0, &compiled[i].plugin);
  atomic_store(&is_over, false);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, use_all, &calls[i]) == 0);
  for (i = 0; i < THREADS; usleep(1000)) {
    int each;
    if (now() >= until) atomic_store(&is_over, true);
    for (each = 0; each < THREADS; each++) {
      struct call *call = &calls[each];
      unsigned long state = atomic_load(&call->state);
      double age = now() - atomic_load(&call->since);
      end(call);
      if (state % PHASES != OVER && age > PATIENCE && atomic_load(&call->state) == state) {
        fprintf(stderr, "%s, in phase %lu, hasn't ended in %.0f s: a cancel or a timeout was lost\n",
                atomic_load(&call->name), state % PHASES, age);
        abort();
      }
    }
    while (i < THREADS && atomic_load(&is_over) && pthread_tryjoin_np(threads[i], NULL) == 0) i++;
  }
  for (i = 0; i < SLOTS; i++) {
    extism_plugin_free(slots[i].plugin);
    slots[i].plugin = NULL;
  }
  for (i = 0; i < KINDS; i++) extism_compiled_plugin_free(compiled[i].plugin);
  CHECK(atomic_load(&functions) == 0);
  malloc_trim(0);
  after = usage();
  printf("%.0f s: %lu plugins made, %lu of new code; %lu calls, of which %lu timed out and %lu were cancelled, by %lu cancels; "
         "%.1f MiB resident, %ld threads, %ld mappings\n",
         seconds, atomic_load(&n_made), atomic_load(&n_compiled), atomic_load(&n_calls), atomic_load(&n_timeouts),
         atomic_load(&n_cancelled), atomic_load(&n_cancels), (double)after.pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20),
         after.threads, after.mappings);
  fflush(stdout);
  return after;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 5;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
  struct usage first, last;
  unsigned long number;
  int i;
  printf("seed %" PRIu64 "\n", seed);
  for (i = 0; i < SLOTS; i++) CHECK(pthread_rwlock_init(&slots[i].lock, NULL) == 0);
  for (i = 0; i < KINDS; i++) CHECK(pthread_rwlock_init(&compiled[i].lock, NULL) == 0);
  for (i = 0; i < THREADS; i++) {
    calls[i].state = OVER;
    calls[i].random = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15;
  }
  /* What the library keeps is full from the start, so nothing that grows later is right to. */
  for (i = 0; i < KINDS; i++)
    for (number = 1; number <= KEPT; number++) extism_plugin_free(make(&kinds[i], number, NULL));
  first = run(seconds / 4 + 1);
  last = run(seconds);
  CHECK(last.threads == first.threads);
  CHECK(last.mappings <= first.mappings + 100);
  CHECK((last.pages - first.pages) * sysconf(_SC_PAGESIZE) <= 16 << 20);
  CHECK(atomic_load(&n_timeouts) > 0 && atomic_load(&n_cancelled) > 0);
  return 0;
}
