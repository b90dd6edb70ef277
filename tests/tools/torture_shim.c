/* What a process does to the files below one folder, counted: loaded with LD_PRELOAD by tests/tools/torture.py.

Before call number `at` the process gets a signal, or the call fails with an errno, or a write is torn: half of it is
written, then comes SIGKILL. Successful calls are written to a log, from which torture_power.py rebuilds what a disk may
hold after a loss of power; it also finds out if the program makes a call that is missing here. Until `torture_arm` is
called, nothing happens. */
#define _GNU_SOURCE
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

static char root[PATH_MAX];
static long at;
static int sig, fail, sticky, logfd = -1;
static volatile int64_t *count;

void torture_arm(const char *folder, int64_t *counter, long number, int signal_number, int error, int stays, int log) {
  strncpy(root, folder, sizeof root - 1);
  at = number, sig = signal_number, fail = error, sticky = stays, logfd = log, count = counter;
}

/* Find the full path of a name in a folder, or of an open file if there is no name. Return whether it is below root. */
static int inside(int fd, const char *name, char *full) {
  char link[64];
  if (!count) return 0;
  if (name && *name == '/') {
    snprintf(full, PATH_MAX, "%s", name);
  } else {
    snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, full, PATH_MAX - 1);
    if (n < 0) return 0;
    snprintf(full + n, PATH_MAX - n, name ? "/%s" : "", name);
  }
  return !strncmp(full, root, strlen(root));
}

static void stop(int number) {
  syscall(SYS_kill, getpid(), number);
  while (number == SIGKILL) pause();
}

/* Count a call, and send the signal if it is due. 0: go on; 1: fail with errno; 2: tear the write. */
static int before(char op) {
  int64_t n = __sync_add_and_fetch(count, 1);
  if (!at || n < at || (n > at && !sticky)) return 0;
  if (fail) {
    /* A full disk (ENOSPC, EDQUOT) still lets files be renamed and removed. */
    if (op == 'L' || ((fail == ENOSPC || fail == EDQUOT) && strchr("RU", op))) return 0;
    errno = fail;
    return 1;
  }
  if (sig == TORN && op == 'W') return 2;
  stop(sig == TORN ? SIGKILL : sig);
  return 0;
}

static void note(char op, const char *one, const char *two, int64_t number, const void *data, int64_t size) {
  int64_t head[5] = {op, (int64_t)strlen(one), (int64_t)strlen(two), number, size};
  struct iovec parts[] = {{head, sizeof head}, {(void *)one, head[1]}, {(void *)two, head[2]}, {(void *)data, size}};
  if (logfd >= 0) syscall(SYS_writev, logfd, parts, 4);
}

ssize_t write(int fd, const void *data, size_t size) {
  char full[PATH_MAX];
  struct stat now;
  if (!inside(fd, NULL, full)) return syscall(SYS_write, fd, data, size);
  int what = before('W');
  if (what == 1) return -1;
  off_t offset = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &now) ? now.st_size : lseek(fd, 0, SEEK_CUR);
  ssize_t n = syscall(SYS_write, fd, data, what == 2 ? size / 2 : size);
  if (what == 2) stop(SIGKILL);
  if (n >= 0) note('W', full, "", offset, data, n);
  return n;
}

/* The body of a function. The arguments after `number`, which is noted, are the system call. */
#define CHANGE(op, changes, fd, name, other, number, ...)                                                             \
  char one[PATH_MAX], two[PATH_MAX] = "";                                                                             \
  int counted = (changes) && inside(fd, name, one) | (other && inside(AT_FDCWD, other, two));                         \
  if (counted && before(op)) return -1;                                                                               \
  int result = syscall(__VA_ARGS__);                                                                                  \
  if (counted && result >= 0) note(op, one, two, number, "", 0);                                                      \
  return result

#define OPEN(name)                                                                                                    \
  int name(const char *path, int flags, ...) {                                                                        \
    va_list rest;                                                                                                     \
    va_start(rest, flags);                                                                                            \
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0, makes = flags & (O_CREAT | O_TRUNC);            \
    va_end(rest);                                                                                                     \
    CHANGE('O', makes || (flags & O_ACCMODE) != O_RDONLY, AT_FDCWD, path, NULL, makes, SYS_openat, AT_FDCWD, path,    \
           flags | O_LARGEFILE, mode);                                                                                \
  }
OPEN(open)
OPEN(open64)
int fsync(int fd) { CHANGE('F', 1, fd, NULL, NULL, 0, SYS_fsync, fd); }
int flock(int fd, int how) { CHANGE('L', 1, fd, NULL, NULL, how, SYS_flock, fd, how); }
int unlinkat(int dir, const char *path, int flags) {
  CHANGE('U', 1, dir, path, NULL, 0, SYS_unlinkat, dir, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { CHANGE('M', 1, AT_FDCWD, path, NULL, 0, SYS_mkdirat, AT_FDCWD, path, mode); }
int rename(const char *a, const char *b) { CHANGE('R', 1, AT_FDCWD, a, b, 0, SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0); }
