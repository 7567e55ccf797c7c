package org.extism.kernel;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.dylibso.chicory.runtime.HostFunction;
import com.dylibso.chicory.wasm.Parser;
import com.dylibso.chicory.wasm.types.FunctionType;
import com.dylibso.chicory.wasm.types.MemoryLimits;
import com.dylibso.chicory.wasm.types.ValType;
import com.dylibso.chicory.wasm.types.Value;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Shows the kernel on Chicory: Main KERNEL.wasm CONFORMANCE.json PLUGINS. */
public final class Main {
    private static final String HELLO = "Hello, World!";

    private final byte[] kernel;
    private final Path plugins;
    private int count;
    private int failed;

    private Main(byte[] kernel, Path plugins) {
        this.kernel = kernel;
        this.plugins = plugins;
    }

    public static void main(String[] args) throws Exception {
        var kernel = Files.readAllBytes(Path.of(args[0]));
        var main = new Main(kernel, Path.of(args[2]));
        var cases = Conformance.replay(kernel, Path.of(args[1]));
        main.runPlugins();
        var summary = new LinkedHashMap<String, Object>();
        summary.put("engine", "chicory");
        summary.put("version", version());
        summary.put("cases", cases[0]);
        summary.put("failed", cases[1]);
        summary.put("plugins", main.count);
        summary.put("plugins_failed", main.failed);
        summary.put("call_us", null); // until it is known, as the hash
        summary.put("hash", null);
        boolean ok = main.passes("time of a call", () -> summary.put("call_us", main.callMicroseconds()));
        ok &= main.passes("trace", () -> summary.put("hash", Trace.hash(kernel)));
        boolean fourPages = main.passes("four pages", main::fourPages);
        summary.put("four_pages", fourPages);
        summary.put("context", false); // until it is shown
        ok &= main.passes("host context", () -> summary.put("context", main.hostContext()));
        System.out.println(new GsonBuilder().serializeNulls().create().toJson(summary));
        System.exit(ok && fourPages && cases[1] + main.failed == 0 ? 0 : 1);
    }

    private static String version() {
        // The file that Maven has put on the class path is runtime-VERSION.jar.
        var jar = Plugin.class.getClassLoader().getResource("com/dylibso/chicory/runtime/Instance.class").getPath();
        return jar.replaceAll(".*/runtime-(.*)\\.jar!.*", "$1");
    }

    private interface Check {
        void run() throws Exception;
    }

    private void check(String name, Check body) {
        count++;
        failed += passes("plugin check " + name, body) ? 0 : 1;
    }

    private boolean passes(String name, Check body) {
        try {
            body.run();
            return true;
        } catch (Exception e) {
            System.err.println("FAILED " + name + ": " + e);
            return false;
        }
    }

    private Plugin open(String name, Plugin.Options options) throws IOException {
        return new Plugin(kernel, Files.readAllBytes(plugins.resolve(name + ".wasm")), options);
    }

    private Plugin open(String name) throws IOException {
        return open(name, new Plugin.Options());
    }

    private static void expect(String expected, String found) {
        if (!expected.equals(found)) {
            throw new IllegalStateException("expected " + expected + ", found " + found);
        }
    }

    private static String call(Plugin plugin, String function, String input, Object context)
            throws Plugin.CallException {
        return new String(plugin.call(function, input.getBytes(UTF_8), context), UTF_8);
    }

    private static String call(Plugin plugin, String function, String input) throws Plugin.CallException {
        return call(plugin, function, input, null);
    }

    private static void echo(Plugin plugin, int size) throws Plugin.CallException {
        var input = new byte[size];
        for (int i = 0; i < size; i++) {
            input[i] = (byte) (i * 31 + i / 251);
        }
        if (!Arrays.equals(plugin.call("echo", input), input)) {
            throw new IllegalStateException(size + " bytes came back changed");
        }
    }

    /** What the embedder offers: a greeting whose word may come from the host context, and a sum. */
    private static List<HostFunction> greetAndAdd(Plugin plugin) {
        var greetType = FunctionType.of(List.of(ValType.I64), List.of(ValType.I64));
        var greet = new HostFunction("extism:host/user", "greet", greetType, (caller, args) -> {
            var word = plugin.hostContext() instanceof String text ? text : "Hello";
            var greeting = word + ", " + new String(plugin.take(args[0]), UTF_8) + "!";
            return new long[] {plugin.alloc(greeting.getBytes(UTF_8))};
        });
        var addType = FunctionType.of(List.of(ValType.I32, ValType.F64), List.of(ValType.I32));
        var add = new HostFunction("calculator", "add", addType, (caller, args) ->
                new long[] {(int) Math.floor((int) args[0] + Value.longToDouble(args[1]))});
        return List.of(greet, add);
    }

    private void runPlugins() {
        check("echo", () -> {
            var plugin = open("echo");
            for (int size : new int[] {0, 1, 7, 8, 65536, 1000003}) {
                echo(plugin, size);
            }
        });
        check("count_vowels", () -> {
            var plugin = open("count_vowels");
            var expected = "{\"count\":3,\"total\":3,\"vowels\":\"aeiouAEIOU\"}";
            expect(expected, call(plugin, "count_vowels", HELLO));
            expect(expected.replace(":3,\"v", ":6,\"v"), call(plugin, "count_vowels", HELLO));
        });
        check("count_vowels with config", () -> {
            var options = new Plugin.Options();
            options.config = Map.of("vowels", "o");
            var output = call(open("count_vowels", options), "count_vowels", HELLO);
            expect("{\"count\":2,\"total\":2,\"vowels\":\"o\"}", output);
        });
        check("fail", () -> {
            var plugin = open("fail");
            try {
                call(plugin, "error_text", "no such thing");
                throw new IllegalStateException("the call did not fail");
            } catch (Plugin.CallException e) {
                expect("no such thing", e.getMessage());
            }
            expect("", call(plugin, "succeed", ""));
        });
        check("vars", () -> {
            var plugin = open("vars");
            call(plugin, "set", "kept");
            expect("kept", call(plugin, "get", ""));
            call(plugin, "delete", "");
            expect("", call(plugin, "get", ""));
        });
        check("greet", () -> expect("Hello, Benjamin!", call(openGreeter(), "greet", "Benjamin")));
        check("add", () -> expect("\u002a", call(openGreeter(), "add", "")));
        check("handle_echo", () -> {
            var options = new Plugin.Options();
            var type = FunctionType.of(List.of(ValType.I64), List.of(ValType.I64));
            options.functions = plugin -> List.of(
                    new HostFunction("extism:host/user", "echo_handle", type, (caller, args) -> new long[] {args[0]}));
            expect(HELLO, call(open("handle_echo", options), "handle_echo", HELLO));
        });
        check("log", () -> {
            var messages = new ArrayList<String>();
            var options = new Plugin.Options();
            options.log = (level, text) -> messages.add(level + text);
            var plugin = open("log", options);
            expect("2", call(plugin, "level", ""));
            expect("0", call(plugin, "log_each_level", ""));
            expect("[2i, 3w, 4e]", messages.toString());
        });
        check("initialised", () -> {
            var haskell = open("haskell");
            expect("", call(haskell, "initialised", ""));
            expect("", call(haskell, "initialised", ""));
            expect("", call(open("constructors"), "initialised", ""));
        });
    }

    private Plugin openGreeter() throws IOException {
        var options = new Plugin.Options();
        options.functions = Main::greetAndAdd;
        return open("host-functions", options);
    }

    /** Shows the host context: true, or null if the kernel has none. */
    private Boolean hostContext() throws Exception {
        var plugin = openGreeter();
        if (!plugin.hasContext()) {
            return null;
        }
        expect("Howdy, Benjamin!", call(plugin, "greet", "Benjamin", "Howdy"));
        expect("Hello, Benjamin!", call(plugin, "greet", "Benjamin"));
        return true;
    }

    /** The median of 200 calls with 4,096 bytes. */
    private double callMicroseconds() throws Exception {
        var plugin = open("echo");
        var input = new byte[4096];
        var times = new long[220];
        for (int i = 0; i < times.length; i++) {
            long start = System.nanoTime();
            plugin.call("echo", input);
            times[i] = System.nanoTime() - start;
        }
        Arrays.sort(times, 20, 220);
        return Math.round(times[120] / 100.0) / 10.0;
    }

    /** The kernel where its memory may have four pages. */
    private void fourPages() throws Exception {
        var options = new Plugin.Options();
        int initial = Parser.parse(kernel).memorySection().orElseThrow().getMemory(0).limits().initialPages();
        options.kernelMemory = new MemoryLimits(initial, 4);
        var plugin = open("echo", options);
        echo(plugin, 65536);
        expect("0", Long.toString(plugin.kernel("alloc", 1048576)));
    }
}
