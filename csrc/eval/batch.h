// Batches: a plan with the nodes of one graph, on its way to values, and who waits for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eval/backend.h"

namespace cermet {

// Guards planning: node states change from lazy to scheduled under it alone.
std::mutex& graph_mutex();

class Batch : public std::enable_shared_from_this<Batch> {
 public:
  // Plans what the arrays need and marks the nodes that will get values as scheduled; null when
  // there is nothing to do. The caller holds graph_mutex().
  static std::shared_ptr<Batch> make(const Arrays& arrays);

  // Runs all steps on the calling thread. When nobody waits (`detached`), every error is carried by
  // the arrays; otherwise the first is also returned, and what can be tried again (out of memory,
  // interrupted) goes back to being lazy.
  std::exception_ptr run(bool detached);
  // Gives up before anything has run: the nodes are lazy again.
  void abandon();
  // Waits until all steps have run. Throws Interrupted when the interrupt check says so.
  void wait();
  // The error that a failed node carries.
  std::exception_ptr error_of(const Node* node);

 private:
  // Results under way in a queue, which may still be read, and what they follow from.
  struct UnderWay {
    Ref<Node> node;
    Queue* queue;
    std::shared_ptr<Ticket> ticket;
  };

  Node& node(Slot s) const { return *nodes_[s]; }
  Queue& queue(Backend& backend, Stream stream);
  // Whether a trace keeps a part of the step's graph, so that its inputs stay.
  bool retains(const Step& step) const;
  void keep_traced();
  template <class F>
  void for_each_input(const Step& step, F visit) const;

  void run_step(const Step& step);
  std::shared_ptr<Ticket> run_program(const Step& step);
  std::shared_ptr<Ticket> run_primitive(const Step& step, Backend& backend);
  std::shared_ptr<Ticket> run_view(const Step& step, Backend& backend);
  // Makes the CPU, or another queue, wait for the inputs that are under way elsewhere.
  Queue& ready(const Step& step, Backend& backend);
  bool can_donate(const Node& n, std::uint32_t references, const Queue& queue) const;
  void place_outputs(ProgramRun& run, const Step& step, Backend& backend, Queue& queue);

  std::exception_ptr inherited_error(const Step& step) const;
  void finish_step(const Step& step, Queue& queue, std::shared_ptr<Ticket> ticket);
  void drop_graph(const Step& step);
  void fail(const Step& step, std::exception_ptr error, bool retry);
  void set_error(const Node* node, std::exception_ptr error);
  // Waits for what is under way. Gives its first error.
  std::exception_ptr settle();

  std::shared_ptr<const Plan> plan_;
  std::vector<Node*> nodes_;           // by slot
  std::vector<std::uint8_t> flags_;    // the tape's
  std::vector<std::uint64_t> constants_;
  std::vector<Ref<Node>> held_;        // what others may let go of before it has its value
  std::vector<std::shared_ptr<Batch>> dependencies_;

  std::vector<std::pair<std::pair<Backend*, Stream>, std::unique_ptr<Queue>>> queues_;
  std::vector<UnderWay> under_way_;    // in the order of their steps
  std::unordered_map<const Node*, std::size_t> place_;  // of a node among them

  std::mutex mutex_;
  std::condition_variable done_;
  std::atomic<bool> finished_{false};
  std::unordered_map<const Node*, std::exception_ptr> errors_;
};

// Waits for the work given to streams by async_eval.
void wait_for_streams();

}  // namespace cermet
