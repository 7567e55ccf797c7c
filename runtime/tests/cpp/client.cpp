// What a C++ program makes of libextism: owners that free, errors that are exceptions, host functions that are std::function.
// The argument is the plugin.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "extism.h"

namespace {

class Error : public std::runtime_error {
public:
  Error(int status, const std::string &text) : std::runtime_error(text), status(status) {}
  const int status;
};

// A host function's view of the plugin that calls it.
class Current {
public:
  explicit Current(ExtismCurrentPlugin *plugin) : plugin(plugin) {}

  std::string text(const ExtismVal &block) const {
    const auto handle = static_cast<ExtismMemoryHandle>(block.v.i64);
    const auto *start = extism_current_plugin_memory(plugin) + handle;
    return std::string(start, start + extism_current_plugin_memory_length(plugin, handle));
  }
  void give(ExtismVal &block, const std::string &text) const {
    const auto handle = extism_current_plugin_memory_alloc(plugin, text.size());
    std::copy(text.begin(), text.end(), extism_current_plugin_memory(plugin) + handle);
    block.v.i64 = static_cast<int64_t>(handle);
  }
  // Where this call keeps what its host functions threw, to be thrown when C is done.
  std::exception_ptr &thrown() const {
    return *static_cast<std::exception_ptr *>(extism_current_plugin_host_context(plugin));
  }

private:
  ExtismCurrentPlugin *plugin;
};

struct Values {
  const ExtismVal *in;
  ExtismSize n_in;
  ExtismVal *out;
  ExtismSize n_out;
};

using Body = std::function<void(const Current &, const Values &)>;

class Function {
public:
  Function(const char *name, const std::vector<ExtismValType> &in, const std::vector<ExtismValType> &out, Body body,
           const char *name_space = nullptr)
      : function(extism_function_new(name, in.data(), in.size(), out.data(), out.size(), call, new Body(std::move(body)), release)) {
    if (!function) throw Error(0, std::string("no function ") + name);
    if (name_space) extism_function_set_namespace(function.get(), name_space);
  }
  const ExtismFunction *get() const { return function.get(); }

private:
  static void call(ExtismCurrentPlugin *plugin, const ExtismVal *in, ExtismSize n_in, ExtismVal *out, ExtismSize n_out, void *data) {
    const Current current(plugin);
    try {
      (*static_cast<Body *>(data))(current, Values{in, n_in, out, n_out});
    } catch (...) { // an exception can't pass C
      current.thrown() = std::current_exception();
    }
  }
  static void release(void *data) { delete static_cast<Body *>(data); }

  struct Free {
    void operator()(ExtismFunction *function) const { extism_function_free(function); }
  };
  std::unique_ptr<ExtismFunction, Free> function;
};

std::vector<const ExtismFunction *> pointers(const std::vector<Function> &functions) {
  std::vector<const ExtismFunction *> pointers;
  for (const auto &function : functions) pointers.push_back(function.get());
  return pointers;
}

// What `make` makes, or an exception with its text, which is freed.
template <typename Make> auto made(Make make) -> decltype(make(nullptr)) {
  char *text = nullptr;
  if (auto *thing = make(&text)) return thing;
  const std::unique_ptr<char, void (*)(char *)> owned(text, extism_plugin_new_error_free);
  throw Error(0, text);
}

const uint8_t *bytes(const std::string &text) { return reinterpret_cast<const uint8_t *>(text.data()); }

class Compiled {
public:
  Compiled(const std::string &wasm, const std::vector<Function> &functions) {
    auto given = pointers(functions);
    compiled.reset(made([&](char **text) {
      return extism_compiled_plugin_new(bytes(wasm), wasm.size(), given.data(), given.size(), true, text);
    }));
  }
  const ExtismCompiledPlugin *get() const { return compiled.get(); }

private:
  struct Free {
    void operator()(ExtismCompiledPlugin *compiled) const { extism_compiled_plugin_free(compiled); }
  };
  std::unique_ptr<ExtismCompiledPlugin, Free> compiled;
};

class Plugin {
public:
  Plugin(const std::string &wasm, const std::vector<Function> &functions) {
    auto given = pointers(functions);
    plugin.reset(made([&](char **text) {
      return extism_plugin_new(bytes(wasm), wasm.size(), given.data(), given.size(), true, text);
    }));
  }
  explicit Plugin(const Compiled &compiled)
      : plugin(made([&](char **text) { return extism_plugin_new_from_compiled(compiled.get(), text); })) {}

  std::string call(const char *name, const std::string &input) {
    std::exception_ptr thrown;
    const int status = extism_plugin_call_with_host_context(plugin.get(), name, bytes(input), input.size(), &thrown);
    if (thrown) std::rethrow_exception(thrown);
    if (status != 0) {
      const char *text = extism_plugin_error(plugin.get());
      throw Error(status, text ? text : "");
    }
    const auto *output = extism_plugin_output_data(plugin.get());
    return std::string(output, output + extism_plugin_output_length(plugin.get()));
  }
  bool configure(const std::string &json) {
    return extism_plugin_config(plugin.get(), bytes(json), json.size());
  }
  const ExtismCancelHandle *cancel_handle() const { return extism_plugin_cancel_handle(plugin.get()); }

private:
  struct Free {
    void operator()(ExtismPlugin *plugin) const { extism_plugin_free(plugin); }
  };
  std::unique_ptr<ExtismPlugin, Free> plugin;
};

// From here on: the checks.
template <typename Expected, typename Actual> void same(const Expected &expected, const Actual &actual, const std::string &what) {
  if (expected == actual) return;
  std::ostringstream text;
  text << what << ": expected '" << expected << "', got '" << actual << "'";
  throw std::logic_error(text.str());
}

template <typename Run> void fails(int status, const std::string &text, Run run) {
  try {
    run();
  } catch (const Error &error) {
    same(status, error.status, "the status of '" + std::string(error.what()) + "'");
    if (std::string(error.what()).find(text) == std::string::npos)
      throw std::logic_error("expected an error with '" + text + "', got '" + error.what() + "'");
    return;
  }
  throw std::logic_error("expected an error with '" + text + "', got none");
}

// What the host functions share; it lives as long as one of them does.
struct Host {
  std::vector<std::string> notes;
  std::atomic<int> ticks{0};
};

std::vector<Function> functions(const std::shared_ptr<Host> &host) {
  const std::string greeting = "Hello, ";
  std::vector<Function> made;
  made.emplace_back("shout", std::vector<ExtismValType>{EXTISM_PTR}, std::vector<ExtismValType>{EXTISM_PTR},
                    [greeting, host](const Current &plugin, const Values &values) {
                      std::string text = plugin.text(values.in[0]);
                      if (text == "throw") throw std::out_of_range("thrown by a host function");
                      std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
                      plugin.give(values.out[0], greeting + text);
                    });
  made.emplace_back("note", std::vector<ExtismValType>{EXTISM_PTR}, std::vector<ExtismValType>{},
                    [host](const Current &plugin, const Values &values) {
                      same(true, values.out == nullptr && values.n_out == 0, "note has no results");
                      host->notes.push_back(plugin.text(values.in[0]));
                    });
  made.emplace_back("tick", std::vector<ExtismValType>{}, std::vector<ExtismValType>{}, [host](const Current &, const Values &values) {
    same(true, values.in == nullptr && values.n_in == 0, "tick has no parameters");
    host->ticks++;
  });
  made.emplace_back("add",
                    std::vector<ExtismValType>{ExtismValType_I32, ExtismValType_I64, ExtismValType_F32, ExtismValType_F64},
                    std::vector<ExtismValType>{ExtismValType_F64},
                    [host](const Current &, const Values &values) {
                      const auto *in = values.in;
                      values.out[0].v.f64 = in[0].v.i32 + static_cast<double>(in[1].v.i64) + in[2].v.f32 + in[3].v.f64;
                    },
                    "sums");
  return made;
}

void calls(const std::string &wasm) {
  const auto host = std::make_shared<Host>();
  {
    Plugin plugin(wasm, functions(host)); // the functions are freed before the plugin
    same(5, host.use_count(), "owners of what the host functions share");
    same("Hello, ADA", plugin.call("greet", "Ada"), "greet");
    same("", plugin.call("echo", ""), "echo of nothing");
    same("", plugin.call("tell", "a note"), "tell");
    same("a note", host->notes.at(0), "the note");
    same(1, host->ticks.load(), "ticks");
    double sum = 0;
    const auto output = plugin.call("add", "");
    same(sizeof sum, output.size(), "the bytes of a sum");
    std::memcpy(&sum, output.data(), sizeof sum);
    same(4294967295.75, sum, "add");
    same(true, plugin.configure("{\"key\": \"value\"}"), "configure");
    same(false, plugin.configure("{\"key\": 7}"), "configure with a number");
    same("value", plugin.call("config", "key"), "config");

    try {
      plugin.call("greet", "throw");
      throw std::logic_error("expected what the host function threw, got an output");
    } catch (const std::out_of_range &thrown) {
      same(std::string("thrown by a host function"), thrown.what(), "what the host function threw");
    }
    Plugin moved(std::move(plugin));
    same("Hello, ADA", moved.call("greet", "Ada"), "greet after an exception");
  }
  same(1, host.use_count(), "owners after the plugin");
}

void errors(const std::string &wasm) {
  const auto host = std::make_shared<Host>();
  fails(0, "Unable to compile Extism plugin: Unknown manifest format", [&] { Plugin("nonsense", functions(host)); });
  fails(0, "unknown import: `extism:host/user::", [&] { Plugin(wasm, {}); });
  fails(0, "Unable to compile Extism plugin: ", [&] { Compiled("(module", functions(host)); });
  same(1, host.use_count(), "owners after plugins that couldn't be made");

  Plugin plugin(wasm, functions(host));
  fails(3, "plain text", [&] { plugin.call("fail", "plain text"); });
  fails(-1, "Function not found: none", [&] { plugin.call("none", ""); });
  fails(134, "wasm `unreachable` instruction executed", [&] { plugin.call("unreachable", ""); });
  fails(134, "out of bounds memory access", [&] { plugin.call("out_of_bounds", ""); });
  fails(134, "integer divide by zero", [&] { plugin.call("divide", ""); });
  fails(134, "call stack exhausted", [&] { plugin.call("overflow", ""); });
  same("Hello, ADA", plugin.call("greet", "Ada"), "greet after errors");
}

void cancelling(const std::string &wasm) {
  const ExtismCancelHandle *handle;
  {
    Plugin plugin(wasm, functions(std::make_shared<Host>()));
    handle = plugin.cancel_handle();
    bool cancelled = false;
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      cancelled = extism_plugin_cancel(handle);
    });
    fails(134, "timeout", [&] { plugin.call("spin", ""); });
    canceller.join();
    same(true, cancelled, "cancel of a running call");
  }
  same(false, extism_plugin_cancel(handle), "cancel of a plugin that was freed");
}

void threads(const std::string &wasm) {
  const auto host = std::make_shared<Host>();
  std::atomic<int> done{0};
  {
    std::vector<std::thread> threads;
    std::vector<Plugin> plugins;
    {
      const Compiled compiled(wasm, functions(host));
      for (int i = 0; i < 4; i++) plugins.emplace_back(compiled);
    }
    std::vector<std::exception_ptr> failures(plugins.size());
    for (size_t i = 0; i < plugins.size(); i++)
      threads.emplace_back([&done, &failures, i](Plugin plugin) { // it is freed by its thread
        try {
          for (int j = 0; j < 100; j++) {
            same("Hello, ADA", plugin.call("greet", "Ada"), "greet in a thread");
            fails(134, "integer divide by zero", [&] { plugin.call("divide", ""); });
            done++;
          }
        } catch (...) {
          failures[i] = std::current_exception();
        }
      }, std::move(plugins[i]));
    for (auto &thread : threads) thread.join();
    for (const auto &failure : failures)
      if (failure) std::rethrow_exception(failure);
  }
  same(400, done.load(), "calls in 4 threads");
  same(1, host.use_count(), "owners after the last of the plugins");
}

} // namespace

int main(int argc, char **argv) {
  try {
    std::ifstream file(argc > 1 ? argv[1] : "", std::ios::binary);
    const std::string wasm((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    same(false, wasm.empty(), "the plugin is empty");
    same("1.", std::string(extism_version(), 2), "the version's start");
    calls(wasm);
    errors(wasm);
    cancelling(wasm);
    threads(wasm);
  } catch (const std::exception &error) {
    std::cerr << "C++: " << error.what() << std::endl;
    return 1;
  }
  std::cout << "C++: all as it should be" << std::endl;
  return 0;
}
