// The device interface over Metal.framework.
//
// Buffers wrap memory that others own, and Metal tracks no hazards: a fence puts the encoders of a
// queue in order, barriers the dispatches of an encoder.
#include "metal/apple/device.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>  // before Metal.h, which uses INFINITY
#include <cstdlib>
#include <utility>

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include "cermet/memory.h"
#include "metal/apple/archive.h"

// What some headers do not declare, or call deprecated.
@protocol CermetMath                       // of MTLCompileOptions
- (void)setFastMathEnabled:(BOOL)enabled;  // until macOS 14
- (void)setMathMode:(NSInteger)mode;       // from macOS 15
- (void)setMathFloatingPointFunctions:(NSInteger)functions;
@end
@protocol CermetTimedWait  // of MTLSharedEvent, macOS 12
- (BOOL)waitUntilSignaledValue:(uint64_t)value timeoutMS:(uint64_t)milliseconds;
@end
@protocol CermetResidency  // of MTLDevice and MTLResidencySet, macOS 15
- (id<CermetResidency>)newResidencySetWithDescriptor:(id)descriptor error:(NSError**)error;
- (void)addAllocation:(id)allocation;
- (void)removeAllocation:(id)allocation;
- (void)commit;
- (void)requestResidency;
@end

namespace cermet::metal::apple {
namespace {

NSString* to_ns(std::string_view text) {
  return [[NSString alloc] initWithBytes:text.data()
                                  length:text.size()
                                encoding:NSUTF8StringEncoding];
}
std::string to_std(NSString* text) {
  @autoreleasepool {
    return text ? text.UTF8String : "";
  }
}

std::string to_std(NSError* error) {
  if (!error) return "no reason given";
  return to_std([NSString stringWithFormat:@"%@ (%@ %ld)", error.localizedDescription, error.domain,
                                           static_cast<long>(error.code)]);
}

[[noreturn]] void fail(const std::string& what, NSError* error = nil) {
  throw std::runtime_error(what + ": " + to_std(error));
}

MTLSize to_mtl(Size s) { return MTLSizeMake(s.x, s.y, s.z); }

std::string to_string(Size s) {
  return std::to_string(s.x) + " x " + std::to_string(s.y) + " x " + std::to_string(s.z);
}

class AppleMemory final : public Memory {
 public:
  AppleMemory(id<MTLBuffer> buffer, std::size_t offset) : buffer(buffer), offset(offset) {}
  const id<MTLBuffer> buffer;  // of whole pages
  const std::size_t offset;    // of the memory in it
};

class ApplePipeline final : public Pipeline {
 public:
  explicit ApplePipeline(id<MTLComputePipelineState> state) : state(state) {}
  int max_threads() const override { return static_cast<int>(state.maxTotalThreadsPerThreadgroup); }
  const id<MTLComputePipelineState> state;
};

class AppleLibrary final : public Library {
 public:
  AppleLibrary(id<MTLLibrary> library, Archive& archive) : library_(library), archive_(archive) {}

  std::shared_ptr<Pipeline> pipeline(std::string_view name,
                                     std::span<const Constant> constants) override {
    @autoreleasepool {
      const std::string kernel = "Metal kernel " + std::string(name);
      if (![library_.functionNames containsObject:to_ns(name)])
        throw std::invalid_argument(kernel + ": the library has none of this name");
      NSError* error = nil;
      id<MTLFunction> function = [library_ newFunctionWithName:to_ns(name)
                                                constantValues:values(constants)
                                                         error:&error];
      if (!function) fail(kernel, error);
      MTLComputePipelineDescriptor* descriptor = [MTLComputePipelineDescriptor new];
      descriptor.label = to_ns(name);
      descriptor.computeFunction = function;
      id<MTLComputePipelineState> state = archive_.find(descriptor);
      if (!state) {
        state = [library_.device newComputePipelineStateWithDescriptor:descriptor
                                                               options:MTLPipelineOptionNone
                                                            reflection:nil
                                                                 error:&error];
        if (!state) fail(kernel, error);
        archive_.add(descriptor);
      }
      if (state.threadExecutionWidth != kSimdWidth)
        throw std::runtime_error(kernel + ": simdgroups of " +
                                 std::to_string(state.threadExecutionWidth) +
                                 " threads, expected " + std::to_string(kSimdWidth));
      return std::make_shared<ApplePipeline>(state);
    }
  }

 private:
  static MTLFunctionConstantValues* values(std::span<const Constant> constants) {
    MTLFunctionConstantValues* result = [MTLFunctionConstantValues new];
    for (const Constant& c : constants) {
      const bool truth = c.bits != 0;
      const void* value = &c.bits;
      MTLDataType type = MTLDataTypeUInt;
      switch (c.type) {
        case Constant::Type::boolean:
          type = MTLDataTypeBool;
          value = &truth;
          break;
        case Constant::Type::int32: type = MTLDataTypeInt; break;
        case Constant::Type::uint32: break;
        case Constant::Type::float32: type = MTLDataTypeFloat; break;
      }
      [result setConstantValue:value type:type atIndex:static_cast<NSUInteger>(c.index)];
    }
    return result;
  }

  const id<MTLLibrary> library_;
  Archive& archive_;
};

class AppleEvent final : public Event {
 public:
  explicit AppleEvent(id<MTLSharedEvent> event) : event(event) {}
  std::uint64_t value() const override { return event.signaledValue; }
  void signal(std::uint64_t value) override { event.signaledValue = value; }
  bool wait(std::uint64_t value, std::uint32_t milliseconds) override {
    @autoreleasepool {
      auto* timed = static_cast<id<CermetTimedWait>>(static_cast<id>(event));
      return [timed waitUntilSignaledValue:value timeoutMS:milliseconds];
    }
  }
  const id<MTLSharedEvent> event;
};

// How a command buffer ended.
Completion completion_of(id<MTLCommandBuffer> buffer) {
  Completion c;
  c.seconds = std::max(0.0, buffer.GPUEndTime - buffer.GPUStartTime);
  if (buffer.status != MTLCommandBufferStatusError) return c;
  NSError* error = buffer.error;
  const std::string text = "the GPU stopped: " + to_std(error);
  const bool metals = [error.domain isEqualToString:MTLCommandBufferErrorDomain];
  if (metals && error.code == MTLCommandBufferErrorOutOfMemory) {
    c.error = std::make_exception_ptr(OutOfMemory(text));
    return c;
  }
  // Stutter of the screen ("Impacting Interactivity") and another process's fault have no code.
  c.aborted = !metals || error.code == MTLCommandBufferErrorTimeout ||
              error.code == MTLCommandBufferErrorInternal ||
              error.code == MTLCommandBufferErrorNone;
  c.error = std::make_exception_ptr(DeviceError(text));
  return c;
}

class AppleCommandBuffer final : public CommandBuffer {
 public:
  AppleCommandBuffer(id<MTLCommandBuffer> buffer, id<MTLFence> fence)
      : buffer_(buffer), fence_(fence), used_([NSMutableArray arrayWithObject:fence]) {}
  ~AppleCommandBuffer() override { end_encoding(); }

  void set_pipeline(const Pipeline& pipeline) override {
    pipeline_ = static_cast<const ApplePipeline&>(pipeline).state;
    [encoder() setComputePipelineState:pipeline_];
  }
  void set_buffer(int slot, Memory& memory, std::size_t offset, std::size_t, Access) override {
    const auto& m = static_cast<const AppleMemory&>(memory);
    [encoder() setBuffer:m.buffer offset:m.offset + offset atIndex:static_cast<NSUInteger>(slot)];
  }
  void set_bytes(int slot, const void* data, std::size_t size) override {
    if (size >= kMaxBytesArgument)
      throw std::invalid_argument("set_bytes: " + std::to_string(size) + " bytes; fewer than " +
                                  std::to_string(kMaxBytesArgument) + " can be passed");
    [encoder() setBytes:data length:size atIndex:static_cast<NSUInteger>(slot)];
  }
  void set_threadgroup_memory(int slot, std::size_t bytes) override {
    [encoder() setThreadgroupMemoryLength:(bytes + 15) / 16 * 16  // as Metal wants it
                                  atIndex:static_cast<NSUInteger>(slot)];
  }
  void dispatch_threads(Size grid, Size group) override {
    if (!check(grid, group)) return;
    [encoder() dispatchThreads:to_mtl(grid) threadsPerThreadgroup:to_mtl(group)];
  }
  void dispatch_threadgroups(Size groups, Size group) override {
    if (!check(groups, group)) return;
    [encoder() dispatchThreadgroups:to_mtl(groups) threadsPerThreadgroup:to_mtl(group)];
  }
  void barrier() override { [encoder() memoryBarrierWithScope:MTLBarrierScopeBuffers]; }

  void wait(Event& event, std::uint64_t value) override {
    @autoreleasepool {
      end_encoding();
      [buffer_ encodeWaitForEvent:use(event) value:value];
    }
  }
  void signal(Event& event, std::uint64_t value) override {
    @autoreleasepool {
      end_encoding();
      [buffer_ encodeSignalEvent:use(event) value:value];
    }
  }

  void commit(std::function<void(const Completion&)> completed) override {
    @autoreleasepool {
      end_encoding();
      NSArray* used = used_;
      [buffer_ addCompletedHandler:^(id<MTLCommandBuffer> done) {
        @autoreleasepool {
          (void)used;  // the block holds it until here
          completed(completion_of(done));
        }
      }];
      [buffer_ commit];
    }
  }

 private:
  // Opened when first needed: an event can only be encoded between two encoders.
  id<MTLComputeCommandEncoder> encoder() {
    if (encoder_) return encoder_;
    @autoreleasepool {
      encoder_ = [buffer_ computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
    }
    if (!encoder_) fail("Metal: no command encoder");
    // A fence that nothing has updated holds nobody up.
    [encoder_ waitForFence:fence_];
    if (pipeline_) [encoder_ setComputePipelineState:pipeline_];
    return encoder_;
  }
  void end_encoding() {
    [encoder_ updateFence:fence_];
    [encoder_ endEncoding];
    encoder_ = nil;
  }

  // Whether there is anything to do. Metal would end the process where this raises.
  bool check(Size grid, Size group) const {
    const auto threads = group.product();
    if (threads == 0 || threads > pipeline_.maxTotalThreadsPerThreadgroup)
      throw std::invalid_argument(
          "Metal kernel " + to_std(pipeline_.label) + ": a threadgroup of " + to_string(group) +
          " threads, expected 1 to " + std::to_string(pipeline_.maxTotalThreadsPerThreadgroup) +
          " in all");
    return grid.product() > 0;
  }

  id<MTLSharedEvent> use(Event& event) {
    id<MTLSharedEvent> shared = static_cast<AppleEvent&>(event).event;
    [used_ addObject:shared];
    return shared;
  }

  const id<MTLCommandBuffer> buffer_;
  const id<MTLFence> fence_;
  NSMutableArray* const used_;  // the fence and events, which the command buffer does not retain
  id<MTLComputeCommandEncoder> encoder_ = nil;
  id<MTLComputePipelineState> pipeline_ = nil;
};

class AppleQueue final : public Queue {
 public:
  explicit AppleQueue(id<MTLDevice> device)
      : queue_([device newCommandQueue]), fence_([device newFence]) {
    if (!queue_ || !fence_) fail("Metal: no command queue");
  }
  std::unique_ptr<CommandBuffer> command_buffer() override {
    @autoreleasepool {
      id<MTLCommandBuffer> buffer = [queue_ commandBufferWithUnretainedReferences];
      if (!buffer) fail("Metal: no command buffer");
      return std::make_unique<AppleCommandBuffer>(buffer, fence_);
    }
  }

 private:
  const id<MTLCommandQueue> queue_;
  const id<MTLFence> fence_;
};

class AppleDevice final : public Device {
 public:
  explicit AppleDevice(id<MTLDevice> device) : device_(device), archive_(device) {}

  std::string name() const override { return to_std(device_.name); }
  std::string architecture() const override { return to_std(device_.architecture.name); }
  bool simulated() const override { return false; }
  std::size_t memory_size() const override { return device_.recommendedMaxWorkingSetSize; }
  std::size_t max_buffer_size() const override { return device_.maxBufferLength; }

  std::shared_ptr<Memory> wrap(void* data, std::size_t bytes) override {
    @autoreleasepool {
      const auto page = static_cast<std::uintptr_t>(getpagesize());
      const auto address = reinterpret_cast<std::uintptr_t>(data);
      const auto begin = address / page * page;
      const auto length =
          (address + std::max<std::size_t>(bytes, 1) - begin + page - 1) / page * page;
      if (length > max_buffer_size())
        throw OutOfMemory("out of memory on the GPU: " + std::to_string(bytes) +
                          " bytes asked for, a buffer has at most " +
                          std::to_string(max_buffer_size()));
      id<MTLBuffer> buffer =
          [device_ newBufferWithBytesNoCopy:reinterpret_cast<void*>(begin)
                                     length:length
                                    options:MTLResourceStorageModeShared |
                                            MTLResourceHazardTrackingModeUntracked
                                deallocator:nil];
      if (!buffer)
        throw OutOfMemory("out of memory on the GPU: " + std::to_string(bytes) +
                          " bytes cannot be mapped, " +
                          std::to_string(device_.currentAllocatedSize) + " are");
      return std::make_shared<AppleMemory>(buffer, address - begin);
    }
  }

  void set_resident(Memory& memory, bool resident) override {
    @autoreleasepool {
      Class descriptor = NSClassFromString(@"MTLResidencySetDescriptor");
      if (!descriptor) return;  // before macOS 15
      if (!wired_) {
        NSError* error = nil;
        wired_ = [static_cast<id<CermetResidency>>(static_cast<id>(device_))
            newResidencySetWithDescriptor:[descriptor new]
                                    error:&error];
        if (!wired_) fail("Metal: no residency set", error);
      }
      id<MTLBuffer> buffer = static_cast<AppleMemory&>(memory).buffer;
      if (resident)
        [wired_ addAllocation:buffer];
      else
        [wired_ removeAllocation:buffer];
      [wired_ commit];
      if (resident) [wired_ requestResidency];
    }
  }

  std::shared_ptr<Library> library(const std::string& source, const std::string& label) override {
    @autoreleasepool {
      MTLCompileOptions* options = [MTLCompileOptions new];
      options.languageVersion = MTLLanguageVersion3_1;
      auto* math = static_cast<id<CermetMath>>(static_cast<id>(options));
      if ([options respondsToSelector:@selector(setMathMode:)]) {
        [math setMathMode:0];                    // MTLMathModeSafe
        [math setMathFloatingPointFunctions:1];  // MTLMathFloatingPointFunctionsPrecise
      } else {
        [math setFastMathEnabled:NO];  // both
      }
      NSError* error = nil;
      id<MTLLibrary> library = [device_ newLibraryWithSource:to_ns(source)
                                                     options:options
                                                       error:&error];
      if (!library) {
        // What Metal calls a source without #line.
        throw CompileError(to_std([error.localizedDescription
            stringByReplacingOccurrencesOfString:@"program_source"
                                      withString:to_ns(label)]));
      }
      return std::make_shared<AppleLibrary>(library, archive_);
    }
  }

  std::unique_ptr<Queue> queue() override { return std::make_unique<AppleQueue>(device_); }

  std::shared_ptr<Event> event() override {
    id<MTLSharedEvent> event = [device_ newSharedEvent];
    if (!event) fail("Metal: no event");
    return std::make_shared<AppleEvent>(event);
  }

  void start_capture(const std::string& path) override {
    @autoreleasepool {
      MTLCaptureManager* manager = MTLCaptureManager.sharedCaptureManager;
      if (![manager supportsDestination:MTLCaptureDestinationGPUTraceDocument])
        throw std::runtime_error(
            "start_capture: not enabled; set MTL_CAPTURE_ENABLED=1 before the process starts");
      if (!path.ends_with(".gputrace"))
        throw std::runtime_error("start_capture: the path " + path + " does not end in .gputrace");
      MTLCaptureDescriptor* descriptor = [MTLCaptureDescriptor new];
      descriptor.captureObject = device_;
      descriptor.destination = MTLCaptureDestinationGPUTraceDocument;
      descriptor.outputURL = [NSURL fileURLWithPath:to_ns(path)];
      NSError* error = nil;
      if (![manager startCaptureWithDescriptor:descriptor error:&error])
        fail("start_capture: " + path, error);
    }
  }
  void stop_capture() override {
    @autoreleasepool {
      MTLCaptureManager* manager = MTLCaptureManager.sharedCaptureManager;
      if (!manager.isCapturing) throw std::runtime_error("stop_capture: no capture was started");
      [manager stopCapture];
    }
  }

 private:
  const id<MTLDevice> device_;
  Archive archive_;                  // libraries use it; the device lives as long as the process
  id<CermetResidency> wired_ = nil;  // under the mutex of Regions
};

}  // namespace

std::unique_ptr<Device> make_device() {
  @autoreleasepool {
    // A process that does not link CoreGraphics may be given no default.
    id<MTLDevice> device = MTLCreateSystemDefaultDevice() ?: MTLCopyAllDevices().firstObject;
    if (!device) return nullptr;
    const char* choice = std::getenv("CERMET_METAL");
    const bool any = choice && std::string_view(choice) == "any";
    if (!any && ![device supportsFamily:MTLGPUFamilyApple7]) return nullptr;
    return std::make_unique<AppleDevice>(device);
  }
}

}  // namespace cermet::metal::apple
