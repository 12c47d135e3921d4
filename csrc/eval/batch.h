// Batches: scheduled steps on their way to values, and who waits for them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "eval/schedule.h"

namespace cermet {

namespace metal {
class Work;
}

// Guards scheduling: node states change from lazy to scheduled under it alone.
std::mutex& graph_mutex();

class Batch : public std::enable_shared_from_this<Batch> {
 public:
  // Marks the nodes that will get values as scheduled. The caller holds graph_mutex().
  static std::shared_ptr<Batch> make(Schedule schedule);
  Batch();
  ~Batch();

  // Runs all steps on the calling thread. When nobody waits (`detached`), every error is carried by
  // the arrays; otherwise the first is also returned, and what can be tried again (out of memory,
  // interrupted) goes back to being lazy.
  std::exception_ptr run(bool detached);
  // In place of run(): gives the arrays back as they were, to be asked for again.
  void abandon(const std::exception_ptr& why);
  // Waits until all steps have run. Throws Interrupted when the interrupt check says so.
  void wait();
  // The error that a failed node carries.
  std::exception_ptr error_of(const Node* node);

 private:
  void run_step(Step& step);
  void complete(Step& step);
  void drop_graph(Step& step);
  void fail(Step& step, std::exception_ptr error, bool retry);
  void note_error(Node& node, const std::exception_ptr& error) noexcept;
  void close();
  std::exception_ptr inherited_error(const Step& step);

  // ---- The GPU: steps are encoded, and finished together ----
  metal::Work& work(Stream stream);
  void encode(std::size_t index);
  // Encodes a product and the step after it in one where that only scales it and adds to it.
  bool encode_addmm(std::size_t index);
  // The inputs of a step that have been encoded; and what becomes of its outputs and of those.
  std::vector<const Node*> note_inputs(std::size_t index);
  void note_outputs(std::size_t index, const std::vector<const Node*>& read);
  // Waits for what has been encoded. Gives its first error.
  std::exception_ptr finish_encoded();
  bool reads_encoded(const Step& step) const;

  struct Encoded {
    Ref<Node> node;
    std::size_t step;
  };
  std::map<std::int32_t, std::unique_ptr<metal::Work>> work_;  // by stream
  std::unordered_map<const Node*, Encoded> encoded_;           // results that may still be read
  std::map<std::size_t, std::vector<std::size_t>> uses_;       // the steps each encoded step reads

  std::vector<Step> steps_;
  std::vector<std::shared_ptr<Batch>> dependencies_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::atomic<bool> finished_{false};
  std::unordered_map<const Node*, std::exception_ptr> errors_;
};

// Waits for the work given to a stream by async_eval.
void wait_for_stream(Stream s);

}  // namespace cermet
