/* Stands between a process and the C library: it counts the calls that change files below a folder, and at one of them
 * it kills the process or makes the call fail; or it writes every one of them down, with its data, up to where it kills.
 *
 * Built as a shared library, loaded by LD_PRELOAD, armed by shim_arm() in the process itself. Calls that change memory
 * maps are not seen; SQLite's -shm file is the only one, and it is made anew after a crash.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#undef open
#undef open64
#undef pwrite64
#undef ftruncate64
#undef posix_fallocate64

enum mode { OFF, COUNT, KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_FROM, LOG };

static char root[PATH_MAX];
static size_t root_length;
static _Atomic int mode = OFF;
static long chosen, counted;
static int fault, log_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* steps happen, and are written down, one after the other */

struct step {
    const char *name;
    char path[PATH_MAX], other[PATH_MAX];
    int grows; /* whether a full disk could refuse it */
};

#define REAL(name)                                                 \
    static __typeof__(&name) real;                                 \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int inside(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int path_of_file(int fd, char *path) {
    char link[64];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    errno = before;
    return length > 0 && inside(path);
}

static int path_at(int folder, const char *given, char *path) {
    char base[PATH_MAX];
    if (!given) return 0;
    if (given[0] == '/') {
        snprintf(path, PATH_MAX, "%s", given);
    } else {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            path_of_file(folder, base);
        }
        if (snprintf(path, PATH_MAX, "%s/%s", base, given) >= PATH_MAX) return 0;
    }
    return inside(path);
}

static int fails(const struct step *step) {
    if (mode != FAIL_ONCE && mode != FAIL_FROM) return 0;
    if (mode == FAIL_ONCE ? counted != chosen : counted < chosen) return 0;
    return fault != ENOSPC || step->grows;
}

/* Begin a step, alone. Returns 0 where it is to be done, 1 where half of it, -1 where it fails with errno set. */
static int begin(struct step *step) {
    pthread_mutex_lock(&lock);
    counted++;
    if ((mode == KILL_BEFORE || mode == LOG) && counted == chosen) die();
    if (mode == KILL_TORN && counted == chosen) return 1;
    if (fails(step)) {
        pthread_mutex_unlock(&lock);
        errno = fault;
        return -1;
    }
    return 0;
}

static void put(const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    while (size > 0) {
        ssize_t done = real(log_fd, data, size);
        if (done < 0) die();
        data = (const char *)data + done;
        size -= (size_t)done;
    }
}

static void note(const char *name, unsigned long inode, long offset, const void *data, size_t size, const char *path,
                 const char *other) {
    char line[3 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s\t%lu\t%ld\t%zu\t%s\t%s\n", name, inode, offset, size, path, other);
    put(line, (size_t)length);
    put(data, size);
}

/* End a step that was done, with what it wrote where it wrote something. */
static void end(struct step *step, int fd, long offset, const void *data, size_t size) {
    int before = errno;
    if ((mode == KILL_AFTER || mode == KILL_TORN) && counted == chosen) die();
    if (mode == LOG) {
        struct stat found = {0};
        if (fd >= 0) fstat(fd, &found);
        note(S_ISDIR(found.st_mode) ? "sync-folder" : step->name, found.st_ino, offset, data, size, step->path,
             step->other);
    }
    pthread_mutex_unlock(&lock);
    errno = before;
}

static void give_up(void) {
    int before = errno;
    if ((mode == KILL_AFTER || mode == KILL_TORN) && counted == chosen) die();
    pthread_mutex_unlock(&lock);
    errno = before;
}

/* ---- what tests call ---- */

void shim_arm(const char *folder, int how, long at, int error, const char *log) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    chosen = at, counted = 0, fault = error;
    if (how == LOG) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    mode = how;
}

long shim_disarm(void) {
    mode = OFF;
    return counted;
}

void shim_mark(const char *text) {
    pthread_mutex_lock(&lock);
    if (mode == LOG) note("mark", 0, 0, "", 0, text, "");
    pthread_mutex_unlock(&lock);
}

/* ---- writing ---- */

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    struct step step = {.name = "write", .grows = 1};
    if (mode == OFF || !path_of_file(fd, step.path)) return real(fd, data, size);
    int how = begin(&step);
    if (how < 0) return -1;
    ssize_t done = real(fd, data, how && size > 1 ? size / 2 : size);
    if (done < 0) return give_up(), done;
    end(&step, fd, lseek(fd, 0, SEEK_CUR) - done, data, (size_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    struct step step = {.name = "write", .grows = 1};
    if (mode == OFF || !path_of_file(fd, step.path)) return real(fd, data, size, offset);
    int how = begin(&step);
    if (how < 0) return -1;
    ssize_t done = real(fd, data, how && size > 1 ? size / 2 : size, offset);
    if (done < 0) return give_up(), done;
    end(&step, fd, offset, data, (size_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

/* A write in pieces is done piece by piece, which is one of the things that the system may do. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(writev);
    char path[PATH_MAX];
    if (mode == OFF || !path_of_file(fd, path)) return real(fd, pieces, count);
    ssize_t all = 0;
    for (int n = 0; n < count; n++) {
        ssize_t done = write(fd, pieces[n].iov_base, pieces[n].iov_len);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < pieces[n].iov_len) break;
    }
    return all;
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    struct step step = {.name = "truncate", .grows = 1};
    if (mode == OFF || !path_of_file(fd, step.path)) return real(fd, size);
    if (begin(&step) < 0) return -1;
    int done = real(fd, size);
    if (done < 0) return give_up(), done;
    end(&step, fd, size, "", 0);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(posix_fallocate64);
    struct step step = {.name = "allocate", .grows = 1};
    if (mode == OFF || !path_of_file(fd, step.path)) return real(fd, offset, size);
    if (begin(&step) < 0) return errno;
    int done = real(fd, offset, size);
    if (done) return give_up(), done;
    end(&step, fd, offset + size, "", 0);
    return done;
}

int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

int fsync(int fd) {
    REAL(fsync);
    struct step step = {.name = "sync", .grows = 1};
    if (mode == OFF || !path_of_file(fd, step.path)) return real(fd);
    if (begin(&step) < 0) return -1;
    int done = real(fd);
    if (done < 0) return give_up(), done;
    end(&step, fd, 0, "", 0);
    return done;
}

int fdatasync(int fd) { return fsync(fd); }

/* ---- names ---- */

static int changes(int folder, const char *path, int flags) {
    struct stat found;
    int before = errno, there = fstatat(folder, path, &found, 0) == 0;
    errno = before;
    return there ? (flags & O_TRUNC) && S_ISREG(found.st_mode) && found.st_size > 0 : flags & O_CREAT;
}

int openat64(int folder, const char *path, int flags, ...) {
    REAL(openat64);
    va_list rest;
    va_start(rest, flags);
    mode_t rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    struct step step = {.name = "create", .grows = 1};
    if (mode == OFF || !(flags & (O_CREAT | O_TRUNC)) || !path_at(folder, path, step.path) ||
        !changes(folder, path, flags))
        return real(folder, path, flags, rights);
    struct stat found;
    if (fstatat(folder, path, &found, 0) == 0) step.name = "truncate";
    if (begin(&step) < 0) return -1;
    int fd = real(folder, path, flags, rights);
    if (fd < 0) return give_up(), fd;
    end(&step, fd, 0, "", 0);
    return fd;
}

#define RIGHTS(flags)                                                     \
    va_list rest;                                                         \
    va_start(rest, flags);                                                \
    mode_t rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest)

int openat(int folder, const char *path, int flags, ...) {
    RIGHTS(flags);
    return openat64(folder, path, flags, rights);
}

int open64(const char *path, int flags, ...) {
    RIGHTS(flags);
    return openat64(AT_FDCWD, path, flags, rights);
}

int open(const char *path, int flags, ...) {
    RIGHTS(flags);
    return openat64(AT_FDCWD, path, flags, rights);
}

int creat(const char *path, mode_t rights) { return openat64(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, rights); }
int creat64(const char *path, mode_t rights) { return openat64(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, rights); }

#define NAMED(label, can_grow, given_folder, given, call)                                    \
    struct step step = {.name = label, .grows = can_grow};                                   \
    if (mode == OFF || !path_at(given_folder, given, step.path)) return call;                \
    if (begin(&step) < 0) return -1;                                                         \
    int done = call;                                                                         \
    if (done < 0) return give_up(), done;                                                    \
    end(&step, -1, 0, "", 0);                                                                \
    return done

#define RENAMED(label, from_folder, from, to_folder, to, call)                               \
    struct step step = {.name = label, .grows = 1};                                          \
    int here = mode != OFF && path_at(from_folder, from, step.path);                         \
    if (mode == OFF || (!path_at(to_folder, to, step.other) && !here)) return call;          \
    if (begin(&step) < 0) return -1;                                                         \
    int done = call;                                                                         \
    if (done < 0) return give_up(), done;                                                    \
    end(&step, -1, 0, "", 0);                                                                \
    return done

int mkdirat(int folder, const char *path, mode_t rights) {
    REAL(mkdirat);
    NAMED("mkdir", 1, folder, path, real(folder, path, rights));
}

int mkdir(const char *path, mode_t rights) { return mkdirat(AT_FDCWD, path, rights); }

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    NAMED(flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0, folder, path, real(folder, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int fchmodat(int folder, const char *path, mode_t rights, int flags) {
    REAL(fchmodat);
    NAMED("chmod", 0, folder, path, real(folder, path, rights, flags));
}

int chmod(const char *path, mode_t rights) { return fchmodat(AT_FDCWD, path, rights, 0); }

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags) {
    REAL(renameat2);
    RENAMED("rename", from_folder, from, to_folder, to, real(from_folder, from, to_folder, to, flags));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    RENAMED("link", from_folder, from, to_folder, to, real(from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
