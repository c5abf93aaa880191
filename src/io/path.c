/* Folders and paths. */
#include "io/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool sl_path_exists(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

bool sl_path_is_dir(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

sl_status sl_path_join(char *out, size_t size, const char *a, const char *b, sl_err *err)
{
    size_t n = strlen(a);
    const char *slash = n == 0 || a[n - 1] == '/' ? "" : "/";
    int k = snprintf(out, size, "%s%s%s", a, slash, b);
    if (k < 0 || (size_t)k >= size)
        return sl_fail(err, SL_ARG, b, NULL, "the path is too long");
    return SL_OK;
}

sl_status sl_path_rename(const char *from, const char *to, sl_err *err)
{
    if (sl__rename(from, to) != 0) {
        if (errno == EEXIST || errno == ENOTEMPTY)
            return sl_fail(err, SL_EXISTS, to, NULL, "is there already; %s stays", from);
        return sl__fail_errno(err, from, "rename");
    }
    sl__sync_parent(to);
    return SL_OK;
}

sl_status sl_dir_make(const char *path, sl_err *err)
{
    char p[SL_PATH];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof p)
        return sl_fail(err, SL_ARG, path, NULL, n ? "the path is too long" : "the folder's name is empty");
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(p, path, i);
        p[i] = 0;
        if (sl_path_is_dir(p))
            continue;
        if (sl__mkdir(p) != 0 && errno != EEXIST)
            return sl__fail_errno(err, p, "make the folder");
        if (!sl_path_is_dir(p))
            return sl_fail(err, SL_EXISTS, p, "a folder", "is a file");
    }
    return SL_OK;
}

/* NAME.tmp-PID-N, as sl_atomic names them */
static bool is_temporary(const char *name)
{
    const char *p = strstr(name, ".tmp-");
    long pid;
    int i, used = 0;
    return p && sscanf(p, ".tmp-%ld-%d%n", &pid, &i, &used) == 2 && p[used] == 0;
}

/* Removes what the open folder holds (all of it, or the temporary files of killed writers). Closes fd. */
static int clear_dir(int fd, bool only_temporary)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -1;
    }
    int bad = 0;
    for (struct dirent *e; bad == 0 && (e = readdir(d)) != NULL;) {
        struct stat s;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
            bad = errno == ENOENT ? 0 : -1;
        } else if (S_ISDIR(s.st_mode)) {
            int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            bad = sub < 0 ? -1 : clear_dir(sub, only_temporary);
            if (bad == 0 && !only_temporary)
                bad = unlinkat(fd, e->d_name, AT_REMOVEDIR);
        } else if (!only_temporary || is_temporary(e->d_name)) {
            bad = unlinkat(fd, e->d_name, 0);
        }
    }
    int keep = errno;
    closedir(d);
    errno = keep;
    return bad;
}

sl_status sl_dir_clear(const char *path, sl_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SL_OK;
    if (fd < 0 || clear_dir(fd, false) != 0)
        return sl__fail_errno(err, path, "empty the folder");
    return SL_OK;
}

sl_status sl_dir_remove(const char *path, sl_err *err)
{
    SL_TRY(sl_dir_clear(path, err));
    if (rmdir(path) != 0 && errno != ENOENT)
        return sl__fail_errno(err, path, "remove the folder");
    return SL_OK;
}

sl_status sl_dir_sweep(const char *path, sl_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || clear_dir(fd, true) != 0)
        return sl__fail_errno(err, path, "remove temporary files");
    return SL_OK;
}

/* The lock is on the folder itself: it ends with the process, and leaves no file. A folder renamed or removed by its last
 * owner between open and flock is not the one asked for. */
sl_status sl_dir_lock(const char *path, int *lock, sl_err *err)
{
    struct stat held, named;
    *lock = -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sl__fail_errno(err, path, "open the folder");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &held) != 0 || stat(path, &named) != 0 || held.st_ino != named.st_ino ||
        held.st_dev != named.st_dev) {
        close(fd);
        return sl_fail(err, SL_BUSY, path, NULL, "another process is writing to this folder");
    }
    *lock = fd;
    return SL_OK;
}

void sl_dir_unlock(int lock)
{
    if (lock >= 0)
        close(lock);
}

int64_t sl_disk_free(const char *path)
{
    struct statvfs s;
    int64_t n;
    if (statvfs(path, &s) != 0 || !sl__mul((int64_t)s.f_bavail, (int64_t)s.f_frsize, &n))
        return -1;
    return n;
}
