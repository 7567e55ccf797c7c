import com.dylibso.chicory.runtime.ExportFunction;
import com.dylibso.chicory.runtime.GlobalInstance;
import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.runtime.Memory;
import com.dylibso.chicory.runtime.Store;
import com.dylibso.chicory.wasm.Parser;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/** Measure PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust. */
public final class Measure {
    private static final int ROUNDS = 9;

    /** A plugin in a host. */
    private interface Plugin {
        /** A whole call of echo. */
        byte[] call(byte[] input);
    }

    private static Plugin usual(byte[] kernelBytes, byte[] pluginBytes) {
        var kernel = Instance.builder(Parser.parse(kernelBytes)).build();
        var store = new Store();
        store.register("extism:host/env", kernel);
        var echo = store.instantiate("plugin", Parser.parse(pluginBytes)).export("echo");
        ExportFunction errorSet = kernel.export("error_set"), reset = kernel.export("reset"), alloc = kernel.export("alloc");
        ExportFunction inputSet = kernel.export("input_set"), length = kernel.export("length"), errorGet = kernel.export("error_get");
        ExportFunction outputOffset = kernel.export("output_offset"), outputLength = kernel.export("output_length");
        return input -> {
            errorSet.apply(0);
            reset.apply();
            long handle = alloc.apply(input.length)[0];
            kernel.memory().write((int) handle, input);
            inputSet.apply(handle, input.length);
            echo.apply();
            length.apply(errorGet.apply()[0]);
            return kernel.memory().readBytes((int) outputOffset.apply()[0], (int) outputLength.apply()[0]);
        };
    }

    // README: begin
    private static Plugin linked(byte[] module) {
        // Your own functions go into the builder: the kernel's are in the module.
        Instance plugin = Instance.builder(Parser.parse(module)).build();
        Memory memory = plugin.memory(); // the plugin's and the kernel's
        GlobalInstance base = plugin.exports().global("extism:kernel/base"); // moves when the plugin's memory grows
        ExportFunction begin = plugin.export("extism:kernel/begin"), end = plugin.export("extism:kernel/end");
        ExportFunction echo = plugin.export("echo");
        return input -> {
            long handle = begin.apply(input.length)[0];
            if (handle != 0) {
                memory.write((int) (base.getValue() + handle), input);
            }
            echo.apply();
            long[] ranges = end.apply(); // offset and length of the output, then of the error
            if (ranges[3] != 0) {
                throw new IllegalStateException("the plugin failed");
            }
            return memory.readBytes((int) (base.getValue() + ranges[0]), (int) ranges[1]);
        };
    }
    // README: end

    public static void main(String[] arguments) throws Exception {
        byte[] echo = Files.readAllBytes(Path.of(arguments[0]));
        int subjects = arguments.length - 1;
        var names = new String[subjects];
        var plugins = new Plugin[subjects];
        for (int at = 0; at < subjects; at++) {
            String[] file = arguments[at + 1].split("=");
            byte[] module = Files.readAllBytes(Path.of(file[1]));
            names[at] = file[0];
            boolean isLinked = new String(module, StandardCharsets.ISO_8859_1).contains("extism:kernel/begin");
            plugins[at] = isLinked ? linked(module) : usual(module, echo);
        }
        for (int size : new int[] {64, 4096, 1 << 20}) {
            var input = new byte[size];
            for (int i = 0; i < size; i++) {
                input[i] = (byte) (i * 7);
            }
            var batch = new int[subjects];
            var times = new double[subjects][ROUNDS];
            for (int at = 0; at < subjects; at++) {
                if (!Arrays.equals(plugins[at].call(input), input)) {
                    throw new IllegalStateException("the output is not the input");
                }
                batch[at] = 1 + (int) (100_000 / measure(plugins[at], input, 2));
                measure(plugins[at], input, batch[at]); // for the compiler of Java
            }
            for (int round = 0; round < ROUNDS; round++) {
                for (int at = 0; at < subjects; at++) {
                    times[at][round] = measure(plugins[at], input, batch[at]);
                }
            }
            for (int at = 0; at < subjects; at++) {
                Arrays.sort(times[at]);
                System.out.printf(Locale.ROOT, "chicory %s %d %.4f%n", names[at], size, times[at][ROUNDS / 2]);
            }
        }
    }

    /** Microseconds of CPU time of a call, in the mean of so many. */
    private static double measure(Plugin plugin, byte[] input, int calls) {
        var clock = ManagementFactory.getThreadMXBean();
        long start = clock.getCurrentThreadCpuTime();
        for (int i = 0; i < calls; i++) {
            plugin.call(input);
        }
        return (clock.getCurrentThreadCpuTime() - start) / 1000.0 / calls;
    }
}
