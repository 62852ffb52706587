// SPDX-License-Identifier: MIT
// Preloaded, it lets reads and writes do at most MOST bytes of what they are asked for.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#define LESS(n) ((n) < MOST ? (n) : MOST)
#define SHORTEN(type, name, given, passed)                             \
    type name given {                                                  \
        static type (*real) given;                                     \
        if (!real) real = (type(*) given)dlsym(RTLD_NEXT, #name);      \
        return real passed;                                            \
    }
SHORTEN(ssize_t, write, (int f, const void *p, size_t n), (f, p, LESS(n)))
SHORTEN(ssize_t, pwrite, (int f, const void *p, size_t n, off_t o), (f, p, LESS(n), o))
SHORTEN(ssize_t, pwrite64, (int f, const void *p, size_t n, off_t o), (f, p, LESS(n), o))
SHORTEN(ssize_t, sendfile, (int t, int f, off_t *o, size_t n), (t, f, o, LESS(n)))
SHORTEN(ssize_t, sendfile64, (int t, int f, off_t *o, size_t n), (t, f, o, LESS(n)))
SHORTEN(ssize_t, read, (int f, void *p, size_t n), (f, p, LESS(n)))
