// The device alone: writes of 4 KiB past the page cache, each made durable before the next, into a file that is already full.
//   cc -O2 -o sync_alone sync_alone.c && ./sync_alone FILE SECONDS PAUSE_US
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
enum { BLOCK = 4096, FILE_BYTES = 64 << 20, STEP = 1 << 20, MOST = 2000000 };
static double took[MOST];
static double now_ms(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec / 1e6; }
static int by_size(const void *a, const void *b) { double x = *(const double *)a, y = *(const double *)b; return (x > y) - (x < y); }
int main(int count, char **words) {
  if (count != 4) { fprintf(stderr, "sync_alone FILE SECONDS PAUSE_US\n"); return 2; }
  int file = open(words[1], O_RDWR | O_CREAT | O_DIRECT, 0644);
  char *bytes;
  if (file < 0 || posix_memalign((void **)&bytes, BLOCK, STEP)) { perror(words[1]); return 1; }
  memset(bytes, 1, STEP);
  for (off_t at = 0; at < FILE_BYTES; at += STEP) if (pwrite(file, bytes, STEP, at) != STEP) { perror("write"); return 1; }
  fsync(file);
  long n = 0;
  off_t at = 0;
  for (double end = now_ms() + atof(words[2]) * 1e3; now_ms() < end && n < MOST; at = (at + BLOCK) % FILE_BYTES) {
    double begun = now_ms();
    if (pwrite(file, bytes, BLOCK, at) != BLOCK || fdatasync(file)) { perror("sync"); return 1; }
    took[n++] = now_ms() - begun;
    usleep(atoi(words[3]));
  }
  qsort(took, n, sizeof *took, by_size);
  printf("%ld syncs, ms: p50 %.3f p99 %.3f p99.9 %.3f max %.1f\n", n, took[n / 2], took[n * 99 / 100], took[n * 999 / 1000], took[n - 1]);
}
