/* Replays conformance.json. Each case has a process of its own, which the alarm ends if it runs endlessly. */
#include "kernel.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPARE_PAGES 1024 /* for cases that don't say */
#define MAX_NAMES 64

/* A case under way. */
struct replay {
    struct bytes wasm;
    struct kernel *kernel;
    int names;
    struct { const char *name; uint64_t value; } saved[MAX_NAMES];
};

static void fail(const cJSON *step, const char *what) {
    char *json = cJSON_PrintUnformatted(step);
    fprintf(stderr, "FAILED at %s: %s\n", json, what);
    exit(1);
}

static const char *field(const cJSON *step, const char *key) { return cJSON_GetStringValue(cJSON_GetObjectItem(step, key)); }

static uint64_t decimal(const char *digits) { return strtoull(digits, NULL, 10); }

static uint64_t size(struct replay *r) { return kernel_memory(r->kernel).length; }

static uint64_t number(struct replay *r, const char *operand) {
    if (*operand != '$') return decimal(operand);
    size_t length = strcspn(++operand, "+-");
    const char *delta = operand + length;
    uint64_t value = 0;
    int i = 0;
    if (length == 3 && !strncmp(operand, "end", 3)) value = size(r);
    else {
        while (i < r->names && (strlen(r->saved[i].name) != length || strncmp(r->saved[i].name, operand, length))) i++;
        if (i == r->names) abort();
        value = r->saved[i].value;
    }
    return *delta == '+' ? value + decimal(delta + 1) : *delta == '-' ? value - decimal(delta + 1) : value;
}

static void save(struct replay *r, const char *name, uint64_t value) {
    int i = 0;
    while (i < r->names && strcmp(r->saved[i].name, name)) i++;
    if (i == r->names && r->names++ == MAX_NAMES) abort();
    r->saved[i].name = name, r->saved[i].value = value;
}

static bool inside(struct replay *r, uint64_t at, uint64_t length) { return at <= size(r) && length <= size(r) - at; }

static uint8_t *view(struct replay *r, const cJSON *step, const char *operand, uint64_t length) {
    uint64_t at = number(r, operand);
    if (!inside(r, at, length)) fail(step, "it is not in the memory");
    return kernel_memory(r->kernel).data + at;
}

/* What a step reads or writes: these bytes, or one byte so many times. */
static struct bytes content(struct replay *r, const cJSON *step) {
    const char *hex = field(step, "hex");
    uint64_t length = hex ? strlen(hex) / 2 : number(r, field(step, "length"));
    if (length > size(r)) fail(step, "it is not in the memory");
    struct bytes bytes = { malloc(length + 1), length };
    if (!bytes.data) abort();
    if (!hex) memset(bytes.data, decimal(field(step, "byte")), length);
    else for (size_t i = 0; i < length; i++) sscanf(hex + 2 * i, "%2hhx", bytes.data + i);
    return bytes;
}

static uint32_t leb(const uint8_t **at) {
    uint32_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint32_t)(**at & 127) << shift;
        if (*(*at)++ < 128) return value;
    }
}

static bool listed(const cJSON *list, const char *name, size_t length) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
        if (strlen(item->valuestring) == length && !memcmp(item->valuestring, name, length)) return true;
    return false;
}

/* Are these the module's exports? Its section 7 is a vector of (name, kind, index). It must have no section 2, of
   imports. */
static bool exports_are(struct bytes wasm, const cJSON *names, const cJSON *optional) {
    int found = 0;
    for (const uint8_t *at = wasm.data + 8, *next; at < wasm.data + wasm.length; at = next) {
        int id = *at++;
        uint32_t length = leb(&at);
        next = at + length;
        if (id == 2) return false;
        if (id != 7) continue;
        for (uint32_t count = leb(&at); count > 0; count--) {
            length = leb(&at);
            const char *name = (const char *)at;
            at += length + 1;
            leb(&at);
            if (listed(optional, name, length)) continue;
            if (!listed(names, name, length)) return false;
            found++;
        }
    }
    return found == cJSON_GetArraySize(names);
}

static bool holds(struct replay *r, const cJSON *step, uint64_t x) {
    const char *y;
    const cJSON *any = cJSON_GetObjectItem(step, "result_one_of"), *one;
    if ((y = field(step, "result")) && x != number(r, y)) return false;
    if ((y = field(step, "result_not")) && x == number(r, y)) return false;
    if ((y = field(step, "result_below")) && x >= number(r, y)) return false;
    if ((y = field(step, "result_at_least")) && x < number(r, y)) return false;
    if ((y = field(step, "result_multiple_of")) && x % number(r, y)) return false;
    cJSON_ArrayForEach(one, any) if (x == number(r, one->valuestring)) return true;
    return !any;
}

static uint64_t call(struct replay *r, const cJSON *step, const char *name) {
    uint64_t args[MAX_ARGS], result;
    int count = 0;
    const cJSON *arg;
    cJSON_ArrayForEach(arg, cJSON_GetObjectItem(step, "args")) {
        if (count == MAX_ARGS) abort();
        args[count++] = number(r, arg->valuestring);
    }
    const char *trap = kernel_call(r->kernel, name, count, args, &result);
    if (trap) fail(step, trap);
    return result;
}

static void run(struct replay *r, const cJSON *steps);

static void run_step(struct replay *r, const cJSON *step) {
    const char *operand;
    uint64_t result = 0;
    bool ok = true;
    if ((operand = field(step, "repeat"))) {
        for (uint64_t n = decimal(operand); n > 0; n--) run(r, cJSON_GetObjectItem(step, "steps"));
    } else if ((operand = field(step, "call"))) {
        result = call(r, step, operand);
    } else if ((operand = field(step, "peek"))) {
        memcpy(&result, view(r, step, operand, 8), 8);
    } else if ((operand = field(step, "poke"))) {
        uint64_t value = number(r, field(step, "value"));
        memcpy(view(r, step, operand, 8), &value, 8);
    } else if ((operand = field(step, "value"))) {
        result = number(r, operand);
    } else if ((operand = field(step, "read"))) {
        struct bytes bytes = content(r, step);
        ok = !memcmp(view(r, step, operand, bytes.length), bytes.data, bytes.length);
        free(bytes.data);
    } else if ((operand = field(step, "write"))) {
        struct bytes bytes = content(r, step);
        memcpy(view(r, step, operand, bytes.length), bytes.data, bytes.length);
        free(bytes.data);
    } else if ((operand = field(step, "pages"))) {
        ok = size(r) == decimal(operand) * PAGE;
    } else if ((operand = field(step, "grow"))) {
        ok = kernel_grow(r->kernel, decimal(operand));
    } else if ((operand = field(step, "inside"))) {
        uint64_t length = number(r, field(step, "length"));
        ok = length == 0 || inside(r, number(r, operand), length);
    } else if (cJSON_HasObjectItem(step, "exports")) {
        ok = exports_are(r->wasm, cJSON_GetObjectItem(step, "exports"), cJSON_GetObjectItem(step, "optional"));
    } else if (!field(step, "context")) { /* these engines have no externref, so there is no such global, and nothing to check */
        fail(step, "a step of an unknown kind");
    }
    char gave[40];
    snprintf(gave, sizeof gave, "gave %" PRIu64, result);
    if (!ok || !holds(r, step, result)) fail(step, gave);
    if ((operand = field(step, "save"))) save(r, operand, result);
}

static void run(struct replay *r, const cJSON *steps) {
    const cJSON *step;
    cJSON_ArrayForEach(step, steps) run_step(r, step);
}

static void replay(struct bytes wasm, const cJSON *test) {
    const char *spare = field(test, "spare");
    struct replay r = { .wasm = wasm };
    r.kernel = kernel_open(wasm, spare ? (long)decimal(spare) : SPARE_PAGES);
    if (!r.kernel) exit(1);
    save(&r, "start", size(&r));
    run(&r, cJSON_GetObjectItem(test, "steps"));
}

bool conformance(struct bytes kernel, const char *file, int *cases, int *failed) {
    struct bytes text = read_file(file);
    cJSON *contract = cJSON_ParseWithLength((char *)text.data, text.length);
    const cJSON *list = cJSON_GetObjectItem(contract, "cases"), *test;
    *cases = cJSON_GetArraySize(list), *failed = 0;
    cJSON_ArrayForEach(test, list) {
        int status;
        pid_t process = fork();
        if (process == 0) {
            alarm(SECONDS);
            replay(kernel, test);
            _exit(0);
        }
        if (process < 0 || waitpid(process, &status, 0) < 0) return false;
        if (status == 0) continue;
        ++*failed;
        fprintf(stderr, "FAILED section %s, %s: %s (%s)\n", field(test, "section"), field(test, "name"),
                WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "see above", field(test, "reason"));
    }
    return *cases > 0;
}
