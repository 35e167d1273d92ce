// The same as lost_wakeup/ on one plain io_uring a shard, with a timeout of 500 us: no wake-up is lost.
// cc -O2 -o rawwake rawwake.c -luring -lpthread && ./rawwake
#define _GNU_SOURCE
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 25

struct shard {
	int event, cpu;
	_Atomic unsigned long seen;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *serve(void *argument)
{
	struct shard *shard = argument;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(shard->cpu, &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);

	struct io_uring ring;
	io_uring_queue_init(256, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN);
	for (int armed = 0;;) {
		if (!armed) {
			struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
			io_uring_prep_poll_add(entry, shard->event, POLLIN);
			entry->user_data = 1;
			armed = 1;
		}
		struct __kernel_timespec timeout = { 0, 500000 };
		struct io_uring_cqe *completion;
		io_uring_submit_and_wait_timeout(&ring, &completion, 1, &timeout, NULL);
		unsigned head, count = 0;
		io_uring_for_each_cqe(&ring, head, completion) {
			count++;
			if (completion->user_data != 1)
				continue;
			armed = 0;
			unsigned long value;
			if (read(shard->event, &value, 8) < 0)
				continue;
			for (double start = now(); now() - start < 20e-6;)
				;
			atomic_fetch_add(&shard->seen, 1);
		}
		io_uring_cq_advance(&ring, count);
	}
	return NULL;
}

static void *drive(void *argument)
{
	struct shard *shard = argument;
	double start = now();
	unsigned long count = 0, random = 88172645463325252ul, one = 1;
	while (now() - start < SECONDS) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		double pause = (random % 200) * 1e-6, sent = now();
		if (random & 1) {
			struct timespec t = { 0, (long)(pause * 1e9) };
			nanosleep(&t, NULL);
		} else {
			while (now() - sent < pause / 4)
				;
		}
		if (write(shard->event, &one, 8) != 8)
			return NULL;
		count++;
		for (sent = now(); atomic_load(&shard->seen) < count;) {
			if (now() - sent > 2) {
				printf("cpu %d STUCK at signal %lu\n", shard->cpu, count);
				return NULL;
			}
			if (now() - sent > 50e-6)
				sched_yield();
		}
	}
	printf("cpu %d ok, %lu signals\n", shard->cpu, count);
	return NULL;
}

int main(void)
{
	static struct shard shards[2];
	pthread_t server, drivers[2];
	for (int i = 0; i < 2; i++) {
		shards[i].event = eventfd(0, EFD_NONBLOCK);
		shards[i].cpu = i;
		pthread_create(&server, 0, serve, &shards[i]);
		pthread_create(&drivers[i], 0, drive, &shards[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(drivers[i], 0);
	fflush(stdout);
	_exit(0);
}
