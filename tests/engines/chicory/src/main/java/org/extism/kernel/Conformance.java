package org.extism.kernel;

import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.wasm.ChicoryException;
import com.dylibso.chicory.wasm.Parser;
import com.dylibso.chicory.wasm.WasmModule;
import com.dylibso.chicory.wasm.types.MemoryLimits;
import com.dylibso.chicory.wasm.types.ValType;
import com.dylibso.chicory.wasm.types.Value;
import com.google.gson.Gson;
import com.google.gson.annotations.SerializedName;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongPredicate;
import java.util.regex.Pattern;

/** Replays a case of conformance.json. All numbers are unsigned, in longs. */
final class Conformance {
    /** For a case; more is an endless loop. */
    private static final int SECONDS = 20;

    /** For cases that don't say. */
    private static final String SPARE_PAGES = "1024";

    private static final Pattern OPERAND = Pattern.compile("\\$([a-z_]+)([+-]\\d+)?");
    private static final Gson GSON = new Gson();

    static final class Contract {
        List<Case> cases;
    }

    static final class Case {
        String name;
        String section;
        String reason;
        String spare = SPARE_PAGES;
        List<Step> steps;
    }

    /** A step has few of these; the others are null. */
    static final class Step {
        String call;
        List<String> args;
        String value;
        String peek;
        String poke;
        String read;
        String write;
        String hex;
        String length;

        @SerializedName("byte")
        String octet;

        String pages;
        String grow;
        String inside;
        List<String> exports;
        List<String> optional;
        String context;
        String repeat;
        List<Step> steps;

        String save;
        String result;

        @SerializedName("result_not")
        String resultNot;

        @SerializedName("result_below")
        String resultBelow;

        @SerializedName("result_at_least")
        String resultAtLeast;

        @SerializedName("result_multiple_of")
        String resultMultipleOf;

        @SerializedName("result_one_of")
        List<String> resultOneOf;
    }

    static final class Failure extends RuntimeException {
        Failure(Step step, String what) {
            super(GSON.toJson(step) + ": " + what);
        }
    }

    private final Instance kernel;
    private final Map<String, Long> names = new HashMap<>();

    private Conformance(WasmModule module, int spare) {
        int pages = module.memorySection().orElseThrow().getMemory(0).limits().initialPages();
        kernel = Instance.builder(module).withMemoryLimits(new MemoryLimits(pages, pages + spare)).build();
        names.put("start", size());
    }

    /** Runs all cases, tells on stderr which failed, and gives how many there are and how many failed. */
    static int[] replay(byte[] kernel, Path file) throws Exception {
        var cases = GSON.fromJson(Files.readString(file), Contract.class).cases;
        int failed = 0;
        for (var each : cases) {
            var failure = within(SECONDS, () -> {
                // Parsed for each, so that cases of a file that can't be parsed fail, not the runner.
                var module = Parser.parse(kernel);
                new Conformance(module, Integer.parseInt(each.spare)).run(each.steps);
                return null;
            });
            if (failure != null) {
                failed++;
                System.err.println(
                        "FAILED section " + each.section + ", " + each.name + ": " + failure + " (" + each.reason + ")");
            }
        }
        return new int[] {cases.size(), failed};
    }

    /** What a body throws, if anything. Chicory ends a call whose thread is interrupted. */
    private static String within(int seconds, Callable<Void> body) throws InterruptedException {
        var executor = Executors.newSingleThreadExecutor();
        try {
            executor.submit(body).get(seconds, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException e) {
            return "endless loop";
        } catch (ExecutionException e) {
            return e.getCause() instanceof Failure ? e.getCause().getMessage() : "trap: " + e.getCause();
        } finally {
            executor.shutdownNow();
            executor.awaitTermination(seconds, TimeUnit.SECONDS);
        }
    }

    private void run(List<Step> steps) {
        for (var step : steps) {
            long result = step(step);
            if (step.save != null) {
                names.put(step.save, result);
            }
        }
    }

    private long step(Step s) {
        boolean ok = true;
        long result = 0;
        if (s.repeat != null) {
            for (long n = number(s.repeat); n > 0; n--) {
                run(s.steps);
            }
        } else if (s.call != null) {
            result = call(s.call, s.args);
        } else if (s.peek != null) {
            result = words(bytes(number(s.peek), 8)).getLong();
        } else if (s.poke != null) {
            write(number(s.poke), words(new byte[8]).putLong(number(s.value)).array());
        } else if (s.value != null) {
            result = number(s.value);
        } else if (s.read != null) {
            var content = content(s);
            ok = Arrays.equals(bytes(number(s.read), content.length), content);
        } else if (s.write != null) {
            write(number(s.write), content(s));
        } else if (s.pages != null) {
            ok = kernel.memory().pages() == number(s.pages);
        } else if (s.grow != null) {
            ok = kernel.memory().grow((int) number(s.grow)) >= 0;
        } else if (s.inside != null) {
            ok = number(s.length) == 0 || inside(number(s.inside), number(s.length));
        } else if (s.exports != null) {
            var exports = new TreeSet<>(Plugin.exports(kernel));
            exports.removeAll(s.optional);
            ok = exports.equals(new TreeSet<>(s.exports)) && kernel.module().importSection().importCount() == 0;
        } else if (s.context != null) {
            ok = context(s.context);
        } else {
            throw new Failure(s, "a step of an unknown kind");
        }
        if (!ok || !holds(s, result)) {
            throw new Failure(s, "gave " + Long.toUnsignedString(result));
        }
        return result;
    }

    private boolean holds(Step s, long x) {
        return is(s.result, y -> x == y)
                && is(s.resultNot, y -> x != y)
                && is(s.resultBelow, y -> Long.compareUnsigned(x, y) < 0)
                && is(s.resultAtLeast, y -> Long.compareUnsigned(x, y) >= 0)
                && is(s.resultMultipleOf, y -> Long.remainderUnsigned(x, y) == 0)
                && (s.resultOneOf == null || s.resultOneOf.stream().anyMatch(y -> x == number(y)));
    }

    private boolean is(String operand, LongPredicate relation) {
        return operand == null || relation.test(number(operand));
    }

    private long call(String name, List<String> args) {
        return call(kernel, name, args.stream().mapToLong(this::number).toArray());
    }

    /** Calls an export: 0 if it gives nothing. An i32 is in a long as Chicory leaves it, so its upper half goes. */
    static long call(Instance kernel, String name, long... args) {
        var type = kernel.exportType(name);
        for (int i = 0; i < args.length; i++) {
            if (type.params().get(i).equals(ValType.I32)) {
                args[i] = (int) args[i];
            }
        }
        long result = Plugin.first(kernel.export(name).apply(args));
        return type.returns().contains(ValType.I32) ? Integer.toUnsignedLong((int) result) : result;
    }

    /** The global is the host's to set. An external reference is a number in Chicory. */
    private boolean context(String what) {
        if (!Plugin.exports(kernel).contains("extism_context")) {
            return true;
        }
        long object = 1234;
        var global = kernel.exports().global("extism_context");
        if (what.equals("set")) {
            global.setValue(object);
        }
        return global.getValue() == (what.equals("null") ? Value.REF_NULL_VALUE : object);
    }

    /** What a step reads or writes: these bytes, or one byte so many times. */
    private byte[] content(Step s) {
        if (s.hex != null) {
            return HexFormat.of().parseHex(s.hex);
        }
        long length = number(s.length);
        if (Long.compareUnsigned(length, size()) > 0) {
            throw new Failure(s, "the memory isn't that long");
        }
        var content = new byte[(int) length];
        Arrays.fill(content, (byte) number(s.octet));
        return content;
    }

    private byte[] bytes(long at, int length) {
        checkInside(at, length);
        return kernel.memory().readBytes((int) at, length);
    }

    private void write(long at, byte[] bytes) {
        checkInside(at, bytes.length);
        kernel.memory().write((int) at, bytes);
    }

    private void checkInside(long at, long length) {
        if (!inside(at, length)) {
            throw new ChicoryException(length + " bytes at " + Long.toUnsignedString(at) + " are not in the memory");
        }
    }

    /** Memories here are far smaller than 2^63, so what looks negative is outside. */
    private boolean inside(long at, long length) {
        return at >= 0 && length >= 0 && at <= size() && length <= size() - at;
    }

    private long size() {
        return kernel.memory().pages() * 65536L;
    }

    private static ByteBuffer words(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private long number(String operand) {
        var parts = OPERAND.matcher(operand);
        if (!parts.matches()) {
            return Long.parseUnsignedLong(operand);
        }
        long value = parts.group(1).equals("end") ? size() : names.get(parts.group(1));
        return parts.group(2) == null ? value : value + new BigInteger(parts.group(2)).longValue();
    }
}
