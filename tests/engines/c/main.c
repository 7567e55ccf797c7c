/* Shows the kernel on an engine that C reaches: RUNNER KERNEL.wasm CONFORMANCE.json PLUGINS */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "kernel.h"

#define HELLO "Hello, World!"

static struct bytes kernel;
static const char *plugins;

struct bytes read_file(const char *name) {
    FILE *file = fopen(name, "rb");
    struct bytes bytes = { 0 };
    if (!file || fseek(file, 0, SEEK_END)) perror(name), exit(2);
    bytes.length = ftell(file);
    bytes.data = malloc(bytes.length + 1);
    rewind(file);
    if (!bytes.data || fread(bytes.data, 1, bytes.length, file) != bytes.length) perror(name), exit(2);
    fclose(file);
    return bytes;
}

static struct plugin *open_plugin(const char *name, struct plugin_options options) {
    char path[4096];
    const char *error;
    snprintf(path, sizeof path, "%s/%s.wasm", plugins, name);
    struct plugin *plugin = plugin_open(kernel, read_file(path), options, &error);
    if (!plugin) fprintf(stderr, "FAILED to load %s: %s\n", name, error);
    return plugin;
}

/* Does a call give that: an output if ok, else an error? */
static bool gives(struct plugin *p, const char *function, const char *input, bool ok, const char *expected) {
    struct bytes output;
    if (!p) return false;
    bool right = plugin_call(p, function, bytes_of(input), &output) == ok && bytes_same(output, bytes_of(expected));
    if (!right) fprintf(stderr, "%s gave %.*s\n", function, (int)output.length, output.data);
    free(output.data);
    return right;
}

static bool echoes(struct plugin *p, size_t size) {
    struct bytes input = { malloc(size + 1), size }, output;
    for (size_t i = 0; i < size; i++) input.data[i] = (uint8_t)(i * 31 + i / 251);
    bool right = p && plugin_call(p, "echo", input, &output);
    if (right) right = bytes_same(input, output), free(output.data);
    free(input.data);
    return right;
}

/* The embedder's functions. */

static const char *greet(struct plugin *p, uint64_t *slots) {
    struct bytes who = plugin_block(p, slots[0]);
    char greeting[64];
    snprintf(greeting, sizeof greeting, "Hello, %.*s!", (int)who.length, who.data);
    plugin_kernel(p, "free", slots[0], 0);
    slots[0] = plugin_alloc(p, bytes_of(greeting));
    return NULL;
}

static const char *add(struct plugin *p, uint64_t *slots) {
    double summand;
    memcpy(&summand, slots + 1, sizeof summand);
    (void)p, slots[0] = (uint32_t)(int32_t)floor((int32_t)slots[0] + summand);
    return NULL;
}

/* The result is where the argument was. */
static const char *echo_handle(struct plugin *p, uint64_t *slots) {
    (void)p, (void)slots;
    return NULL;
}

static const struct host_function FUNCTIONS[] = {
    { "extism:host/user", "greet", greet }, { "calculator", "add", add },
    { "extism:host/user", "echo_handle", echo_handle }, { 0 },
};

/* The checks of part 2. */

static bool check_echo(void) {
    static const size_t SIZES[] = { 0, 1, 7, 8, 65536, 1000003 };
    struct plugin *p = open_plugin("echo", (struct plugin_options){ 0 });
    for (int i = 0; i < 6; i++)
        if (!echoes(p, SIZES[i])) return fprintf(stderr, "%zu bytes came back changed\n", SIZES[i]), false;
    plugin_close(p);
    return true;
}

static bool check_count_vowels(void) {
    struct plugin *p = open_plugin("count_vowels", (struct plugin_options){ 0 });
    return gives(p, "count_vowels", HELLO, true, "{\"count\":3,\"total\":3,\"vowels\":\"aeiouAEIOU\"}")
        && gives(p, "count_vowels", HELLO, true, "{\"count\":3,\"total\":6,\"vowels\":\"aeiouAEIOU\"}");
}

static bool check_count_vowels_with_config(void) {
    static const char *const CONFIG[][2] = { { "vowels", "o" }, { 0 } };
    struct plugin *p = open_plugin("count_vowels", (struct plugin_options){ .config = CONFIG });
    return gives(p, "count_vowels", HELLO, true, "{\"count\":2,\"total\":2,\"vowels\":\"o\"}");
}

static bool check_fail(void) {
    struct plugin *p = open_plugin("fail", (struct plugin_options){ 0 });
    return gives(p, "error_text", "no such thing", false, "no such thing") && gives(p, "succeed", "", true, "");
}

static bool check_vars(void) {
    struct plugin *p = open_plugin("vars", (struct plugin_options){ 0 });
    return gives(p, "set", "kept", true, "") && gives(p, "get", "", true, "kept")
        && gives(p, "delete", "", true, "") && gives(p, "get", "", true, "");
}

static bool check_greet(void) {
    struct plugin *p = open_plugin("host-functions", (struct plugin_options){ .functions = FUNCTIONS });
    return gives(p, "greet", "Benjamin", true, "Hello, Benjamin!");
}

static bool check_add(void) {
    struct plugin *p = open_plugin("host-functions", (struct plugin_options){ .functions = FUNCTIONS });
    return gives(p, "add", "", true, "\x2a");
}

static bool check_handle_echo(void) {
    struct plugin *p = open_plugin("handle_echo", (struct plugin_options){ .functions = FUNCTIONS });
    return gives(p, "handle_echo", HELLO, true, HELLO);
}

static void remember(void *user, int level, struct bytes text) {
    char *messages = user;
    sprintf(messages + strlen(messages), "%d%.*s ", level, (int)text.length, text.data);
}

static bool check_log(void) {
    char messages[64] = "";
    struct plugin_options options = { .log = remember, .user = messages, .log_level = 2 };
    struct plugin *p = open_plugin("log", options);
    return gives(p, "level", "", true, "2") && gives(p, "log_each_level", "", true, "0")
        && !strcmp(messages, "2i 3w 4e ");
}

static bool check_initialised(void) {
    struct plugin *haskell = open_plugin("haskell", (struct plugin_options){ 0 });
    struct plugin *constructors = open_plugin("constructors", (struct plugin_options){ 0 });
    return gives(haskell, "initialised", "", true, "") && gives(haskell, "initialised", "", true, "")
        && gives(constructors, "initialised", "", true, "");
}

static const struct { const char *name; bool (*check)(void); } CHECKS[] = {
    { "echo", check_echo }, { "count_vowels", check_count_vowels }, { "count_vowels with config", check_count_vowels_with_config },
    { "fail", check_fail }, { "vars", check_vars }, { "greet", check_greet }, { "add", check_add },
    { "handle_echo", check_handle_echo }, { "log", check_log }, { "initialised", check_initialised },
};
enum { CHECK_COUNT = sizeof CHECKS / sizeof *CHECKS };

/* The kernel where its memory may have four pages. */
static bool four_pages(void) {
    struct plugin *p = open_plugin("echo", (struct plugin_options){ .kernel_pages = 4 });
    return echoes(p, 65536) && plugin_kernel(p, "alloc", 1048576, 0) == 0;
}

/* Does a check in a process of its own, since a kernel of somebody else's may do anything. */
static bool passes(const char *name, bool (*check)(void)) {
    int status;
    pid_t process = fork();
    if (process == 0) {
        alarm(SECONDS);
        _exit(check() ? 0 : 1);
    }
    bool ok = process > 0 && waitpid(process, &status, 0) > 0 && status == 0;
    if (!ok) fprintf(stderr, "FAILED %s\n", name);
    return ok;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of 200 calls with 4,096 bytes; only if check_echo passes. */
static double call_microseconds(void) {
    struct plugin *p = open_plugin("echo", (struct plugin_options){ 0 });
    uint8_t zeros[4096] = { 0 };
    double times[200];
    for (int i = -20; i < 200; i++) {
        struct timespec start, end;
        struct bytes output;
        clock_gettime(CLOCK_MONOTONIC, &start);
        plugin_call(p, "echo", (struct bytes){ zeros, sizeof zeros }, &output);
        clock_gettime(CLOCK_MONOTONIC, &end);
        free(output.data);
        if (i >= 0) times[i] = (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
    }
    qsort(times, 200, sizeof *times, by_size);
    return times[100];
}

/* The trace: 12,000 calls of a fresh kernel, whose hash is the same on every engine. */

static uint32_t next(void) {
    static uint32_t state = 2463534242;
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

static uint64_t fnv1a(uint64_t hash, const void *data, size_t length) {
    for (const uint8_t *byte = data, *end = byte + length; byte < end; byte++) hash = (hash ^ *byte) * 1099511628211u;
    return hash;
}

static bool trace_failed;

static uint64_t call(struct kernel *k, const char *name, int count, uint64_t a, uint64_t b) {
    uint64_t result;
    const char *error = trace_failed ? NULL : kernel_call(k, name, count, (uint64_t[]){ a, b }, &result);
    if (error) fprintf(stderr, "FAILED trace, %s: %s\n", name, error), trace_failed = true;
    return trace_failed ? 0 : result;
}

static uint64_t trace(void) {
    struct kernel *k = kernel_open(kernel, -1);
    if (!k) return fprintf(stderr, "FAILED trace: the kernel does not load\n"), trace_failed = true, 0;
    uint64_t handles[64] = { 0 }, hash = 14695981039346656037u;
    for (int step = 0; step < 12000; step++) {
        uint64_t r = next(), a = next(), *h = handles + (r >> 8) % 64, result = 0;
        switch (r % 16) {
        case 0: case 1: case 2: case 3: result = *h = call(k, "alloc", 1, a % 600, 0); break;
        case 4: result = *h = call(k, "alloc", 1, a % 20000, 0); break;
        case 5: case 6: case 7: call(k, "free", 1, *h, 0); break;
        case 8: result = call(k, "length", 1, *h, 0); break;
        case 9: call(k, "store_u8", 2, *h + a % 64, a); break;
        case 10: call(k, "store_u64", 2, *h + a % 512, (a << 32) + r); break;
        case 11: result = call(k, "load_u8", 1, *h + a % 64, 0); break;
        case 12: result = call(k, "load_u64", 1, a, 0); break;
        case 13: call(k, "output_set", 2, *h, a % 64), result = call(k, "output_length", 0, 0, 0); break;
        case 14: call(k, "input_set", 2, *h, a % 700), result = call(k, "input_load_u64", 1, r % 700, 0); break;
        case 15:
            call(k, "error_set", 1, *h, 0);
            if (a % 256 == 0) call(k, "reset", 0, 0, 0);
            result = call(k, "error_get", 0, 0, 0);
        }
        hash = fnv1a(hash, &result, sizeof result);
    }
    struct bytes memory = kernel_memory(k);
    return fnv1a(hash, memory.data, memory.length);
}

int main(int argc, char **argv) {
    int cases, failed, plugins_failed = 0;
    char call_us[32] = "null", hash[32] = "null"; /* what can't be found out */
    if (argc != 4) return 2;
    kernel = read_file(argv[1]);
    plugins = argv[3];
#ifdef KERNEL_ARRAY /* `run` includes the header beside the file, if there is one: for hosts that can't read files */
    struct bytes header = { (uint8_t *)KERNEL_ARRAY, sizeof KERNEL_ARRAY };
    if (!bytes_same(kernel, header)) return fprintf(stderr, "FAILED: %s is not what the header has\n", argv[1]), 1;
    kernel = header;
#endif
    if (!conformance(kernel, argv[2], &cases, &failed)) return fprintf(stderr, "FAILED: no cases\n"), 1;
    for (int i = 0; i < CHECK_COUNT; i++) plugins_failed += !passes(CHECKS[i].name, CHECKS[i].check);
    bool limited = !engine_limits || passes("four pages", four_pages);
    bool echoed = passes("calls to measure", check_echo);
    if (echoed) snprintf(call_us, sizeof call_us, "%.1f", call_microseconds());
    uint64_t traced = trace();
    if (!trace_failed) snprintf(hash, sizeof hash, "\"%016" PRIx64 "\"", traced);
    printf("{\"engine\":\"%s\",\"version\":\"%s\",\"cases\":%d,\"failed\":%d,\"plugins\":%d,\"plugins_failed\":%d,"
           "\"call_us\":%s,\"hash\":%s,\"four_pages\":%s,\"context\":null}\n", /* no externref */
           engine_name, engine_version, cases, failed, CHECK_COUNT, plugins_failed, call_us, hash,
           !engine_limits ? "null" : limited ? "true" : "false");
    return failed || plugins_failed || !limited || !echoed || trace_failed;
}
