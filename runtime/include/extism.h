/*
 * libextism: runs Extism plugins.
 *
 * Threads: a plugin may be used by any thread, by several in turn; different plugins at once. Host functions run, and their data
 * is freed, on the thread that uses the plugin. Frees take NULL. What is freed must not be used again, also not by another
 * thread at the same time.
 *
 * Made of the library's sources by cbindgen.
 */


#ifndef EXTISM_H
#define EXTISM_H

#include <stdbool.h>
#include <stdint.h>

/* A parameter or result that is a block's handle. */
#define EXTISM_PTR ExtismValType_I64

/* Declares a host function. */
#define EXTISM_FUNCTION(N) \
  extern void N(ExtismCurrentPlugin *, const ExtismVal *, ExtismSize, ExtismVal *, ExtismSize, void *)

/* Declares a host function that Go exports. */
#define EXTISM_GO_FUNCTION(N) extern void N(void *, ExtismVal *, ExtismSize, ExtismVal *, ExtismSize, uintptr_t)

/*
 Everything worked.
 */
#define EXTISM_SUCCESS 0

/*
 The type of a value.
 */
typedef enum {
  /*
   An integer of 32 bits.
   */
  ExtismValType_I32,
  /*
   An integer of 64 bits; handles of blocks are such.
   */
  ExtismValType_I64,
  /*
   A float of 32 bits.
   */
  ExtismValType_F32,
  /*
   A float of 64 bits.
   */
  ExtismValType_F64,
  /*
   A vector of 128 bits. No plugin can be made with a function that has it.
   */
  ExtismValType_V128,
  /*
   A reference to a function. No plugin can be made with a function that has it.
   */
  ExtismValType_FuncRef,
  /*
   A reference to something of the host's. No plugin can be made with a function that has it.
   */
  ExtismValType_ExternRef,
} ExtismValType;

/*
 What cancels a plugin's calls.
 */
typedef struct ExtismCancelHandle ExtismCancelHandle;

/*
 A plugin that was loaded, compiled and linked: any number of plugins can be made from it, in any thread.
 */
typedef struct ExtismCompiledPlugin ExtismCompiledPlugin;

/*
 The plugin that is calling a host function, for as long as that runs.
 */
typedef struct ExtismCurrentPlugin ExtismCurrentPlugin;

/*
 A host function, for plugins that are made with it.
 */
typedef struct ExtismFunction ExtismFunction;

/*
 A plugin. Any thread may use it; calls of the same plugin wait for each other.
 */
typedef struct ExtismPlugin ExtismPlugin;

/*
 A number of bytes or of things.
 */
typedef uint64_t ExtismSize;

/*
 Takes one log line: `size` bytes, with the line's end, and a NUL behind them.
 */
typedef void (*ExtismLogDrainFunctionType)(const char *data, ExtismSize size);

/*
 The handle of a block in a plugin's memory: its offset from `extism_current_plugin_memory`. 0 is none.
 */
typedef uint64_t ExtismMemoryHandle;

/*
 A value without its type.
 */
typedef union {
  /*
   Of type I32.
   */
  int32_t i32;
  /*
   Of type I64.
   */
  int64_t i64;
  /*
   Of type F32.
   */
  float f32;
  /*
   Of type F64.
   */
  double f64;
} ExtismValUnion;

/*
 A value with its type.
 */
typedef struct {
  /*
   Which of the union's fields counts.
   */
  ExtismValType t;
  /*
   The value.
   */
  ExtismValUnion v;
} ExtismVal;

/*
 A host function in C. `inputs` and `outputs` are NULL if there are none. The outputs are preset to 0, each with its type;
 to write another type there makes the call fail. `data` is what `extism_function_new` was given.
 */
typedef void (*ExtismFunctionType)(ExtismCurrentPlugin *plugin,
                                   const ExtismVal *inputs,
                                   ExtismSize n_inputs,
                                   ExtismVal *outputs,
                                   ExtismSize n_outputs,
                                   void *data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The release of Extism whose API this library speaks, as `1.41.0`. The text is there for ever.
 */
const char *extism_version(void);

/*
 Makes a plugin of WebAssembly, binary or text, or of a manifest in JSON or TOML. In JSON, `data` may be an object with
 `ptr` and `len`: bytes of this process, whose caller vouches for them.

 `functions` are used up, also if it fails, and still to be freed. With `with_wasi` the plugin gets WASI preview 1. To be
 freed by `extism_plugin_free`. Returns NULL on failure, and a text in `*errmsg`, unless that is NULL; to be freed by
 `extism_plugin_new_error_free`.
 */
ExtismPlugin *extism_plugin_new(const uint8_t *wasm,
                                ExtismSize wasm_size,
                                const ExtismFunction **functions,
                                ExtismSize n_functions,
                                bool with_wasi,
                                char **errmsg);

/*
 The same, with a limit to the fuel that each call may burn: about one unit for an instruction.
 */
ExtismPlugin *extism_plugin_new_with_fuel_limit(const uint8_t *wasm,
                                                ExtismSize wasm_size,
                                                const ExtismFunction **functions,
                                                ExtismSize n_functions,
                                                bool with_wasi,
                                                uint64_t fuel_limit,
                                                char **errmsg);

/*
 Loads, compiles and links a plugin, without making one. To be freed by `extism_compiled_plugin_free`. For the rest see
 `extism_plugin_new`.
 */
ExtismCompiledPlugin *extism_compiled_plugin_new(const uint8_t *wasm,
                                                 ExtismSize wasm_size,
                                                 const ExtismFunction **functions,
                                                 ExtismSize n_functions,
                                                 bool with_wasi,
                                                 char **errmsg);

/*
 The same, with a limit to the fuel that each call of its plugins may burn.
 */
ExtismCompiledPlugin *extism_compiled_plugin_new_with_fuel_limit(const uint8_t *wasm,
                                                                 ExtismSize wasm_size,
                                                                 const ExtismFunction **functions,
                                                                 ExtismSize n_functions,
                                                                 bool with_wasi,
                                                                 uint64_t fuel_limit,
                                                                 char **errmsg);

/*
 Makes a plugin of a compiled one, which it outlives. It has its own configuration, variables and id. To be freed by
 `extism_plugin_free`. Returns NULL on failure, as `extism_plugin_new`, and if `compiled` is NULL.
 */
ExtismPlugin *extism_plugin_new_from_compiled(const ExtismCompiledPlugin *compiled, char **errmsg);

/*
 Frees a compiled plugin; plugins made of it stay. Does nothing for NULL.
 */
void extism_compiled_plugin_free(ExtismCompiledPlugin *plugin);

/*
 Frees a text that creation left in `*errmsg`. Does nothing for NULL.
 */
void extism_plugin_new_error_free(char *err);

/*
 What `extism_plugin_call_with_host_context` was given for this call. NULL if nothing, or if `plugin` is NULL.
 */
void *extism_current_plugin_host_context(ExtismCurrentPlugin *plugin);

/*
 Keeps log lines, the last 100,000 and of these the last 64 MiB, until `extism_log_drain` takes them. For `log_level` see
 `extism_log_file`. False if something gets this process' log lines already.
 */
bool extism_log_custom(const char *log_level);

/*
 Gives the lines that were kept to `handler`, one by one, in this thread. It may call any function of this library. Lines
 with a NUL in them are left out. Does nothing if `handler` is NULL.
 */
void extism_log_drain(ExtismLogDrainFunctionType handler);

/*
 Frees a plugin. Does nothing for NULL. A host function may free the plugin that calls it, which is done when the call is
 over.
 */
void extism_plugin_free(ExtismPlugin *plugin);

/*
 The plugin's id: 16 bytes, a UUID of version 4, valid as long as the plugin. NULL for NULL.
 */
const uint8_t *extism_plugin_id(ExtismPlugin *plugin);

/*
 Changes the plugin's configuration: an object in JSON, whose strings are added or replace others, and null removes a key.
 False, and nothing changed, if it is anything else, or if `plugin` is NULL.
 */
bool extism_plugin_config(ExtismPlugin *plugin,
                          const uint8_t *json,
                          ExtismSize json_size);

/*
 Whether the plugin exports a function of this name that can be called: without parameters, returning nothing or an I32.
 False if either is NULL.
 */
bool extism_plugin_function_exists(ExtismPlugin *plugin, const char *func_name);

/*
 Calls a function of the plugin. What it returned; -1, 134 for a trap, or the exit status of WASI if it failed. Then
 `extism_plugin_error` says why. -1 also if `plugin` is NULL, or if it is a host function that the plugin itself is calling.
 `data` may be a part of the plugin's last output, or its last error.
 */
int32_t extism_plugin_call(ExtismPlugin *plugin,
                           const char *func_name,
                           const uint8_t *data,
                           ExtismSize data_len);

/*
 The same with a pointer for host functions, which they get by `extism_current_plugin_host_context`.
 */
int32_t extism_plugin_call_with_host_context(ExtismPlugin *plugin,
                                             const char *func_name,
                                             const uint8_t *data,
                                             ExtismSize data_len,
                                             void *host_context);

/*
 Why the last call failed; NULL if it didn't, if `plugin` is NULL, and in a host function that the plugin is calling. Valid
 until the next function that is given this plugin.
 */
const char *extism_plugin_error(ExtismPlugin *plugin);

/*
 The same as `extism_plugin_error`, under its older name.
 */
const char *extism_error(ExtismPlugin *plugin);

/*
 How many bytes the output of the last call has. 0 if `plugin` is NULL, and in a host function that the plugin is calling.
 */
ExtismSize extism_plugin_output_length(ExtismPlugin *plugin);

/*
 The output of the last call: valid until the next call or reset. NULL only if `plugin` is NULL, and in a host function that
 the plugin is calling.
 */
const uint8_t *extism_plugin_output_data(ExtismPlugin *plugin);

/*
 Gives back all memory that the last call has used, its output and error included. False if `plugin` is NULL, and in a host
 function that the plugin is calling.
 */
bool extism_plugin_reset(ExtismPlugin *plugin);

/*
 Lets the plugin see the headers of HTTP responses. Does nothing for NULL, and in a host function that the plugin is calling.
 */
void extism_plugin_allow_http_response_headers(ExtismPlugin *plugin);

/*
 What cancels this plugin's calls, from any thread. It needn't be freed, and does nothing any more when the plugin is freed.
 NULL for NULL.
 */
const ExtismCancelHandle *extism_plugin_cancel_handle(const ExtismPlugin *plugin);

/*
 Ends the plugin's running call, as if its time were up; does nothing if none is running. False if the handle is NULL, or
 its plugin is gone.
 */
bool extism_plugin_cancel(const ExtismCancelHandle *handle);

/*
 The first byte of the plugin's memory that handles count from; it moves when a block is allocated. NULL for NULL.
 */
uint8_t *extism_current_plugin_memory(ExtismCurrentPlugin *plugin);

/*
 Allocates a block of `n` bytes in the plugin's memory. 0 for 0 bytes, if the memory has no room, or if `plugin` is NULL.
 */
ExtismMemoryHandle extism_current_plugin_memory_alloc(ExtismCurrentPlugin *plugin,
                                                      ExtismSize n);

/*
 How many bytes the block at a handle has. 0 if it is the handle of none, or if `plugin` is NULL.
 */
ExtismSize extism_current_plugin_memory_length(ExtismCurrentPlugin *plugin, ExtismMemoryHandle n);

/*
 Frees the block at a handle. Does nothing if it is the handle of none, or if `plugin` is NULL.
 */
void extism_current_plugin_memory_free(ExtismCurrentPlugin *plugin, ExtismMemoryHandle ptr);

/*
 Makes a host function. Plugins import it by `name` from `extism:host/user`, in the API from before 1.0 from `env`, unless
 `extism_function_set_namespace` says otherwise.

 A type list that is NULL is empty. Host functions run, and data is freed, on whichever thread uses the plugin. Unless it is
 NULL, `user_data` is given to `free_user_data`, which may be NULL, once the last plugin with the function is freed; in the API
 from before 1.0 once the function is, too.

 Returns NULL if `name` or `func` is NULL, the name is not UTF-8, or a type is none. To be freed by `extism_function_free`.
 */
ExtismFunction *extism_function_new(const char *name,
                                    const ExtismValType *inputs,
                                    ExtismSize n_inputs,
                                    const ExtismValType *outputs,
                                    ExtismSize n_outputs,
                                    ExtismFunctionType func,
                                    void *user_data,
                                    void (*free_user_data)(void *data));

/*
 Sets the name of the module from which plugins import the function. Plugins that were made with it already aren't concerned.
 Does nothing if either is NULL, or the name is not UTF-8.
 */
void extism_function_set_namespace(ExtismFunction *function,
                                   const char *namespace_);

/*
 Frees a host function; plugins that were made with it keep it. Does nothing for NULL.
 */
void extism_function_free(ExtismFunction *function);

/*
 Sends log lines to a file, which is appended to; to stderr if it is NULL, `-` or `stderr`, to stdout if `stdout`.

 `log_level` is `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter as `extism=info,wasmtime=trace`; NULL is `error`.
 False if the file can't be opened, or something gets this process' log lines already.
 */
bool extism_log_file(const char *filename,
                     const char *log_level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EXTISM_H */
