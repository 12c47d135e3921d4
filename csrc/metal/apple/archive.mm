// The binary archive: found at the start, added to, and written beside the old file and renamed.
#include "metal/apple/archive.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#import <Foundation/Foundation.h>

namespace cermet::metal::apple {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMost = 256u << 20;  // bytes of the file, which then begins anew
constexpr std::int64_t kDelay = 5;            // seconds, so that many pipelines are written at once

// The file for this GPU; empty where there is no folder.
fs::path file_for(id<MTLDevice> device) {
  const char* const chosen = std::getenv("CERMET_CACHE");
  const char* const home = std::getenv("HOME");
  if (!(chosen && *chosen) && !(home && *home)) return {};
  const fs::path folder =
      chosen && *chosen ? fs::path(chosen) : fs::path(home) / ".cache" / "cermet";
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return {};
  const NSOperatingSystemVersion os = NSProcessInfo.processInfo.operatingSystemVersion;
  return folder / ("metal-" + std::string(device.architecture.name.UTF8String) + "-" +
                   std::to_string(os.majorVersion) + "." + std::to_string(os.minorVersion) + "." +
                   std::to_string(os.patchVersion) + ".archive");
}

NSURL* url_of(const fs::path& path) {
  return [NSURL fileURLWithPath:[NSString stringWithUTF8String:path.c_str()]];
}

}  // namespace

struct Archive::State {
  id<MTLDevice> device;
  fs::path file;
  std::mutex mutex{};
  id<MTLBinaryArchive> archive = nil;
  bool writes = false;  // soon

  void write() {
    @autoreleasepool {
      const std::scoped_lock lock(mutex);
      writes = false;
      const fs::path beside = file.string() + "." + std::to_string(getpid());
      NSError* error = nil;
      std::error_code failed;
      if ([archive serializeToURL:url_of(beside) error:&error]) fs::rename(beside, file, failed);
      fs::remove(beside, failed);
    }
  }
};

Archive::Archive(id<MTLDevice> device) : state_(new State{device, file_for(device)}) {
  @autoreleasepool {
    if (state_->file.empty()) return;
    MTLBinaryArchiveDescriptor* descriptor = [MTLBinaryArchiveDescriptor new];
    NSError* error = nil;
    std::error_code failed;
    const std::uintmax_t bytes = fs::file_size(state_->file, failed);
    if (!failed && bytes < kMost) {
      descriptor.url = url_of(state_->file);
      state_->archive = [device newBinaryArchiveWithDescriptor:descriptor error:&error];
    }
    if (state_->archive) return;  // else there is no file, or not one of this system's
    descriptor.url = nil;
    state_->archive = [device newBinaryArchiveWithDescriptor:descriptor error:&error];
  }
}

id<MTLComputePipelineState> Archive::find(MTLComputePipelineDescriptor* descriptor) {
  if (!state_->archive) return nil;
  const std::scoped_lock lock(state_->mutex);
  NSError* error = nil;
  descriptor.binaryArchives = @[ state_->archive ];
  id<MTLComputePipelineState> found =
      [state_->device newComputePipelineStateWithDescriptor:descriptor
                                                    options:MTLPipelineOptionFailOnBinaryArchiveMiss
                                                 reflection:nil
                                                      error:&error];
  descriptor.binaryArchives = nil;
  return found;
}

void Archive::add(MTLComputePipelineDescriptor* descriptor) {
  if (!state_->archive) return;
  const std::scoped_lock lock(state_->mutex);
  NSError* error = nil;
  if (![state_->archive addComputePipelineFunctionsWithDescriptor:descriptor error:&error]) return;
  if (state_->writes) return;
  state_->writes = true;
  State* const state = state_;
  dispatch_after(dispatch_time(DISPATCH_TIME_NOW, kDelay * static_cast<std::int64_t>(NSEC_PER_SEC)),
                 dispatch_get_global_queue(QOS_CLASS_UTILITY, 0), ^{
                   state->write();
                 });
}

}  // namespace cermet::metal::apple
