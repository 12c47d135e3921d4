// Compiled pipelines on disk, from one run of a program to the next.
#pragma once

#include <string>

#import <Metal/Metal.h>

namespace cermet::metal::apple {

// A binary archive in the folder CERMET_CACHE, else ~/.cache/cermet. Where there can be none,
// nothing is kept. Any thread may use it.
class Archive {
 public:
  explicit Archive(id<MTLDevice> device);
  // The pipeline, if it is there; else nil.
  id<MTLComputePipelineState> find(MTLComputePipelineDescriptor* descriptor);
  // Keeps what has been compiled; it is written to disk some seconds later.
  void add(MTLComputePipelineDescriptor* descriptor);

 private:
  struct State;
  State* const state_;  // for as long as the process lives: writing goes on beside
};

}  // namespace cermet::metal::apple
