// In an instrumented build the compiler (-fsanitize=thread) calls these functions at every memory
// access that is not provably private. They stand in for that sanitizer's own library.
#pragma once

#if __has_feature(thread_sanitizer)

#define MSL_CALLBACK \
  __attribute__((used, nodebug, disable_sanitizer_instrumentation, visibility("hidden")))
#define MSL_ACCESS(ADDRESS, BYTES, KIND) \
  cermet_runtime->access((ulong)(ADDRESS), BYTES, KIND, __builtin_return_address(0));
#define MSL_CALLBACKS(PREFIX, BYTES, READ, WRITE)                                         \
  MSL_CALLBACK void PREFIX##read##BYTES(void* p){                                         \
      MSL_ACCESS(p, BYTES, READ)} MSL_CALLBACK void PREFIX##write##BYTES(void* p){        \
      MSL_ACCESS(p, BYTES, WRITE)} MSL_CALLBACK void PREFIX##read_write##BYTES(void* p) { \
    MSL_ACCESS(p, BYTES, READ)                                                            \
    MSL_ACCESS(p, BYTES, WRITE)                                                           \
  }
// The kinds of runtime.h; "unaligned" data need not be aligned to its size.
#define MSL_ALL_CALLBACKS(BYTES)                \
  MSL_CALLBACKS(__tsan_, BYTES, 0, 1)           \
  MSL_CALLBACKS(__tsan_unaligned_, BYTES, 2, 3) \
  MSL_CALLBACKS(__tsan_volatile_, BYTES, 0, 1)  \
  MSL_CALLBACKS(__tsan_unaligned_volatile_, BYTES, 2, 3)

extern "C" {

MSL_ALL_CALLBACKS(1)
MSL_ALL_CALLBACKS(2)
MSL_ALL_CALLBACKS(4)
MSL_ALL_CALLBACKS(8)
MSL_ALL_CALLBACKS(16)
MSL_CALLBACK void __tsan_init() {}
void* memcpy(void*, const void*, size_t);
void* memmove(void*, const void*, size_t);
void* memset(void*, int, size_t);
MSL_CALLBACK void* __tsan_memcpy(void* to, const void* from, size_t n) {
  MSL_ACCESS(from, n, 2)
  MSL_ACCESS(to, n, 3)
  return memcpy(to, from, n);
}
MSL_CALLBACK void* __tsan_memmove(void* to, const void* from, size_t n) {
  MSL_ACCESS(from, n, 2)
  MSL_ACCESS(to, n, 3)
  return memmove(to, from, n);
}
MSL_CALLBACK void* __tsan_memset(void* to, int value, size_t n) {
  MSL_ACCESS(to, n, 3)
  return memset(to, value, n);
}

}  // extern "C"

#undef MSL_ALL_CALLBACKS
#undef MSL_CALLBACKS
#undef MSL_ACCESS
#undef MSL_CALLBACK

#endif
