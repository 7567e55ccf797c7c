/*
 * libextism with the API from before 1.0: plugins live in contexts, which know them by their index.
 *
 * Threads: a context and its plugins may be used by any thread, by several in turn; different plugins at once. Host functions run,
 * and their data is freed, on the thread that uses the plugin. Frees take NULL. What is freed must not be used again, also not by
 * another thread at the same time.
 *
 * In C++, include it inside of extern "C" { }. Made of the library's sources by cbindgen.
 */


#ifndef EXTISM_H
#define EXTISM_H

#include <stdbool.h>
#include <stdint.h>

/* Declares a host function. */
#define EXTISM_FUNCTION(N) extern void N(ExtismCurrentPlugin *, const ExtismVal *, ExtismSize, ExtismVal *, ExtismSize, void *)

/* Declares a host function that Go exports. */
#define EXTISM_GO_FUNCTION(N) extern void N(void *, ExtismVal *, ExtismSize, ExtismVal *, ExtismSize, uintptr_t)

/*
 The type of a value.
 */
typedef enum {
  /*
   An integer of 32 bits.
   */
  I32,
  /*
   An integer of 64 bits; handles of blocks are such.
   */
  I64,
  /*
   A float of 32 bits.
   */
  F32,
  /*
   A float of 64 bits.
   */
  F64,
  /*
   A vector of 128 bits. No plugin can be made with a function that has it.
   */
  V128,
  /*
   A reference to a function. No plugin can be made with a function that has it.
   */
  FuncRef,
  /*
   A reference to something of the host's. No plugin can be made with a function that has it.
   */
  ExternRef,
} ExtismValType;

/*
 What cancels a plugin's calls.
 */
typedef struct ExtismCancelHandle ExtismCancelHandle;

/*
 Keeps plugins, and is where errors are left. Any thread may use it; calls of the same plugin wait for each other.
 */
typedef struct ExtismContext ExtismContext;

/*
 The plugin that is calling a host function, for as long as that runs.
 */
typedef struct ExtismCurrentPlugin ExtismCurrentPlugin;

/*
 A host function, for plugins that are made with it.
 */
typedef struct ExtismFunction ExtismFunction;

/*
 A plugin's index in its context: from 0. -1 is none.
 */
typedef int32_t ExtismPlugin;

/*
 A number of bytes or of things.
 */
typedef uint64_t ExtismSize;

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

/*
 The release of Extism whose API this library speaks, as `0.5.0`. The text is there for ever.
 */
const char *extism_version(void);

/*
 Makes a context. To be freed by `extism_context_free`.
 */
ExtismContext *extism_context_new(void);

/*
 Frees a context with its plugins; one whose call is running when that is over. Does nothing for NULL.
 */
void extism_context_free(ExtismContext *ctx);

/*
 Frees all plugins of a context. New ones get other indices. Does nothing for NULL.
 */
void extism_context_reset(ExtismContext *ctx);

/*
 Makes a plugin of WebAssembly, binary or text, or of a manifest in JSON or TOML. Its index, or -1 on failure; then
 `extism_error(ctx, -1)` says why.

 `functions` may be given to any number of plugins; NULL among them is skipped. With `with_wasi` the plugin gets WASI preview
 1, with its configuration as the environment.
 */
ExtismPlugin extism_plugin_new(ExtismContext *ctx,
                               const uint8_t *wasm,
                               ExtismSize wasm_size,
                               const ExtismFunction **functions,
                               ExtismSize n_functions,
                               bool with_wasi);

/*
 Puts a new plugin in the place of the one of this index, which is freed. False, and the old one kept, if the new one can't be
 made, or there is no old one; then `extism_error(ctx, -1)` says why. For the rest see `extism_plugin_new`.
 */
bool extism_plugin_update(ExtismContext *ctx,
                          ExtismPlugin index,
                          const uint8_t *wasm,
                          ExtismSize wasm_size,
                          const ExtismFunction **functions,
                          ExtismSize n_functions,
                          bool with_wasi);

/*
 Frees a plugin; one whose call is running when that is over. Does nothing if there is none of this index, or `ctx` is NULL.
 */
void extism_plugin_free(ExtismContext *ctx,
                        ExtismPlugin plugin);

/*
 Why something failed that concerned this plugin; NULL if it didn't. The context's error if there is no plugin of this index,
 as -1. Valid until the next function that is given the context.
 */
const char *extism_error(ExtismContext *ctx,
                         ExtismPlugin plugin);

/*
 Changes the plugin's configuration: an object in JSON, whose strings are added or replace others, and null removes a key.
 False, and nothing changed, if it is anything else, or there is no such plugin.
 */
bool extism_plugin_config(ExtismContext *ctx,
                          ExtismPlugin plugin,
                          const uint8_t *json,
                          ExtismSize json_size);

/*
 Whether the plugin exports a function of this name that can be called: without parameters, returning nothing or an I32.
 False if there is no such plugin.
 */
bool extism_plugin_function_exists(ExtismContext *ctx, ExtismPlugin plugin, const char *func_name);

/*
 Calls a function of the plugin. What it returned, 0 for nothing; the exit status of WASI; -1 if it failed otherwise, or there
 is no such plugin. Then `extism_error` says why. -1 also in a host function that the plugin itself is calling. `data` may be
 a part of the plugin's last output.
 */
int32_t extism_plugin_call(ExtismContext *ctx,
                           ExtismPlugin plugin_id,
                           const char *func_name,
                           const uint8_t *data,
                           ExtismSize data_len);

/*
 How many bytes the output of the last call has. 0 if there is no such plugin, and in a host function that it is calling.
 */
ExtismSize extism_plugin_output_length(ExtismContext *ctx,
                                       ExtismPlugin plugin);

/*
 The output of the last call: valid until the next one. NULL only if there is no such plugin, and in a host function that it is
 calling.
 */
const uint8_t *extism_plugin_output_data(ExtismContext *ctx,
                                         ExtismPlugin plugin);

/*
 What cancels this plugin's calls, from any thread. It needn't be freed, and does nothing any more when the plugin is freed or
 updated. NULL if there is no such plugin.
 */
const ExtismCancelHandle *extism_plugin_cancel_handle(ExtismContext *ctx,
                                                      ExtismPlugin plugin);

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

#endif  /* EXTISM_H */
