// The switch in assembly: it saves and restores what a function must preserve, no more.
#include "metal/simulator/fibers.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Pushes the preserved registers, stores the stack pointer in *save, and continues at `load`.
extern "C" void cermet_switch_stack(void** save, void* load);

#if defined(__APPLE__)
#define CERMET_SYMBOL "_cermet_switch_stack"
#else
#define CERMET_SYMBOL "cermet_switch_stack"
#endif

#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl )" CERMET_SYMBOL R"(
)" CERMET_SYMBOL R"(:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
)");
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl )" CERMET_SYMBOL R"(
)" CERMET_SYMBOL R"(:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "the simulator's fibers need x86-64 or AArch64"
#endif
#undef CERMET_SYMBOL

namespace cermet::metal::simulator {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;  // usable by a GPU thread
constexpr std::size_t kGuardBytes = 64 << 10;   // a multiple of every page size
constexpr unsigned kColours = 128;
constexpr std::size_t kColourBytes = 512;  // about what one thread touches

// The words that cermet_switch_stack pops, and which of them is the address it returns to.
#if defined(__x86_64__)
constexpr std::size_t kFrameWords = 8, kReturnWord = 6;  // one more word aligns the stack
#else
constexpr std::size_t kFrameWords = 20, kReturnWord = 11;
#endif

}  // namespace

Fiber::Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* base = nullptr;
  pthread_attr_getstack(&attributes, &base, &bytes_);
  pthread_attr_destroy(&attributes);
  base_ = reinterpret_cast<std::uintptr_t>(base);
#endif
}

Fiber::Fiber(unsigned colour)
    : bytes_(kGuardBytes + kStackBytes + kColours * kColourBytes),
      unused_(colour % kColours * kColourBytes),
      mapped_(true) {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuardBytes, PROT_NONE);
  base_ = reinterpret_cast<std::uintptr_t>(memory);
}

Fiber::~Fiber() {
  if (mapped_) munmap(reinterpret_cast<void*>(base_), bytes_);
}

void Fiber::restart(void (*body)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(reinterpret_cast<void*>(base_ + kGuardBytes), bytes_ - kGuardBytes);
#endif
  auto** frame = reinterpret_cast<void**>(base_ + bytes_ - unused_) - kFrameWords;
  std::memset(frame, 0, kFrameWords * sizeof *frame);
  frame[kReturnWord] = reinterpret_cast<void*>(body);
  pointer_ = frame;
}

void Fiber::started() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void Fiber::change(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, reinterpret_cast<void*>(to.base_), to.bytes_);
#endif
  cermet_switch_stack(&from.pointer_, to.pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

Fiber* FiberPool::take() {
  if (free_.empty()) {
    all_.push_back(std::make_unique<Fiber>(static_cast<unsigned>(all_.size())));
    return all_.back().get();
  }
  Fiber* fiber = free_.back();
  free_.pop_back();
  return fiber;
}

}  // namespace cermet::metal::simulator
