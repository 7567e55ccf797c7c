package org.extism.sdk;

/** In the SDK's package, since only there its cancel handle can be used. */
public final class Cancel {
    private Cancel() {}

    public static boolean cancel(CancelHandle handle) {
        return handle.cancel();
    }
}
