/* What a process does to the files below one folder, counted: loaded with LD_PRELOAD by tests/tools/torture.py.

Before call number `at` the process gets a signal, or the call fails with an errno, or a write is torn: half of it is
written, then comes SIGKILL. Successful calls are written to a log, from which tests/tools/torture_power.py rebuilds what a disk
may hold after a loss of power. Until `torture_arm` is called, nothing happens. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define TORN 1000 /* instead of the number of a signal */
#define REAL(name) (real_##name ? real_##name : (real_##name = dlsym(RTLD_NEXT, #name)))

static char root[PATH_MAX];
static long at;
static int sig, fail, sticky, logfd = -1;
static volatile int64_t *count;

void torture_arm(const char *folder, int64_t *counter, long number, int signal_number, int error, int stays, int log) {
  strncpy(root, folder, sizeof root - 1);
  at = number, sig = signal_number, fail = error, sticky = stays, logfd = log, count = counter;
}

static int inside(const char *path) { return count && !strncmp(path, root, strlen(root)); }

static int of_fd(int fd, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, PATH_MAX - 1);
  out[n < 0 ? 0 : n] = 0;
  return inside(out);
}

static int of_name(int dir, const char *name, char *out) {
  char base[PATH_MAX];
  if (!count || !name) return 0;
  if (name[0] == '/') {
    snprintf(out, PATH_MAX, "%s", name);
  } else {
    if (dir == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return 0;
    } else {
      of_fd(dir, base);
    }
    if (snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return inside(out);
}

/* A full disk (ENOSPC, EDQUOT) still lets files be renamed, removed and locked. */
static int concerns(char op) {
  return op != 'L' && !((fail == ENOSPC || fail == EDQUOT) && strchr("RUD", op));
}

/* 0: go on; 1: fail with errno; 2: tear the write */
static int before(char op) {
  int64_t n = __sync_add_and_fetch(count, 1);
  if (!at || n < at || (n > at && !sticky)) return 0;
  if (fail) {
    if (!concerns(op)) return 0;
    errno = fail;
    return 1;
  }
  if (n != at) return 0;
  if (sig == TORN && op == 'W') return 2;
  int number = sig == TORN ? SIGKILL : sig;
  syscall(SYS_kill, getpid(), number);
  while (number == SIGKILL) pause();
  return 0;
}

static void note(char op, const char *one, const char *two, int64_t number, const void *data, int64_t size) {
  if (logfd < 0) return;
  int saved = errno;
  int64_t head[5] = {op, (int64_t)strlen(one), two ? (int64_t)strlen(two) : 0, number, data ? size : 0};
  syscall(SYS_write, logfd, head, sizeof head);
  syscall(SYS_write, logfd, one, head[1]);
  if (two) syscall(SYS_write, logfd, two, head[2]);
  if (data) syscall(SYS_write, logfd, data, size);
  errno = saved;
}

static int changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPEN(name, first, dir)                                                                                        \
  int name(first const char *path, int flags, ...) {                                                                  \
    static int (*real_##name)();                                                                                      \
    char full[PATH_MAX];                                                                                              \
    va_list rest;                                                                                                     \
    va_start(rest, flags);                                                                                            \
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;                                                 \
    va_end(rest);                                                                                                     \
    int counted = changes(flags) && of_name(dir, path, full);                                                         \
    if (counted && before('O')) return -1;                                                                            \
    int fd = CALL_##name;                                                                                             \
    if (counted && fd >= 0) note('O', full, NULL, flags & (O_CREAT | O_TRUNC), NULL, 0);                              \
    return fd;                                                                                                        \
  }
#define CALL_open REAL(open)(path, flags, mode)
#define CALL_open64 REAL(open64)(path, flags, mode)
#define CALL_openat REAL(openat)(at_folder, path, flags, mode)
#define CALL_openat64 REAL(openat64)(at_folder, path, flags, mode)
#define NOTHING
#define FOLDER int at_folder,
OPEN(open, NOTHING, AT_FDCWD)
OPEN(open64, NOTHING, AT_FDCWD)
OPEN(openat, FOLDER, at_folder)
OPEN(openat64, FOLDER, at_folder)

static ssize_t put(int fd, const void *data, size_t size, off_t offset) {
  char full[PATH_MAX];
  int counted = of_fd(fd, full), positioned = offset >= 0;
  int what = counted ? before('W') : 0;
  if (what == 1) return -1;
  if (counted && !positioned) {
    struct stat now;
    offset = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &now) ? now.st_size : lseek(fd, 0, SEEK_CUR);
  }
  if (what == 2) size /= 2;
  ssize_t n = positioned ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
  if (what == 2) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
  }
  if (counted && n >= 0) note('W', full, NULL, offset, data, n);
  return n;
}

ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real_write)(int, const void *, size_t);
  return count ? put(fd, data, size, -1) : REAL(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
  return count ? put(fd, data, size, offset) : REAL(pwrite64)(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
  static ssize_t (*real_writev)(int, const struct iovec *, int);
  char full[PATH_MAX];
  if (!count || !of_fd(fd, full)) return REAL(writev)(fd, parts, n);
  ssize_t total = 0;
  for (int i = 0; i < n; i++) {
    ssize_t done = put(fd, parts[i].iov_base, parts[i].iov_len, -1);
    if (done < 0) return total ? total : -1;
    total += done;
    if ((size_t)done < parts[i].iov_len) break;
  }
  return total;
}

#define ON_FD(name, op, declared, passed, number)                                                                     \
  int name(int fd declared) {                                                                                         \
    static int (*real_##name)();                                                                                      \
    char full[PATH_MAX];                                                                                              \
    int counted = count && of_fd(fd, full);                                                                           \
    if (counted && before(op)) return -1;                                                                             \
    int result = REAL(name)(fd passed);                                                                               \
    if (counted && !result) note(op, full, NULL, number, NULL, 0);                                                    \
    return result;                                                                                                    \
  }
#define COMMA ,
ON_FD(fsync, 'F', , , 0)
ON_FD(fdatasync, 'F', , , 0)
ON_FD(flock, 'L', COMMA int how, COMMA how, how)
ON_FD(ftruncate, 'T', COMMA off_t size, COMMA size, size)
ON_FD(ftruncate64, 'T', COMMA off64_t size, COMMA size, size)

#define ON_NAME(name, op, declared, passed, dir, path, number)                                                        \
  int name declared {                                                                                                 \
    static int (*real_##name)();                                                                                      \
    char full[PATH_MAX];                                                                                              \
    int counted = of_name(dir, path, full);                                                                           \
    if (counted && before(op)) return -1;                                                                             \
    int result = REAL(name) passed;                                                                                   \
    if (counted && !result) note(op, full, NULL, number, NULL, 0);                                                    \
    return result;                                                                                                    \
  }
ON_NAME(unlink, 'U', (const char *path), (path), AT_FDCWD, path, 0)
ON_NAME(unlinkat, 'U', (int dir, const char *path, int flags), (dir, path, flags), dir, path, 0)
ON_NAME(rmdir, 'U', (const char *path), (path), AT_FDCWD, path, 0)
ON_NAME(mkdir, 'M', (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 0)
ON_NAME(mkdirat, 'M', (int dir, const char *path, mode_t mode), (dir, path, mode), dir, path, 0)
ON_NAME(truncate, 'T', (const char *path, off_t size), (path, size), AT_FDCWD, path, size)

#define TWO_NAMES(name, op, declared, passed, dir1, path1, dir2, path2)                                               \
  int name declared {                                                                                                 \
    static int (*real_##name)();                                                                                      \
    char one[PATH_MAX], two[PATH_MAX];                                                                                \
    int counted = of_name(dir1, path1, one) | of_name(dir2, path2, two);                                              \
    if (counted && before(op)) return -1;                                                                             \
    int result = REAL(name) passed;                                                                                   \
    if (counted && !result) note(op, one, two, 0, NULL, 0);                                                           \
    return result;                                                                                                    \
  }
TWO_NAMES(rename, 'R', (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
TWO_NAMES(renameat, 'R', (int d, const char *a, int e, const char *b), (d, a, e, b), d, a, e, b)
TWO_NAMES(renameat2, 'R', (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), d, a, e, b)
TWO_NAMES(link, 'N', (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
TWO_NAMES(linkat, 'N', (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), d, a, e, b)
