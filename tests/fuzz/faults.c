// Makes the nth call of a kind fail, in the process that loads it with LD_PRELOAD. Calls count from
// `faults_arm` to `faults_disarm`; allocations by who makes them: Cermet and the libraries below
// it, or Python. Built by faults.py with the C compiler at hand.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY = 1, THREADS = 2, FILES = 4, PYTHON = 8, UNCHECKED = 16 };
static atomic_int kinds, more_of_them;
static atomic_long left, seen;
static struct {
  uintptr_t from, to;
  int kind;
} ranges[1024];
static int range_count;

// Counts calls of `which` kinds from now on; the nth (from 1) fails, and as many after it.
void faults_arm(int which, long nth, int more) {
  seen = 0;
  left = nth;
  more_of_them = more;
  kinds = which;
}

// Ends counting; how many calls there were.
long faults_disarm(void) {
  kinds = 0;
  return seen;
}

// Allocations by code in this part of memory are of this kind, unless it was said otherwise before.
void faults_range(uintptr_t from, uintptr_t to, int kind) {
  if (range_count == 1024) return;
  ranges[range_count].from = from;
  ranges[range_count].to = to;
  ranges[range_count++].kind = kind;
}

static int kind_of(uintptr_t caller) {
  for (int i = 0; i < range_count; ++i) {
    if (caller >= ranges[i].from && caller < ranges[i].to) return ranges[i].kind;
  }
  return 0;
}

// Whether Python allocates for code that does not look whether it got anything.
static int unchecked(void) {
  void* frames[7];
  int which = kinds;
  kinds = 0;
  int count = backtrace(frames, 7), found = 0;
  kinds = which;
  for (int i = 0; i < count; ++i) found |= kind_of((uintptr_t)frames[i]) == UNCHECKED;
  return found;
}

static int fails(int kind, void* caller) {
  if (kinds == 0) return 0;
  if (kind == MEMORY) kind = kind_of((uintptr_t)caller);
  if ((kinds & kind) == 0) return 0;
  ++seen;
  long now = --left;
  if (now > 0 || now < -more_of_them) return 0;
  if (kind == PYTHON && unchecked()) return 0;
  if (now == 0 && getenv("FAULTS_TRACE") != NULL) {  // who is told that there is none
    void* frames[30];
    int which = kinds;
    kinds = 0;
    backtrace_symbols_fd(frames, backtrace(frames, 30), 2);
    kinds = which;
  }
  return 1;
}

#define CALLER __builtin_return_address(0)
#define REAL(name)               \
  static __typeof__(&name) real; \
  if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);

void* malloc(size_t size) {
  if (fails(MEMORY, CALLER)) return errno = ENOMEM, NULL;
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  if (fails(MEMORY, CALLER)) return errno = ENOMEM, NULL;
  return __libc_calloc(count, size);
}

void* realloc(void* block, size_t size) {
  if (fails(MEMORY, CALLER)) return errno = ENOMEM, NULL;
  return __libc_realloc(block, size);
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  REAL(posix_memalign);
  if (fails(MEMORY, CALLER)) return ENOMEM;
  return real(block, alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  REAL(aligned_alloc);
  if (fails(MEMORY, CALLER)) return errno = ENOMEM, NULL;
  return real(alignment, size);
}

// C++'s `new`, whose own malloc would be libstdc++'s and not its caller's.
void* operator_new(size_t size) __asm__("_Znwm");
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv");
void* operator_new(size_t size) {
  if (!fails(MEMORY, CALLER)) {
    void* block = __libc_malloc(size ? size : 1);
    if (block != NULL) return block;
  }
  throw_bad_alloc();
  return NULL;
}

void* mmap(void* address, size_t length, int protection, int flags, int file, off_t offset) {
  REAL(mmap);
  if (fails(MEMORY, CALLER)) return errno = ENOMEM, MAP_FAILED;
  return real(address, length, protection, flags, file, offset);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* of) {
  REAL(pthread_create);
  if (fails(THREADS, NULL)) return EAGAIN;
  return real(thread, attributes, run, of);
}

#define FILE_CALL(type, name, parameters, arguments, error)   \
  type name parameters {                                      \
    REAL(name);                                               \
    if (fails(FILES, NULL)) return errno = error, (type) - 1; \
    return real arguments;                                    \
  }
FILE_CALL(ssize_t, write, (int file, const void* from, size_t size), (file, from, size), ENOSPC)
FILE_CALL(ssize_t, read, (int file, void* to, size_t size), (file, to, size), EIO)
FILE_CALL(ssize_t, pread, (int file, void* to, size_t size, off_t at), (file, to, size, at), EIO)
FILE_CALL(ssize_t, pread64, (int file, void* to, size_t size, off64_t at), (file, to, size, at),
          EIO)
FILE_CALL(int, fsync, (int file), (file), EIO)
FILE_CALL(int, rename, (const char* from, const char* to), (from, to), EACCES)
FILE_CALL(int, ftruncate, (int file, off_t size), (file, size), ENOSPC)
FILE_CALL(off_t, lseek, (int file, off_t to, int from), (file, to, from), EIO)
FILE_CALL(int, close, (int file), (file), EIO)

#define OPEN_CALL(name, parameters, ...)                                \
  int name parameters {                                                 \
    REAL(name);                                                         \
    va_list more;                                                       \
    va_start(more, flags);                                              \
    int mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, int) : 0; \
    va_end(more);                                                       \
    if (fails(FILES, NULL)) return errno = EMFILE, -1;                  \
    return real(__VA_ARGS__, mode);                                     \
  }
OPEN_CALL(open, (const char* path, int flags, ...), path, flags)
OPEN_CALL(open64, (const char* path, int flags, ...), path, flags)
OPEN_CALL(openat, (int folder, const char* path, int flags, ...), folder, path, flags)

FILE* fopen(const char* path, const char* mode) {
  REAL(fopen);
  if (fails(FILES, NULL)) return errno = EMFILE, NULL;
  return real(path, mode);
}

size_t fwrite(const void* from, size_t size, size_t count, FILE* file) {
  REAL(fwrite);
  if (fails(FILES, NULL)) return errno = ENOSPC, 0;
  return real(from, size, count, file);
}

size_t fread(void* to, size_t size, size_t count, FILE* file) {
  REAL(fread);
  if (fails(FILES, NULL)) return errno = EIO, 0;
  return real(to, size, count, file);
}
