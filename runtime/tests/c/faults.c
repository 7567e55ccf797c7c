/*
 * What can happen to a host process: it forks, gets signals, has handlers of its own, its disk is full, its home is none. Each fault
 * has a process of its own, as the library remembers much for as long as a process lives.
 *
 *   faults           all of them
 *   faults NAME      this one, in this process
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "extism.h"

static const char PLUGIN[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input_offset (result i64)))"
    "  (import \"extism:host/env\" \"input_length\" (func $input_length (result i64)))"
    "  (import \"extism:host/env\" \"length\" (func $length (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"alloc\" (func $alloc (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output_set (param i64 i64)))"
    "  (import \"extism:host/env\" \"log_error\" (func $log_error (param i64)))"
    "  (import \"extism:host/env\" \"http_request\" (func $http_request (param i64 i64) (result i64)))"
    "  (import \"wasi_snapshot_preview1\" \"poll_oneoff\" (func $poll (param i32 i32 i32 i32) (result i32)))"
    "  (import \"wasi_snapshot_preview1\" \"fd_write\" (func $fd_write (param i32 i32 i32 i32) (result i32)))"
    "  (memory (export \"memory\") 1)"
    "  (data (i32.const 64) \"\\50\\00\\00\\00\\08\\00\\00\\00\")"
    "  (data (i32.const 80) \"printed\\0a\")"
    "  (func $output (param $block i64) (call $output_set (local.get $block) (call $length (local.get $block))))"
    "  (func (export \"echo\") (call $output_set (call $input_offset) (call $input_length)))"
    "  (func (export \"work\") (result i32) (local $i i32)"
    "    (loop $again"
    "      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))"
    "    (i32.const 42))"
    "  (func (export \"log\") (call $log_error (call $input_offset)))"
    "  (func (export \"print\") (result i32) (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 100)))"
    "  (func (export \"get\") (call $output (call $http_request (call $input_offset) (i64.const 0))))"
    "  (func (export \"post\")"
    "    (call $output (call $http_request (call $input_offset) (call $alloc (i64.const 8000000)))))"
    /* Traps: by an instruction, by a page that isn't there, by the end of the stack. */
    "  (func (export \"unreachable\") unreachable)"
    "  (func (export \"outside\") (drop (i32.load (i32.const -8))))"
    "  (func $deep (export \"deep\") (call $deep) (call $deep))"
    "  (func (export \"spin\") (loop $again (br $again)))"
    /* Waits for a clock, for 20 ms. */
    "  (func (export \"sleep\")"
    "    (i32.store offset=16 (i32.const 0) (i32.const 1))"
    "    (i64.store offset=24 (i32.const 0) (i64.const 20000000))"
    "    (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))))";

static size_t manifest(char *text, size_t size, int timeout) {
  int length = snprintf(text, size,
                        "{\"wasm\": [{\"data\": {\"ptr\": %llu, \"len\": %llu}}], \"allowed_hosts\": [\"127.0.0.1\"], \"timeout_ms\": %d}",
                        (unsigned long long)(uintptr_t)PLUGIN, (unsigned long long)sizeof PLUGIN - 1, timeout);
  CHECK(length > 0 && (size_t)length < size);
  return (size_t)length;
}

static ExtismPlugin *plugin_new(int timeout) {
  char text[200], *error = NULL;
  size_t size = manifest(text, sizeof text, timeout);
  ExtismPlugin *plugin = extism_plugin_new((const uint8_t *)text, size, NULL, 0, true, &error);
  if (error) fprintf(stderr, "%s\n", error);
  CHECK(plugin);
  return plugin;
}

static int call(ExtismPlugin *plugin, const char *name, const char *input) {
  return extism_plugin_call(plugin, name, (const uint8_t *)input, strlen(input));
}

static void fails(ExtismPlugin *plugin, const char *name, const char *text) {
  CHECK(call(plugin, name, "") == 134);
  if (!strstr(extism_plugin_error(plugin), text)) fprintf(stderr, "%s: %s\n", name, extism_plugin_error(plugin));
  CHECK(strstr(extism_plugin_error(plugin), text));
}

/* All that a plugin with a timeout can do; it lasts some seconds at most. */
static void use(ExtismPlugin *plugin) {
  CHECK(call(plugin, "echo", "some input") == 0);
  CHECK(extism_plugin_output_length(plugin) == 10 && memcmp(extism_plugin_output_data(plugin), "some input", 10) == 0);
  CHECK(call(plugin, "work", "") == 42);
  CHECK(call(plugin, "sleep", "") == 0);
  fails(plugin, "unreachable", "unreachable");
  fails(plugin, "outside", "out of bounds memory access");
  fails(plugin, "deep", "call stack exhausted");
  fails(plugin, "spin", "timeout");
  CHECK(call(plugin, "echo", "") == 0);
}

static void sleep_ms(long ms) {
  struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&wait, &wait))
    ;
}

/* Whether a child process ended with 0. */
static void ends_well(pid_t child) {
  int status;
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) fprintf(stderr, "the process got signal %d\n", WTERMSIG(status));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A server, which answers one request after the other, or closes the connection in the middle of it. */
struct server {
  int socket, port;
  bool hangs_up;
};

static void *serve(void *argument) {
  static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere";
  const struct server *server = argument;
  for (;;) {
    char buffer[4096];
    int connection = accept(server->socket, NULL, NULL);
    size_t sent;
    if (connection < 0) continue;
    CHECK(read(connection, buffer, sizeof buffer) > 0);
    /* Byte by byte, so that there is much to be interrupted. */
    for (sent = 0; !server->hangs_up && sent < sizeof answer - 1; sent++) {
      sleep_ms(1);
      if (send(connection, answer + sent, 1, MSG_NOSIGNAL) != 1) break;
    }
    close(connection);
  }
  return NULL;
}

/* A socket of which the system takes connections, and its port. */
static int listening(int *port) {
  struct sockaddr_in address = {0};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 10) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
  *port = ntohs(address.sin_port);
  return listener;
}

static void server_start(struct server *server, bool hangs_up) {
  pthread_t thread;
  server->hangs_up = hangs_up;
  server->socket = listening(&server->port);
  CHECK(pthread_create(&thread, NULL, serve, server) == 0 && pthread_detach(thread) == 0);
}

static void request(const struct server *server, char *text, size_t size) {
  snprintf(text, size, "{\"url\": \"http://127.0.0.1:%d/\", \"method\": \"POST\"}", server->port);
}

/* ---- fork ---- */

static void *cancel_soon(void *handle) {
  sleep_ms(50);
  CHECK(extism_plugin_cancel(handle));
  return NULL;
}

static void is_cancelled(ExtismPlugin *plugin) {
  pthread_t thread;
  void *handle = (void *)(uintptr_t)extism_plugin_cancel_handle(plugin);
  CHECK(pthread_create(&thread, NULL, cancel_soon, handle) == 0);
  fails(plugin, "spin", "timeout");
  CHECK(pthread_join(thread, NULL) == 0);
}

static void *use_in_thread(void *plugin) {
  use(plugin);
  return NULL;
}

/*
 * D21: a process that forks between calls. Its children, and theirs, use the plugins that they have inherited and make others, of bytes
 * and of compiled plugins that they have inherited, in several threads; all limits hold; nothing of it reaches the parent.
 */
static void forks(void) {
  char text[200], get[100];
  size_t size = manifest(text, sizeof text, 200);
  ExtismPlugin *inherited = plugin_new(200), *patient = plugin_new(3600 * 1000);
  ExtismCompiledPlugin *compiled = extism_compiled_plugin_new((const uint8_t *)text, size, NULL, 0, true, NULL);
  struct server server;
  int depth = 0, i;
  pid_t child;
  server_start(&server, false);
  request(&server, get, sizeof get);
  use(inherited);
  is_cancelled(patient);
  CHECK(call(patient, "get", get) == 0);
  do {
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      ExtismPlugin *fresh = plugin_new(200), *made = extism_plugin_new_from_compiled(compiled, NULL);
      pthread_t threads[3];
      depth++;
      CHECK(made);
      for (i = 0; i < 3; i++) {
        ExtismPlugin *plugins[] = {inherited, fresh, made};
        CHECK(pthread_create(&threads[i], NULL, use_in_thread, plugins[i]) == 0);
      }
      for (i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
      is_cancelled(patient);
      CHECK(call(patient, "get", get) == 0);
      CHECK(extism_plugin_config(inherited, (const uint8_t *)"{\"a\": \"b\"}", 10) && extism_plugin_reset(inherited));
      extism_plugin_free(fresh);
      extism_plugin_free(made);
      if (depth == 2) {
        extism_plugin_free(inherited);
        extism_plugin_free(patient);
        extism_compiled_plugin_free(compiled);
        exit(0);
      }
    }
  } while (child == 0);
  ends_well(child);
  use(inherited);
  is_cancelled(patient);
  extism_plugin_free(inherited);
  extism_plugin_free(patient);
  extism_compiled_plugin_free(compiled);
}

static int lines;

static void count_line(const char *data, ExtismSize size) {
  CHECK(data[size - 1] == '\n');
  lines++;
}

/* Lines that waited are in both processes; from then on, each has its own. */
static void forks_with_log_lines(void) {
  ExtismPlugin *plugin = plugin_new(200);
  pid_t child;
  CHECK(extism_log_custom("error"));
  CHECK(call(plugin, "log", "before") == 0);
  child = fork();
  CHECK(child >= 0);
  CHECK(call(plugin, "log", "after") == 0);
  extism_log_drain(count_line);
  CHECK(lines == 2 && !extism_log_custom("error"));
  extism_plugin_free(plugin);
  if (child) ends_well(child);
}

/* ---- signals ---- */

static atomic_long alarms;

static void on_alarm(int signal) {
  (void)signal;
  atomic_fetch_add(&alarms, 1);
}

/* The timer's signals come every millisecond, to whichever thread the system likes. */
static void use_under(int signal, int timer, int flags) {
  struct sigaction action = {0};
  struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  struct server server;
  char get[100];
  ExtismPlugin *plugin = plugin_new(500);
  long before = atomic_load(&alarms);
  int i;
  server_start(&server, false);
  request(&server, get, sizeof get);
  action.sa_handler = on_alarm;
  action.sa_flags = flags;
  CHECK(sigaction(signal, &action, NULL) == 0 && setitimer(timer, &every, NULL) == 0);
  use(plugin);
  for (i = 0; i < 20; i++) CHECK(call(plugin, "work", "") == 42);
  for (i = 0; i < 3; i++) {
    if (call(plugin, "get", get)) fprintf(stderr, "%s\n", extism_plugin_error(plugin));
    CHECK(extism_plugin_output_length(plugin) == 4);
  }
  is_cancelled(plugin);
  extism_plugin_free(plugin);
  use(plugin = plugin_new(500));
  extism_plugin_free(plugin);
  CHECK(setitimer(timer, &never, NULL) == 0);
  CHECK(atomic_load(&alarms) > before + 10);
}

static void signals(void) {
  static const int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_RESTART | SA_ONSTACK};
  int i;
  for (i = 0; i < 4; i++) {
    use_under(SIGALRM, ITIMER_REAL, flags[i]);
    use_under(SIGPROF, ITIMER_PROF, flags[i]);
  }
}

/* All of them to other threads than this one: those of the library itself, which wait and speak HTTP. */
static void signals_to_other_threads(void) {
  sigset_t alarm;
  ExtismPlugin *plugin = plugin_new(10);
  /* Its timer's thread is there before the signal is blocked, which threads inherit. */
  fails(plugin, "spin", "timeout");
  extism_plugin_free(plugin);
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
  use_under(SIGALRM, ITIMER_REAL, 0);
}

static sigjmp_buf back;
static volatile sig_atomic_t own_faults;
static struct sigaction previous;
static volatile int *volatile nowhere;

static void on_own_fault(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info, (void)context;
  own_faults++;
  siglongjmp(back, 1);
}

/* What a handler has to do that comes later than the library's: pass on what isn't its own. */
static void on_fault(int signal, siginfo_t *info, void *context) {
  if (info->si_addr == (void *)nowhere) on_own_fault(signal, info, context);
  previous.sa_sigaction(signal, info, context);
}

static void fault_myself(void) {
  int before = own_faults;
  if (sigsetjmp(back, 1) == 0) *nowhere = 1;
  CHECK(own_faults == before + 1);
}

static void handle_faults(void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action = {0};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  CHECK(sigaction(SIGSEGV, &action, &previous) == 0);
}

/* A host with a handler for its own faults, from before its first plugin: it gets these, and none of the plugins'. */
static void a_fault_handler_from_before(void) {
  ExtismPlugin *plugin;
  handle_faults(on_own_fault);
  fault_myself();
  plugin = plugin_new(200);
  use(plugin);
  fault_myself();
  use(plugin);
  CHECK(own_faults == 2);
  extism_plugin_free(plugin);
}

/* One that is installed later, and passes on what isn't its own. */
static void a_fault_handler_from_after(void) {
  ExtismPlugin *plugin = plugin_new(200);
  use(plugin);
  handle_faults(on_fault);
  CHECK(previous.sa_flags & SA_SIGINFO);
  use(plugin);
  fault_myself();
  use(plugin);
  CHECK(own_faults == 1);
  extism_plugin_free(plugin);
}

/* A host that faults without a handler dies of it, as without the library. */
static void a_fault_without_a_handler(void) {
  pid_t child;
  int status;
  use(plugin_new(200));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    *nowhere = 1;
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A server that hangs up while it is being sent something: by default, such a signal kills C programs. */
static void sigpipe(void) {
  char text[100];
  struct server server;
  ExtismPlugin *plugin = plugin_new(20000);
  int i;
  signal(SIGPIPE, SIG_DFL);
  server_start(&server, true);
  request(&server, text, sizeof text);
  for (i = 0; i < 10; i++) CHECK(call(plugin, "post", text) == -1);
  CHECK(call(plugin, "echo", "") == 0);
  extism_plugin_free(plugin);
}

/* ---- a full disk ---- */

static void full_stdout_and_stderr(void) {
  int full = open("/dev/full", O_WRONLY);
  CHECK(full >= 0 && dup2(full, 1) == 1 && dup2(full, 2) == 2);
}

static void log_once(const char *file) {
  ExtismPlugin *plugin;
  int i;
  CHECK(extism_log_file(file, "trace"));
  plugin = plugin_new(200);
  for (i = 0; i < 100; i++) CHECK(call(plugin, "log", "a line") == 0);
  use(plugin);
  extism_plugin_free(plugin);
}

static void a_log_on_a_full_disk(void) { log_once("/dev/full"); }

static void a_log_on_full_stdout(void) {
  full_stdout_and_stderr();
  log_once("stdout");
}

static void a_log_on_full_stderr(void) {
  full_stdout_and_stderr();
  log_once(NULL);
}

/* What plugins print is theirs to lose, and they are told. */
static void printing_to_full_stdout(void) {
  ExtismPlugin *plugin;
  full_stdout_and_stderr();
  setenv("EXTISM_ENABLE_WASI_OUTPUT", "1", 1);
  plugin = plugin_new(200);
  CHECK(call(plugin, "print", "") != 0);
  use(plugin);
  extism_plugin_free(plugin);
}

static void dumps_on_a_full_disk(void) {
  ExtismPlugin *plugin;
  setenv("EXTISM_MEMDUMP", "/dev/full", 1);
  setenv("EXTISM_COREDUMP", "/dev/full", 1);
  plugin = plugin_new(200);
  use(plugin);
  extism_plugin_free(plugin);
}

static char folder[] = "/tmp/extism-faults-XXXXXX";

static int removes(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind, (void)where;
  return remove(path);
}

static void remove_folder(void) { nftw(folder, removes, 20, FTW_DEPTH | FTW_PHYS); }

static void folder_new(void) {
  CHECK(mkdtemp(folder));
  atexit(remove_folder);
}

/* Wasmtime's own default, below the home folder. */
static void use_default_cache(const char *home) {
  unsetenv("EXTISM_CACHE_CONFIG");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("XDG_CONFIG_HOME");
  setenv("HOME", home, 1);
}

static void use_new(void) {
  ExtismPlugin *plugin = plugin_new(200);
  use(plugin);
  extism_plugin_free(plugin);
}

static void a_cache_and_a_log_on_a_full_disk(void) {
  struct rlimit little = {8192, 8192};
  char log[60];
  folder_new();
  use_default_cache(folder);
  snprintf(log, sizeof log, "%s/log", folder);
  signal(SIGXFSZ, SIG_IGN);
  CHECK(setrlimit(RLIMIT_FSIZE, &little) == 0);
  log_once(log);
  use_new();
}

/* ---- a home that is none ---- */

/* D28: no plugin could be made. */
static void a_home_that_is_a_file(void) {
  use_default_cache("/dev/null");
  use_new();
}

static void a_home_that_is_not_there(void) {
  use_default_cache("/proc/nonexistent");
  use_new();
}

static void no_home_at_all(void) {
  use_default_cache("");
  unsetenv("HOME");
  use_new();
}

static void a_home_that_cannot_be_written(void) {
  folder_new();
  use_default_cache(folder);
  CHECK(chmod(folder, 0555) == 0);
  /* To root this means nothing. */
  if (geteuid() == 0) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      CHECK(setgid(65534) == 0 && setuid(65534) == 0);
      use_new();
      _exit(0);
    }
    ends_well(child);
  } else {
    use_new();
  }
}

/* A cache that was there when the first plugin was made, and isn't any more; and one whose files are damaged. */
static int damages(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)where;
  return kind == FTW_F ? truncate(path, status->st_size / 2) : 0;
}

static void in_a_process_of_its_own(void (*run)(void)) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    run();
    /* What is put into the cache is put there by a thread. */
    sleep_ms(300);
    _exit(0);
  }
  ends_well(child);
}

static int files;

static int counts(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)path, (void)status, (void)where;
  files += kind == FTW_F;
  return 0;
}

static void a_damaged_cache(void) {
  folder_new();
  use_default_cache(folder);
  in_a_process_of_its_own(use_new);
  CHECK(nftw(folder, counts, 20, FTW_PHYS) == 0 && files > 0);
  CHECK(nftw(folder, damages, 20, FTW_PHYS) == 0);
  in_a_process_of_its_own(use_new);
}

static void use_then_lose_the_cache(void) {
  use_new();
  remove_folder();
  CHECK(open(folder, O_CREAT | O_WRONLY, 0600) >= 0);
  use_new();
  /* Other code, so that it is looked for in the cache. */
  extism_plugin_free(extism_plugin_new((const uint8_t *)"(module (func (export \"new\")))", 30, NULL, 0, false, NULL));
}

static void a_cache_that_goes_away(void) {
  folder_new();
  use_default_cache(folder);
  in_a_process_of_its_own(use_then_lose_the_cache);
}

/* D7: nobody takes the connection from the system. */
static void a_silent_server_of_modules(void) {
  char text[100], *error = NULL;
  int port;
  time_t start = time(NULL), took;
  listening(&port);
  snprintf(text, sizeof text, "{\"wasm\": [{\"url\": \"http://127.0.0.1:%d/\"}]}", port);
  CHECK(!extism_plugin_new((const uint8_t *)text, strlen(text), NULL, 0, false, &error));
  took = time(NULL) - start;
  if (took < 59 || took > 70 || !strstr(error, "timeout")) fprintf(stderr, "%s after %lld s\n", error, (long long)took);
  CHECK(took >= 59 && took <= 70 && strstr(error, "timeout"));
  extism_plugin_new_error_free(error);
}

static const struct fault {
  const char *name;
  void (*run)(void);
} faults[] = {
#define FAULT(name) {#name, name}
    FAULT(forks),
    FAULT(forks_with_log_lines),
    FAULT(signals),
    FAULT(signals_to_other_threads),
    FAULT(a_fault_handler_from_before),
    FAULT(a_fault_handler_from_after),
    FAULT(a_fault_without_a_handler),
    FAULT(sigpipe),
    FAULT(a_log_on_a_full_disk),
    FAULT(a_log_on_full_stdout),
    FAULT(a_log_on_full_stderr),
    FAULT(printing_to_full_stdout),
    FAULT(dumps_on_a_full_disk),
    FAULT(a_cache_and_a_log_on_a_full_disk),
    FAULT(a_home_that_is_a_file),
    FAULT(a_home_that_is_not_there),
    FAULT(no_home_at_all),
    FAULT(a_home_that_cannot_be_written),
    FAULT(a_damaged_cache),
    FAULT(a_cache_that_goes_away),
    FAULT(a_silent_server_of_modules),
};

int main(int argc, char **argv) {
  enum { FAULTS = sizeof faults / sizeof *faults };
  int i, failed = 0, found = 0;
  for (i = 0; i < FAULTS; i++) {
    pid_t child;
    int status;
    if (argc > 1 && strcmp(argv[1], faults[i].name)) continue;
    found++;
    if (argc > 1) {
      faults[i].run();
      continue;
    }
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      faults[i].run();
      exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (status) {
      fprintf(stderr, "%s: %s %d\n", faults[i].name, WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
      failed++;
    }
  }
  CHECK(found);
  if (!failed) printf("%d faults: all as it should be\n", found);
  return failed != 0;
}
