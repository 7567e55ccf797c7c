package org.extism.kernel;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.dylibso.chicory.runtime.HostFunction;
import com.dylibso.chicory.runtime.WasmFunctionHandle;
import com.dylibso.chicory.wasm.ChicoryException;
import com.dylibso.chicory.wasm.types.FunctionType;
import com.dylibso.chicory.wasm.types.ValType;
import java.util.ArrayList;
import java.util.List;

/**
 * What every host offers under "extism:host/env" beside the kernel's exports. Each function owns the blocks that
 * it is given. This host keeps variables and logs, and allows no HTTP.
 */
final class Environment {
    private static final ValType I32 = ValType.I32;
    private static final ValType I64 = ValType.I64;

    private Environment() {}

    static List<HostFunction> functions(Plugin plugin) {
        var functions = new ArrayList<HostFunction>();
        functions.add(function("config_get", List.of(I64), List.of(I64), (caller, args) -> {
            var value = plugin.options.config.getOrDefault(text(plugin, args[0]), "");
            return new long[] {plugin.alloc(value.getBytes(UTF_8))};
        }));
        functions.add(function("var_get", List.of(I64), List.of(I64), (caller, args) -> {
            var value = plugin.vars.getOrDefault(text(plugin, args[0]), new byte[0]);
            return new long[] {plugin.alloc(value)};
        }));
        functions.add(function("var_set", List.of(I64, I64), List.of(), (caller, args) -> {
            // Both are read before either is freed, as they may be the same block.
            var value = plugin.read(args[1]);
            var key = text(plugin, args[0]);
            if (args[1] == 0) {
                plugin.vars.remove(key);
            } else {
                plugin.vars.put(key, value);
                plugin.kernel("free", args[1]);
            }
            return null;
        }));
        functions.add(function("get_log_level", List.of(), List.of(I32),
                (caller, args) -> new long[] {plugin.options.logLevel}));
        functions.add(function("http_request", List.of(I64, I64), List.of(I64), (caller, args) -> {
            throw new ChicoryException("HTTP requests are not allowed by this host");
        }));
        functions.add(function("http_status_code", List.of(), List.of(I32), (caller, args) -> new long[] {0}));
        functions.add(function("http_headers", List.of(), List.of(I64), (caller, args) -> new long[] {0}));
        var levels = List.of("log_trace", "log_debug", "log_info", "log_warn", "log_error");
        for (int i = 0; i < levels.size(); i++) {
            int level = i;
            functions.add(function(levels.get(level), List.of(I64), List.of(), (caller, args) -> {
                var message = text(plugin, args[0]);
                if (level >= plugin.options.logLevel) {
                    plugin.options.log.accept(level, message);
                }
                return null;
            }));
        }
        return functions;
    }

    private static String text(Plugin plugin, long handle) {
        return new String(plugin.take(handle), UTF_8);
    }

    private static HostFunction function(
            String name, List<ValType> params, List<ValType> results, WasmFunctionHandle body) {
        return new HostFunction("extism:host/env", name, FunctionType.of(params, results), body);
    }
}
