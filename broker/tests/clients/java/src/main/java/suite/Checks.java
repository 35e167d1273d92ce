package suite;

import java.util.Objects;

/** Runs named checks one after another; the first that fails ends the program with its cause. */
final class Checks {
    interface Body {
        void run() throws Exception;
    }

    private int passed;

    void check(String name, Body body) {
        long start = System.nanoTime();
        try {
            body.run();
        } catch (Throwable cause) {
            System.out.printf("FAIL %s%n", name);
            cause.printStackTrace(System.out);
            System.out.printf("%d passed, 1 failed%n", passed);
            System.out.flush();
            Runtime.getRuntime().halt(1);
        }
        passed++;
        System.out.printf("ok   %s (%d ms)%n", name, (System.nanoTime() - start) / 1_000_000);
    }

    void close() {
        System.out.printf("%d passed, 0 failed%n", passed);
    }

    static void that(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void same(Object expected, Object got, String what) {
        if (!Objects.equals(expected, got)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + got);
        }
    }

    /** The class of the broker's error, unwrapped from the future that carried it. */
    static void fails(Class<? extends Throwable> expected, String what, Body body) {
        try {
            body.run();
        } catch (Throwable thrown) {
            Throwable cause = thrown instanceof java.util.concurrent.ExecutionException ? thrown.getCause() : thrown;
            if (!expected.isInstance(cause)) {
                throw new AssertionError(what + ": expected " + expected.getSimpleName() + ", got " + cause, cause);
            }
            return;
        }
        throw new AssertionError(what + ": expected " + expected.getSimpleName() + ", got success");
    }
}
