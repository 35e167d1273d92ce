// Native Kafka-protocol load tool on librdkafka (works against any Kafka-compatible broker).
//   rkperf produce BROKERS TOPIC N SIZE RATE [key=value ...]   RATE 0 = as fast as possible
//   rkperf consume BROKERS TOPIC N PARTITIONS [key=value ...]  reads N records from the beginning; RKPERF_READ_BYTES_S=B holds it to B bytes a second
//   rkperf e2e     BROKERS TOPIC N SIZE RATE PARTITIONS [k=v ..] RATE 0 = ping-pong, one at a time
// Prints one JSON line. produce: latency = produce() call to delivery report. e2e: produce() to consumer.
// build: cc -O2 -o rkperf rkperf.c -lrdkafka -lpthread
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
static int64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static double cpu(void) { struct rusage r; getrusage(RUSAGE_SELF, &r); return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6; }
static int64_t *lat; static _Atomic long nlat, nerr;
static int cmp(const void *a, const void *b) { int64_t x = *(int64_t *)a, y = *(int64_t *)b; return (x > y) - (x < y); }
static double pct(double p) { long n = nlat; if (!n) return 0; long i = (long)(p * n); if (i >= n) i = n - 1; return lat[i] / 1e6; }
static rd_kafka_conf_t *conf(char **av, int from, int ac, const char *brokers) {
  rd_kafka_conf_t *c = rd_kafka_conf_new(); char e[512];
  rd_kafka_conf_set(c, "bootstrap.servers", brokers, e, sizeof e);
  for (int i = from; i < ac; i++) { char *k = strdup(av[i]), *v = strchr(k, '='); if (!v) continue; *v++ = 0;
    if (rd_kafka_conf_set(c, k, v, e, sizeof e) != RD_KAFKA_CONF_OK) { fprintf(stderr, "conf %s: %s\n", k, e); exit(2); } }
  return c; }
static int is_e2e;
static void dr(rd_kafka_t *rk, const rd_kafka_message_t *m, void *o) { (void)rk; (void)o;
  if (m->err) { if (!nerr++) fprintf(stderr, "delivery: %s\n", rd_kafka_err2str(m->err)); return; }
  if (!is_e2e) lat[nlat++] = now() - (int64_t)(intptr_t)m->_private; }
static rd_kafka_t *mk(rd_kafka_type_t t, rd_kafka_conf_t *c) { char e[512]; rd_kafka_t *rk = rd_kafka_new(t, c, e, sizeof e);
  if (!rk) { fprintf(stderr, "%s\n", e); exit(2); } return rk; }
static void out(const char *mode, long n, long size, double s) {
  qsort(lat, nlat, sizeof *lat, cmp);
  printf("{\"mode\":\"%s\",\"n\":%ld,\"size\":%ld,\"s\":%.3f,\"rec_s\":%.0f,\"MB_s\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"errors\":%ld,\"client_cpu_s\":%.2f}\n",
    mode, n, size, s, n / s, n * (double)size / 1e6 / s, pct(.5), pct(.99), pct(.999), pct(1), (long)nerr, cpu()); fflush(stdout); }
static const char *topic; static long N, size, rate; static rd_kafka_t *C; static rd_kafka_queue_t *Q; static _Atomic long got;
static void start_consumer(rd_kafka_conf_t *c, int parts, int64_t off) {
  C = mk(RD_KAFKA_CONSUMER, c); Q = rd_kafka_queue_new(C);
  rd_kafka_topic_t *t = rd_kafka_topic_new(C, topic, NULL);
  for (int p = 0; p < parts; p++) if (rd_kafka_consume_start_queue(t, p, off, Q)) { fprintf(stderr, "consume_start %d\n", p); exit(2); } }
static void *reader(void *x) { rd_kafka_message_t *b[10000]; long bytes = 0; (void)x; int64_t last = now(), t0 = last;
  double hold = getenv("RKPERF_READ_BYTES_S") ? atof(getenv("RKPERF_READ_BYTES_S")) : 0;
  while (got < N) { ssize_t k = rd_kafka_consume_batch_queue(Q, 200, b, is_e2e ? 1 : 10000); int64_t t = now();
    if (k > 0) last = t; else if (t - last > 20000000000LL) { fprintf(stderr, "consumer idle 20 s at %ld of %ld\n", (long)got, N); break; }
    for (ssize_t i = 0; i < k; i++) { if (!b[i]->err) { bytes += b[i]->len; 
        if (is_e2e && b[i]->len >= 8) { int64_t s; memcpy(&s, b[i]->payload, 8); lat[nlat++] = t - s; }
        got++; }
      rd_kafka_message_destroy(b[i]); }
    if (hold > 0) { int64_t w = t0 + (int64_t)(bytes / hold * 1e9) - now(); if (w > 0) usleep(w / 1000); } }
  size = got ? bytes / got : 0; return NULL; }
int main(int ac, char **av) {
  if (ac < 6) { fprintf(stderr, "see the head of rkperf.c\n"); return 2; }
  topic = av[3]; N = atol(av[4]); lat = malloc((N + 10) * 8);
  if (!strcmp(av[1], "consume")) { int64_t t0 = now(); start_consumer(conf(av, 6, ac, av[2]), atoi(av[5]), RD_KAFKA_OFFSET_BEGINNING); reader(NULL); out("consume", got, size, (now() - t0) / 1e9); _exit(0); }
  size = atol(av[5]); rate = atol(av[6]); is_e2e = !strcmp(av[1], "e2e"); long sz = size < 8 ? 8 : size;
  int from = 7; pthread_t th;
  if (is_e2e) { int parts = atoi(av[7]); from = 8; rd_kafka_conf_t *c = conf(NULL, 0, 0, av[2]); char e[256];
    rd_kafka_conf_set(c, "fetch.wait.max.ms", "500", e, sizeof e); rd_kafka_conf_set(c, "fetch.min.bytes", "1", e, sizeof e);
    start_consumer(c, parts, RD_KAFKA_OFFSET_END); sleep(2); pthread_create(&th, NULL, reader, NULL); }
  rd_kafka_conf_t *c = conf(av, from, ac, av[2]); rd_kafka_conf_set_dr_msg_cb(c, dr);
  rd_kafka_t *P = mk(RD_KAFKA_PRODUCER, c); rd_kafka_topic_t *t = rd_kafka_topic_new(P, topic, NULL);
  const struct rd_kafka_metadata *md; rd_kafka_metadata(P, 0, t, &md, 10000);
  // 64 payload variants of pseudo-random letters: incompressible for lz4 except for repeats across records
  char *pool = malloc(sz * 64 + sz); uint64_t r = 88172645463325252ULL; for (long i = 0; i < sz * 65; i++) { r ^= r << 13; r ^= r >> 7; r ^= r << 17; pool[i] = 'A' + (r >> 33) % 26; }
  char *pl = malloc(sz); int64_t t0 = now();
  for (long i = 0; i < N; i++) {
    int64_t due = 0; if (rate) { int64_t w; due = t0 + (int64_t)(i * 1e9 / rate); while ((w = due - now()) > 0) { rd_kafka_poll(P, 0); struct timespec ts = {0, w > 200000 ? 100000 : 20000}; nanosleep(&ts, NULL); } }
    memcpy(pl, pool + (i * 7919) % (sz * 64), sz); int64_t ts = rate ? due : now(); memcpy(pl, &ts, 8); // at a rate: from the intended send time
    while (rd_kafka_produce(t, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, pl, sz, NULL, 0, (void *)(intptr_t)ts)) rd_kafka_poll(P, 5);
    if (!(i & 63) || rate) rd_kafka_poll(P, 0);
    if (is_e2e && !rate) { while (got <= i) rd_kafka_poll(P, 0), usleep(5); } }
  rd_kafka_flush(P, 120000); double s = (now() - t0) / 1e9;
  if (is_e2e) { pthread_join(th, NULL); out("e2e", got, sz, s); } else out("produce", N, sz, s);
  _exit(0); }
