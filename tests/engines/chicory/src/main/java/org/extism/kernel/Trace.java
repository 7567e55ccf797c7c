package org.extism.kernel;

import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.wasm.Parser;

/** 12,000 calls of a fresh kernel: their hash is the same on every engine. */
final class Trace {
    private final Instance kernel;
    private int state = (int) 2463534242L;
    private long hash = 0xcbf29ce484222325L;

    private Trace(byte[] bytes) {
        kernel = Instance.builder(Parser.parse(bytes)).build();
    }

    static String hash(byte[] kernel) {
        var trace = new Trace(kernel);
        trace.run();
        return String.format("%016x", trace.hash);
    }

    /** xorshift32. */
    private long next() {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return Integer.toUnsignedLong(state);
    }

    /** FNV-1a. */
    private void add(int octet) {
        hash = (hash ^ octet & 0xff) * 0x100000001b3L;
    }

    private long call(String name, long... args) {
        return Conformance.call(kernel, name, args);
    }

    private void run() {
        var handles = new long[64];
        for (int step = 0; step < 12_000; step++) {
            long r = next();
            long a = next();
            int i = (int) ((r >> 8) % 64);
            long result = 0;
            switch ((int) (r % 16)) {
                case 0, 1, 2, 3 -> result = handles[i] = call("alloc", a % 600);
                case 4 -> result = handles[i] = call("alloc", a % 20000);
                case 5, 6, 7 -> call("free", handles[i]);
                case 8 -> result = call("length", handles[i]);
                case 9 -> call("store_u8", handles[i] + a % 64, a);
                case 10 -> call("store_u64", handles[i] + a % 512, (a << 32) + r);
                case 11 -> result = call("load_u8", handles[i] + a % 64);
                case 12 -> result = call("load_u64", a);
                case 13 -> {
                    call("output_set", handles[i], a % 64);
                    result = call("output_length");
                }
                case 14 -> {
                    call("input_set", handles[i], a % 700);
                    result = call("input_load_u64", r % 700);
                }
                default -> {
                    call("error_set", handles[i]);
                    if (a % 256 == 0) {
                        call("reset");
                    }
                    result = call("error_get");
                }
            }
            for (int shift = 0; shift < 64; shift += 8) {
                add((int) (result >>> shift));
            }
        }
        for (byte octet : kernel.memory().readBytes(0, kernel.memory().pages() * 65536)) {
            add(octet);
        }
    }
}
