package suite;

/** The Java client against the broker at BOOTSTRAP (or the first argument). */
public final class Suite {
    private Suite() {}

    public static void main(String[] args) {
        String fromEnv = System.getenv().getOrDefault("BOOTSTRAP", "127.0.0.1:9092");
        Cluster cluster = new Cluster(args.length > 0 ? args[0] : fromEnv);
        Checks checks = new Checks();
        new AdminChecks(cluster).run(checks);
        new ProduceChecks(cluster).run(checks);
        new ConsumeChecks(cluster).run(checks);
        new GroupChecks(cluster).run(checks);
        cluster.admin.close();
        checks.close();
    }
}
