import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A load client for RocketMQ, for what its own benchmarks do not give (a rate to send at, percentiles, the time that a
 * backlog takes): RocketLoad NAME_SERVER consume|latency TOPIC RECORDS SIZE ARGUMENT
 *
 * <p>consume: reads RECORDS in batches of ARGUMENT, timed from the first batch. latency: sends ARGUMENT records per second,
 * each timed from when it was due until a consumer has it. Prints one line of JSON.
 */
public class RocketLoad {
    static final int WARM_UP_SECONDS = 3;

    interface Each {
        void batch(List<MessageExt> messages);
    }

    static DefaultMQPushConsumer consumer(String[] arguments, int batch, Each each) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("load-" + System.nanoTime());
        consumer.setNamesrvAddr(arguments[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(batch);
        // Else it may sit half a minute until the broker knows of it.
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setPollNameServerInterval(1000);
        consumer.subscribe(arguments[2], "*");
        consumer.registerMessageListener(
                (org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently)
                        (messages, context) -> {
                            each.batch(messages);
                            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                        });
        consumer.start();
        return consumer;
    }

    static void consume(String[] arguments, int records, int batch) throws Exception {
        AtomicInteger got = new AtomicInteger();
        AtomicLong bytes = new AtomicLong();
        AtomicLong begun = new AtomicLong();
        AtomicLong last = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        consumer(arguments, batch, messages -> {
            begun.compareAndSet(0, System.nanoTime());
            long size = 0;
            for (MessageExt message : messages) {
                size += message.getBody().length;
            }
            bytes.addAndGet(size);
            last.set(System.nanoTime());
            if (got.addAndGet(messages.size()) >= records) {
                done.countDown();
            }
        });
        if (!done.await(100, TimeUnit.SECONDS)) {
            throw new IllegalStateException(got + " of " + records + " records arrived");
        }
        print(got.get(), bytes.get(), last.get() - begun.get(), "");
    }

    /** Sends records at a rate, each with the time at which it is due; returns when the first was. */
    static long send(DefaultMQProducer producer, String topic, int records, int size, int rate, AtomicInteger failed)
            throws Exception {
        long begun = System.nanoTime();
        for (int i = 0; i < records; i++) {
            long due = begun + (long) (i * 1e9 / rate);
            for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
            byte[] body = new byte[size];
            Arrays.fill(body, (byte) 'x');
            ByteBuffer.wrap(body).putLong(due);
            producer.send(new Message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {}

                @Override
                public void onException(Throwable error) {
                    failed.incrementAndGet();
                }
            });
        }
        return begun;
    }

    static void latency(String[] arguments, int records, int size, int rate) throws Exception {
        long[] latencies = new long[records];
        AtomicInteger before = new AtomicInteger();
        AtomicInteger got = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        AtomicLong from = new AtomicLong(Long.MAX_VALUE);
        CountDownLatch done = new CountDownLatch(1);
        consumer(arguments, 32, messages -> {
            long now = System.nanoTime();
            for (MessageExt message : messages) {
                long due = ByteBuffer.wrap(message.getBody()).getLong();
                if (due < from.get()) {
                    before.incrementAndGet();
                    continue;
                }
                int index = got.getAndIncrement();
                if (index < records) {
                    latencies[index] = now - due;
                }
                if (index == records - 1) {
                    done.countDown();
                }
            }
        });
        DefaultMQProducer producer = new DefaultMQProducer("load");
        producer.setNamesrvAddr(arguments[0]);
        producer.start();
        // Until the consumer has its queues; then what a Java client needs to be warm, and what is still on its way.
        int sent = 0;
        for (int i = 0; i < 300 && before.get() == 0; i++) {
            send(producer, arguments[2], 10, size, 100, failed);
            sent += 10;
        }
        send(producer, arguments[2], WARM_UP_SECONDS * rate, size, rate, failed);
        sent += WARM_UP_SECONDS * rate;
        for (int i = 0; i < 500 && before.get() < sent; i++) {
            Thread.sleep(10);
        }
        from.set(System.nanoTime());
        long begun = send(producer, arguments[2], records, size, rate, failed);
        if (!done.await(30, TimeUnit.SECONDS) || failed.get() > 0) {
            throw new IllegalStateException(got + " of " + records + " records arrived, " + failed + " failed");
        }
        long took = System.nanoTime() - begun;
        Arrays.sort(latencies);
        String more = ",\"sent\":" + (sent + records);
        for (String[] part : new String[][] {{"p50", "0.5"}, {"p99", "0.99"}, {"p999", "0.999"}, {"max", "1"}}) {
            int index = Math.min((int) (Double.parseDouble(part[1]) * records), records - 1);
            more += String.format(Locale.ROOT, ",\"%s_ms\":%.3f", part[0], latencies[index] / 1e6);
        }
        print(records, (long) records * size, took, more);
    }

    static void print(int records, long bytes, long nanoseconds, String more) {
        String form = "{\"records\":%d,\"bytes\":%d,\"seconds\":%.6f%s}%n";
        System.out.print(String.format(Locale.ROOT, form, records, bytes, nanoseconds / 1e9, more));
        System.out.flush();
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 6) {
            System.err.println("usage: RocketLoad NAME_SERVER consume|latency TOPIC RECORDS SIZE ARGUMENT");
            System.exit(2);
        }
        int records = Integer.parseInt(arguments[3]);
        int size = Integer.parseInt(arguments[4]);
        int argument = Integer.parseInt(arguments[5]);
        try {
            if (arguments[1].equals("consume")) {
                consume(arguments, records, argument);
            } else {
                latency(arguments, records, size, argument);
            }
        } catch (Exception error) {
            System.err.println(error);
            System.exit(1);
        }
        // Threads of the clients are left as they are.
        System.exit(0);
    }
}
