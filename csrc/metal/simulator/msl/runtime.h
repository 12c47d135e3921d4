// What a compiled kernel and the simulator's engine know of each other. Read by the C++ compiler
// and by the Metal front end (C++ for OpenCL), where addresses are plain integers.
#pragma once

// The running GPU thread.
struct cermet_thread {
  unsigned thread_position_in_grid[3];
  unsigned thread_position_in_threadgroup[3];
  unsigned threadgroup_position_in_grid[3];
  unsigned threads_per_grid[3];
  unsigned threads_per_threadgroup[3];  // of this threadgroup: fewer at the grid's edge
  unsigned threadgroups_per_grid[3];
  unsigned dispatch_threads_per_threadgroup[3];  // as dispatched
  unsigned thread_index_in_threadgroup;
  unsigned thread_index_in_simdgroup;
  unsigned simdgroup_index_in_threadgroup;
  unsigned simdgroups_per_threadgroup;
  unsigned active;  // the lanes that took part in the last simdgroup operation
  unsigned unused;
  // Addresses of the simdgroup's two areas of 32 slots of 64 bytes. A lane writes its value to its
  // slot of `exchange` and calls simd_sync; when the operation completes, the engine copies the
  // slots of the lanes that take part to `published`, where these lanes then read. (Two areas that
  // the lanes alternate between would get out of step when lanes diverge.)
  unsigned long exchange, published;
};

// Addresses of the kernel's arguments by slot.
struct cermet_arguments {
  unsigned long buffers[31];
  unsigned long threadgroup[31];
};

// The engine's services. `site` is the return address in the kernel: it identifies the operation
// and finds its line. (C++ for OpenCL takes pointers to functions only of a named type.)
typedef void cermet_simd_sync(unsigned bytes, const void* site);  // bytes: of a lane's value
typedef void cermet_barrier(int flags, const void* site);
typedef unsigned long cermet_threadgroup_variable(int id, unsigned long size,
                                                  unsigned long alignment, const void* site);
typedef void cermet_max_threads(int limit, const void* site);
typedef void cermet_atomic(unsigned long address, unsigned size, int writes, const void* site);
typedef void cermet_count_macs(unsigned long count);
typedef void cermet_access(unsigned long address, unsigned long size, int writes, const void* site);

// A kernel library exports `cermet_runtime`, a pointer that the engine sets, and `cermet_current`
// (a cermet_thread*), which the engine keeps pointing at the running thread.
struct cermet_runtime_table {
  cermet_simd_sync* simd_sync;
  cermet_barrier* threadgroup_barrier;
  cermet_barrier* simdgroup_barrier;
  cermet_threadgroup_variable* threadgroup_variable;
  cermet_max_threads* max_threads;
  cermet_atomic* atomic;  // before it; writes: 0 load, 1 store, 2 load and store
  cermet_count_macs* count_macs;
  // Instrumented builds only: before every load and store that is not provably private. writes: 0
  // load, 1 store; 2 and 3 the same of data that need not be aligned to its size.
  cermet_access* access;
};
