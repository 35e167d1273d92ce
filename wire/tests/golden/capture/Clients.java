import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/** The Java client: every codec out, a group in. usage: java -cp kafka-clients.jar Clients.java BOOTSTRAP */
class Clients {
    public static void main(String[] args) throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            Map<String, Object> conf = new HashMap<>(Map.of("bootstrap.servers", args[0], "client.id", "java", "compression.type", codec, "linger.ms", 50));
            try (var producer = new KafkaProducer<>(conf, new StringSerializer(), new StringSerializer())) {
                for (int i = 0; i < 5; i++) {
                    var record = new ProducerRecord<>("golden-java-" + codec, i == 3 ? null : "key" + i, ("value " + i + " ").repeat(6));
                    record.headers().add("h", "x".getBytes(StandardCharsets.UTF_8));
                    producer.send(record);
                }
                producer.flush();
            }
        }
        for (String protocol : List.of("classic", "consumer")) {
            Map<String, Object> conf = new HashMap<>(Map.of("bootstrap.servers", args[0], "client.id", "java", "group.id", "golden-java-" + protocol,
                "auto.offset.reset", "earliest", "group.protocol", protocol));
            try (var consumer = new KafkaConsumer<>(conf, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of("golden-java-zstd"));
                int count = 0;
                for (long end = System.currentTimeMillis() + 10_000; count < 5 && System.currentTimeMillis() < end;) {
                    count += consumer.poll(Duration.ofMillis(200)).count();
                }
                consumer.commitSync();
                System.out.println("java " + protocol + " " + count);
            }
        }
    }
}
