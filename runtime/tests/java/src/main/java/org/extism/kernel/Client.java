package org.extism.kernel;

import com.sun.jna.Callback;
import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.extism.sdk.Cancel;
import org.extism.sdk.CancelHandle;
import org.extism.sdk.Extism;
import org.extism.sdk.ExtismException;
import org.extism.sdk.ExtismFunction;
import org.extism.sdk.HostFunction;
import org.extism.sdk.HostUserData;
import org.extism.sdk.LibExtism;
import org.extism.sdk.LibExtism.ExtismValType;
import org.extism.sdk.Plugin;
import org.extism.sdk.manifest.Manifest;
import org.extism.sdk.manifest.MemoryOptions;
import org.extism.sdk.wasm.ByteArrayWasmSource;

/** What a Java program sees of libextism through the released SDK. Arguments: the library, the plugin, a folder, and which checks. */
public final class Client {
    private static final ExtismValType[] NONE = {};
    private static final ExtismValType[] HANDLE = {ExtismValType.I64};

    /** What the SDK has no method for, declared as it declares the others. */
    public interface Logs extends Library {
        interface Drain extends Callback {
            void invoke(Pointer line, long size);
        }

        boolean extism_log_custom(String level);

        void extism_log_drain(Drain drain);
    }

    /** An object behind the pointer that the library carries along. */
    static final class Greeting extends HostUserData {
        final String text;

        Greeting(String text) {
            this.text = text;
        }
    }

    private static byte[] wat;
    private static final AtomicInteger ticks = new AtomicInteger();
    private static final List<String> notes = Collections.synchronizedList(new ArrayList<>());
    /** What host functions threw; they can't throw through C. */
    private static final List<Throwable> thrown = Collections.synchronizedList(new ArrayList<>());
    /** JNA forgets callbacks that nothing refers to. */
    private static final List<HostFunction<?>> kept = Collections.synchronizedList(new ArrayList<>());

    public static void main(String[] arguments) throws Exception {
        Path library = Path.of(arguments[0]).toRealPath();
        wat = Files.readAllBytes(Path.of(arguments[1]));
        equal(library, NativeLibrary.getInstance("extism").getFile().toPath().toRealPath(), "the library that was loaded");
        Native.setCallbackExceptionHandler((callback, e) -> thrown.add(e));

        if (arguments[3].equals("log-file")) {
            logFile(Path.of(arguments[2]));
        } else {
            logs();
            calls();
            hostFunctions();
            errors();
            signals();
            cancelling();
            stacks();
            threads();
            drained();
        }
        equal(List.of(), thrown, "what host functions threw");
        System.out.println("Java, " + arguments[3] + ": all as it should be");
    }

    private static Manifest manifest() {
        return new Manifest(
                List.of(new ByteArrayWasmSource("main", wat, null)),
                new MemoryOptions(1000, 1000),
                Map.of("key", "value of the manifest"),
                List.of("example.com"),
                Map.of("/tmp", "/tmp"));
    }

    private static <T extends HostUserData> HostFunction<T> function(
            String name, ExtismValType[] parameters, ExtismValType[] results, ExtismFunction<T> does, T data) {
        HostFunction<T> function = new HostFunction<>(name, parameters, results, does, Optional.ofNullable(data));
        kept.add(function);
        return function;
    }

    private static HostFunction<?>[] functions() {
        return new HostFunction<?>[] {
            function("shout", HANDLE, HANDLE, (plugin, in, out, data) -> {
                String text = new String(plugin.inputBytes(in[0]), StandardCharsets.UTF_8);
                if (text.equals("throw")) {
                    throw new IllegalStateException("thrown by a host function");
                }
                plugin.returnBytes(out[0], (data.get().text + text.toUpperCase()).getBytes(StandardCharsets.UTF_8));
            }, new Greeting("Hello, ")),
            function("note", HANDLE, NONE, (plugin, in, out, data) -> {
                equal(0, out.length, "results of note");
                notes.add(new String(plugin.inputBytes(in[0]), StandardCharsets.UTF_8));
                plugin.free(in[0].v.i64);
            }, null),
            function("tick", NONE, NONE, (plugin, in, out, data) -> {
                equal(0, in.length + out.length, "parameters and results of tick");
                ticks.incrementAndGet();
            }, null),
            function("add", new ExtismValType[] {ExtismValType.I32, ExtismValType.I64, ExtismValType.F32, ExtismValType.F64},
                    new ExtismValType[] {ExtismValType.F64}, (plugin, in, out, data) -> {
                out[0].v.f64 = in[3].v.f64 + in[2].v.f32 + in[1].v.i64 + in[0].v.i32;
            }, null).withNamespace("sums"),
        };
    }

    private static Plugin plugin() {
        return new Plugin(manifest(), true, functions());
    }

    private static void calls() {
        equal("1.", LibExtism.INSTANCE.extism_version().substring(0, 2), "the version's start");
        try (Plugin plugin = plugin()) {
            equal("Ünïcödé ☃", plugin.call("echo", "Ünïcödé ☃"), "echo");
            // An empty output is an empty one, too, for a program that reads 0 bytes at it.
            equal("", plugin.call("echo", ""), "echo of nothing");
            equal(0, plugin.call("echo", (byte[]) null).length, "echo of null");
            byte[] large = new byte[3 << 20];
            Arrays.fill(large, (byte) 7);
            equal(true, Arrays.equals(large, plugin.call("echo", large)), "echo of 3 MiB");

            equal("value of the manifest", plugin.call("config", "key"), "config");
            equal(true, plugin.updateConfig("{\"key\": \"another\"}"), "updateConfig");
            equal("another", plugin.call("config", "key"), "config that was updated");
            equal(false, plugin.updateConfig("{\"key\": 7}"), "updateConfig with a number");
            equal("another", plugin.call("config", "key"), "config after an update that failed");
        }
        // The SDK's other constructor, with fuel.
        try (Plugin plugin = new Plugin(manifest(), false, functions(), 100_000)) {
            equal("fuel", plugin.call("echo", "fuel"), "echo with fuel");
            fails("plugin ran out of fuel", () -> plugin.call("spin", ""));
            equal("fuel", plugin.call("echo", "fuel"), "echo with fuel again");
        }
    }

    private static void hostFunctions() {
        try (Plugin plugin = plugin()) {
            equal("Hello, ADA", plugin.call("greet", "Ada"), "a host function with a result");
            equal("", plugin.call("tell", "a note"), "host functions without results");
            equal(List.of("a note"), notes, "what note got");
            equal(1, ticks.get(), "calls of tick");
            double sum = ByteBuffer.wrap(plugin.call("add", new byte[0])).order(ByteOrder.LITTLE_ENDIAN).getDouble();
            equal(0.25 + 0.5 + 0x100000000L - 1, sum, "add");

            equal("", plugin.call("greet", "throw"), "a host function that throws: its result is 0");
            equal(1, thrown.size(), "what host functions threw");
            equal("thrown by a host function", thrown.remove(0).getMessage(), "what the host function threw");
            equal("Hello, ADA", plugin.call("greet", "Ada"), "the call after it");
        }
        // Functions may be freed before the plugin.
        HostFunction<?>[] freed = functions();
        try (Plugin plugin = new Plugin(manifest(), false, freed)) {
            Arrays.stream(freed).forEach(HostFunction::free);
            equal("Hello, ADA", plugin.call("greet", "Ada"), "a host function after it was freed");
        }
    }

    private static void errors() {
        fails("unknown import: `extism:host/user::", () -> new Plugin(manifest(), true, null));
        fails("Unable to compile Extism plugin: Unknown manifest format", () -> new Plugin("nonsense".getBytes(), false, functions()));
        fails("No wasm files specified in Extism manifest", () -> new Plugin(new byte[0], false, null));
        try (Plugin plugin = plugin()) {
            fails("Function not found: none", () -> plugin.call("none", ""));
            fails("plain text", () -> plugin.call("fail", "plain text"));
            fails("Ünïcödé ☃", () -> plugin.call("fail", "Ünïcödé ☃"));
            equal("ok", plugin.call("echo", "ok"), "a call after errors");
        }
    }

    /** The virtual machine gets the signals that WebAssembly's traps are, and uses the same for itself. */
    private static void signals() {
        try (Plugin plugin = plugin()) {
            // Often enough for the virtual machine to compile it; checks for null are then the signal's.
            for (int i = 0; i < 20_000; i++) {
                nullPointer(i % 100 == 0 ? null : wat);
                if (i % 1000 == 0) {
                    traps(plugin);
                }
            }
            throwsWhat(StackOverflowError.class, () -> recurse(1 << 30, () -> {}));
            traps(plugin);
            equal("ok", plugin.call("echo", "ok"), "a call after traps");
        }
    }

    private static void traps(Plugin plugin) {
        fails("wasm `unreachable` instruction executed", () -> plugin.call("unreachable", ""));
        fails("out of bounds memory access", () -> plugin.call("out_of_bounds", ""));
        fails("integer divide by zero", () -> plugin.call("divide", ""));
        fails("call stack exhausted", () -> plugin.call("overflow", ""));
    }

    private static void nullPointer(byte[] array) {
        try {
            equal(true, array.length > 0, "the plugin's length");
        } catch (NullPointerException e) {
            equal(null, array, "what wasn't null");
        }
    }

    private static void cancelling() throws Exception {
        CancelHandle handle;
        try (Plugin plugin = plugin()) {
            handle = plugin.cancelHandle();
            equal(true, Cancel.cancel(handle), "cancel without a running call");
            equal("ok", plugin.call("echo", "ok"), "a call after a cancel");
            Thread canceller = new Thread(() -> {
                sleep(50);
                Cancel.cancel(handle);
            });
            canceller.start();
            fails("timeout", () -> plugin.call("spin", ""));
            canceller.join();
            equal("ok", plugin.call("echo", "ok"), "a call after it was cancelled");
        }
        // D4: the handle outlives its plugin, and doesn't reach those that came after it.
        try (Plugin next = plugin()) {
            AtomicReference<Boolean> wasCancelled = new AtomicReference<>();
            Thread canceller = new Thread(() -> {
                sleep(50);
                wasCancelled.set(Cancel.cancel(handle));
                sleep(50);
                Cancel.cancel(next.cancelHandle());
            });
            canceller.start();
            long start = System.nanoTime();
            fails("timeout", () -> next.call("spin", ""));
            long took = (System.nanoTime() - start) / 1_000_000;
            canceller.join();
            equal(false, wasCancelled.get(), "cancel after the plugin was freed");
            equal(true, took >= 90, "the next plugin ran for 100 ms, not " + took + ": left alone by its predecessor's handle");
        }
    }

    /** D12: host functions run in Java, however little of the thread's stack is left. */
    private static void stacks() throws Exception {
        for (int kib : new int[] {256, 512, 1024, 8192}) {
            // All at once, so that their stacks lie beside each other.
            CyclicBarrier all = new CyclicBarrier(20);
            inThreads(20, kib, () -> {
                try (Plugin plugin = plugin()) {
                    all.await();
                    for (int depth = 0; depth <= 1000; depth += 250) {
                        recurse(depth, () -> equal("Hello, ADA", plugin.call("greet", "Ada"), "a call with a stack of " + kib + " KiB"));
                    }
                    all.await();
                }
            });
        }
    }

    private static void recurse(int depth, Runnable then) {
        if (depth == 0) {
            then.run();
        } else {
            recurse(depth - 1, then);
        }
    }

    private static void threads() throws Exception {
        AtomicInteger done = new AtomicInteger();
        inThreads(4, 1024, () -> {
            for (int i = 0; i < 100; i++) {
                try (Plugin plugin = plugin()) {
                    equal("Hello, ADA", plugin.call("greet", "Ada"), "a call in a thread");
                    fails("integer divide by zero", () -> plugin.call("divide", ""));
                    done.incrementAndGet();
                }
            }
        });
        equal(400, done.get(), "plugins in 4 threads");
    }

    private interface Task {
        void run() throws Exception;
    }

    private static void inThreads(int count, int stackKib, Task task) throws Exception {
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Thread thread = new Thread(null, () -> {
                try {
                    task.run();
                } catch (Throwable e) {
                    failures.add(e);
                    threads.forEach(Thread::interrupt); // those that wait for this one
                }
            }, "client", (long) stackKib << 10);
            threads.add(thread);
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        if (!failures.isEmpty()) {
            throw new AssertionError(failures.size() + " of " + count + " threads failed", failures.get(0));
        }
    }

    /** D1: Java takes 32 bits for a bool. */
    private static void logs() {
        Logs logs = Native.load("extism", Logs.class);
        equal(true, logs.extism_log_custom("warn"), "the first log_custom");
        equal(false, logs.extism_log_custom("warn"), "the second log_custom");
        throwsWhat(ExtismException.class, () -> Extism.setLogFile(Path.of("/dev/null"), Extism.LogLevel.INFO));
    }

    private static void drained() {
        try (Plugin plugin = plugin()) {
            plugin.call("log", "a line of the plugin's");
        }
        Logs logs = Native.load("extism", Logs.class);
        List<String> lines = new ArrayList<>();
        Logs.Drain drain = (line, size) -> lines.add(new String(line.getByteArray(0, (int) size), StandardCharsets.UTF_8));
        logs.extism_log_drain(drain);
        equal(1L, lines.stream().filter(line -> line.contains("a line of the plugin's")).count(), "such lines");
        equal(true, lines.get(lines.size() - 1).contains(" WARN extism::pdk: a line of the plugin's plugin="), "the line " + lines);
        lines.clear();
        logs.extism_log_drain(drain);
        equal(List.of(), lines, "lines that were drained before");
    }

    private static void logFile(Path folder) throws Exception {
        Path log = folder.resolve("extism.log");
        throwsWhat(ExtismException.class, () -> Extism.setLogFile(folder.resolve("none/extism.log"), Extism.LogLevel.INFO));
        Extism.setLogFile(log, Extism.LogLevel.INFO);
        throwsWhat(ExtismException.class, () -> Extism.setLogFile(log, Extism.LogLevel.INFO));
        try (Plugin plugin = plugin()) {
            plugin.call("log", "a line of the plugin's");
        }
        equal(true, Files.readString(log).contains(" WARN extism::pdk: a line of the plugin's plugin="), "the line in the file");
    }

    private static void sleep(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void equal(Object expected, Object actual, String what) {
        if (expected == null ? actual != null : !expected.equals(actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    /** It throws the SDK's exception, with this in its text. */
    private static void fails(String text, Runnable run) {
        Throwable e = throwsWhat(ExtismException.class, run);
        if (e.getMessage() == null || !e.getMessage().contains(text)) {
            throw new AssertionError("expected an error with '" + text + "', got '" + e.getMessage() + "'");
        }
    }

    private static Throwable throwsWhat(Class<? extends Throwable> type, Runnable run) {
        try {
            run.run();
        } catch (Throwable e) {
            if (type.isInstance(e)) {
                return e;
            }
            throw new AssertionError("expected " + type + ", got " + e, e);
        }
        throw new AssertionError("expected " + type + ", but nothing was thrown");
    }
}
