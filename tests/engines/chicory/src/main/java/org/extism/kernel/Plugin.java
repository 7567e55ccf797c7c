package org.extism.kernel;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.dylibso.chicory.runtime.HostFunction;
import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.runtime.Store;
import com.dylibso.chicory.wasm.ChicoryException;
import com.dylibso.chicory.wasm.Parser;
import com.dylibso.chicory.wasm.types.MemoryLimits;
import com.dylibso.chicory.wasm.types.Value;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** A plugin with a kernel of its own: a host for Extism plugins on Chicory, to copy from. */
public final class Plugin {

    /** What one embedder wants for one plugin. */
    public static final class Options {
        public Map<String, String> config = Map.of();

        /** What the plugin is told, and the lowest level that {@link #log} gets: 0 is trace, 4 is error. */
        public int logLevel = 2;

        public BiConsumer<Integer, String> log = (level, text) -> {};

        /** The embedder's own functions, under "extism:host/user" or any other module name. */
        public Function<Plugin, List<HostFunction>> functions = plugin -> List.of();

        /** For the kernel's memory. Null for what the module says, which is no limit. */
        public MemoryLimits kernelMemory;
    }

    /** The plugin's call failed: the message is the plugin's own, or what the engine says of a trap. */
    public static final class CallException extends Exception {
        CallException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    final Options options;
    final Map<String, byte[]> vars = new HashMap<>();
    private final Instance kernel;
    private final Instance plugin;

    /** Chicory's external references are plain numbers; these are the objects that ours stand for. */
    private final Map<Long, Object> contexts = new HashMap<>();

    public Plugin(byte[] kernelBytes, byte[] pluginBytes, Options options) {
        this.options = options;
        // README: begin
        // The kernel imports nothing. All its exports are imports of the plugin, under the same module name
        // as the functions that this host adds; those of the embedder have module names of their own.
        kernel = Instance.builder(Parser.parse(kernelBytes)).withMemoryLimits(options.kernelMemory).build();
        var store = new Store();
        store.register("extism:host/env", kernel);
        store.addFunction(Environment.functions(this).toArray(HostFunction[]::new));
        store.addFunction(options.functions.apply(this).toArray(HostFunction[]::new));
        plugin = store.instantiate("plugin", Parser.parse(pluginBytes));
        // README: end
        initialize(plugin, exports(plugin));
    }

    /** What the plugin's language wants before the first call: its constructors, then Haskell's runtime. */
    private static void initialize(Instance plugin, Set<String> exports) {
        if (exports.contains("_initialize")) {
            plugin.export("_initialize").apply(); // calls the constructors
        } else if (exports.contains("__wasm_call_ctors")) {
            plugin.export("__wasm_call_ctors").apply();
        }
        if (exports.contains("hs_init")) {
            plugin.export("hs_init").apply(0, 0);
        }
    }

    /** Calls a function of the plugin, and gives the output. */
    public byte[] call(String name, byte[] input) throws CallException {
        return call(name, input, null);
    }

    /** Calls a function of the plugin; meanwhile, {@link #hostContext} is that object. */
    public byte[] call(String name, byte[] input, Object hostContext) throws CallException {
        if (!exports(plugin).contains(name)) {
            throw new CallException("the plugin has no function " + name, null);
        }
        kernel("error_set", 0);
        kernel("reset");
        kernel("input_set", alloc(input), input.length);
        ChicoryException trap = null;
        long code = 0;
        setContext(hostContext);
        try {
            code = (int) first(plugin.export(name).apply());
        } catch (ChicoryException e) {
            trap = e;
        } finally {
            setContext(null);
        }
        long error = kernel("error_get");
        if (error != 0 && kernel("length", error) != 0) {
            throw new CallException(new String(read(error), UTF_8), trap);
        } else if (trap != null) {
            throw new CallException(trap.getMessage(), trap);
        } else if (code != 0) {
            throw new CallException(name + " returned " + code, null);
        }
        return bytes(kernel("output_offset"), kernel("output_length"));
    }

    /** What was given to the current call, or null: found by the kernel's global. */
    public Object hostContext() {
        return hasContext() ? contexts.get(kernel.exports().global("extism_context").getValue()) : null;
    }

    private void setContext(Object value) {
        if (!hasContext()) {
            return;
        }
        long key = value == null ? Value.REF_NULL_VALUE : 0;
        contexts.clear();
        contexts.put(key, value);
        kernel.exports().global("extism_context").setValue(key);
    }

    /** Whether the kernel has the global. */
    boolean hasContext() {
        return exports(kernel).contains("extism_context");
    }

    /** A copy of the block at a handle. Empty, if it isn't one. */
    public byte[] read(long handle) {
        return bytes(handle, kernel("length", handle));
    }

    /** Like {@link #read} for a function's arguments, which belong to the function: frees the block. */
    public byte[] take(long handle) {
        var bytes = read(handle);
        kernel("free", handle);
        return bytes;
    }

    /** A block with these bytes, for a function's result, which is the plugin's to free. */
    public long alloc(byte[] bytes) {
        if (bytes.length == 0) {
            return 0;
        }
        long handle = kernel("alloc", bytes.length);
        if (handle == 0) {
            throw new ChicoryException("the kernel has no room for " + bytes.length + " bytes");
        }
        kernel.memory().write((int) handle, bytes);
        return handle;
    }

    /** Calls an export of the kernel: 0 if it gives nothing. */
    long kernel(String name, long... args) {
        return first(kernel.export(name).apply(args));
    }

    private byte[] bytes(long offset, long length) {
        long size = kernel.memory().pages() * 65536L;
        if (offset < 0 || length < 0 || offset > size || length > size - offset) {
            throw new ChicoryException(length + " bytes at " + offset + " are not in the kernel's memory");
        }
        return kernel.memory().readBytes((int) offset, (int) length);
    }

    static long first(long[] results) {
        return results == null || results.length == 0 ? 0 : results[0];
    }

    /** The names of all exports. */
    static Set<String> exports(Instance instance) {
        var section = instance.module().exportSection();
        return IntStream.range(0, section.exportCount())
                .mapToObj(i -> section.getExport(i).name())
                .collect(Collectors.toSet());
    }
}
