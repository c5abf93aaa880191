/* Files and folders of the tests. */
#ifndef SL_TEST_FILES_H
#define SL_TEST_FILES_H

#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static inline void put_file(const char *path, const void *data, size_t n)
{
    (void)remove(path); /* a new file: ext4 flushes one that was cut to nothing and written again */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline int count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

#endif
