// What the graph asks of the world: memory, values, streams. Evaluation answers; a program that
// only builds and transforms graphs gets along with stubs.
#pragma once

#include <cstddef>

#include "cermet/array.h"
#include "cermet/device.h"

namespace cermet::context {

// At least `bytes` bytes of memory. Throws OutOfMemory.
Ref<Buffer> allocate(std::size_t bytes);
// Takes it back, with its last reference.
void release(void* data, std::size_t capacity);
// Borrowed memory goes back to its owner.
void give_back(const Buffer& buffer);
// Computes the arrays and waits.
void evaluate(const Arrays& arrays);
// Throws where somebody has asked to stop what runs.
void check_interrupt();
// The default stream of a device; std::invalid_argument when the device is not available.
Stream stream_of(Device device);
// The default device of the process.
Device device();

}  // namespace cermet::context
