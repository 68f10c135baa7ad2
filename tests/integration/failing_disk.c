// A disk that fails now and then, for LD_PRELOAD: one in FAIL_ONE_IN of the calls that change a file below one of
// FAIL_DIRS (a:b) fails with ENOSPC or EIO, and no file below one of FAIL_READS can be read. Only in programs called
// nixery, as the one that is tested; what they start has a sound disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

extern char* program_invocation_short_name;
static atomic_uint_fast64_t state;

static int unlucky(void) {
  const char* one_in = getenv("FAIL_ONE_IN");
  if (!one_in || strcmp(program_invocation_short_name, "nixery") != 0) return 0;
  if (atomic_load(&state) == 0) atomic_store(&state, (uint_fast64_t)getpid() * 2654435761u ^ (uint_fast64_t)time(NULL));
  uint_fast64_t x = atomic_fetch_add(&state, 0x9E3779B97F4A7C15u);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  if (x % (unsigned)atoi(one_in) != 0) return 0;
  errno = (x >> 40) % 2 ? ENOSPC : EIO;
  return 1;
}

static int is_below(const char* path, const char* dirs) {
  while (dirs && *dirs) {
    const size_t length = strcspn(dirs, ":");
    if (length && strncmp(path, dirs, length) == 0) return 1;
    dirs += length + (dirs[length] == ':');
  }
  return 0;
}

static int fails_at(const char* path) {
  return is_below(path, getenv("FAIL_DIRS")) && unlucky();
}

static int find_path(int fd, char path[PATH_MAX]) {
  char link[64];
  const int saved = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, PATH_MAX - 1);
  errno = saved;
  if (length <= 0) return 0;
  path[length] = 0;
  return 1;
}

static int fails_on(int fd) {
  char path[PATH_MAX];
  return find_path(fd, path) && fails_at(path);
}

static int is_unreadable(int fd) {
  char path[PATH_MAX];
  const char* dirs = getenv("FAIL_READS");
  if (!dirs || strcmp(program_invocation_short_name, "nixery") != 0) return 0;
  if (!find_path(fd, path) || !is_below(path, dirs)) return 0;
  errno = EIO;
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void* bytes, size_t count) {
  if (!fails_on(fd)) return REAL(write)(fd, bytes, count);
  if (count < 2 || errno == EIO) return -1;
  return REAL(write)(fd, bytes, count / 2);  // the disk is full in the middle
}
ssize_t read(int fd, void* bytes, size_t count) {
  return is_unreadable(fd) ? -1 : REAL(read)(fd, bytes, count);
}
ssize_t pread64(int fd, void* bytes, size_t count, off64_t at) {
  return is_unreadable(fd) ? -1 : REAL(pread64)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t at) {
  return fails_on(fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
ssize_t copy_file_range(int in, off64_t* from, int out, off64_t* to, size_t count, unsigned flags) {
  return fails_on(out) ? -1 : REAL(copy_file_range)(in, from, out, to, count, flags);
}
int fsync(int fd) {
  return fails_on(fd) ? -1 : REAL(fsync)(fd);
}
int rename(const char* from, const char* to) {
  return fails_at(to) ? -1 : REAL(rename)(from, to);
}
int symlink(const char* target, const char* link) {
  return fails_at(link) ? -1 : REAL(symlink)(target, link);
}
int mkdir(const char* path, mode_t mode) {
  return fails_at(path) ? -1 : REAL(mkdir)(path, mode);
}
int unlink(const char* path) {
  return fails_at(path) ? -1 : REAL(unlink)(path);
}
int utimensat(int dir, const char* path, const struct timespec times[2], int flags) {
  return fails_at(path) ? -1 : REAL(utimensat)(dir, path, times, flags);
}

static int open_mode(int flags, va_list words) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(words, int) : 0;
}
int open(const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const int mode = open_mode(flags, words);
  va_end(words);
  return (flags & O_CREAT) && fails_at(path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const int mode = open_mode(flags, words);
  va_end(words);
  return (flags & O_CREAT) && fails_at(path) ? -1 : REAL(open64)(path, flags, mode);
}
