// Batches: a plan with the nodes of one graph, on its way to values, and who waits for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eval/backend.h"
#include "eval/interrupt.h"
#include "graph/fork.h"

namespace cermet {

// Guards planning: node states change from lazy to scheduled under it alone.
inline std::mutex& graph_mutex() { return mutex_of(Lock::graph); }
// What planning knows of a stream's device.
const Limits& limits_of(Stream stream);

class Batch : public std::enable_shared_from_this<Batch> {
 public:
  // Plans what the arrays need and marks the nodes that will get values as scheduled; null when
  // there is nothing to do. The caller holds graph_mutex().
  static std::shared_ptr<Batch> make(const Arrays& arrays);

  // Gives all steps to their queues, on the calling thread, and waits for the results. Errors are
  // carried by the arrays, and the first is returned; but what can be tried again (out of memory,
  // interrupted) goes back to being lazy. Null also when this thread has taken the batch back
  // meanwhile.
  std::exception_ptr run();
  // The same without the wait: when it returns false, the batch is in flight, and somebody should
  // finish it.
  bool run_ahead();
  // Waits for what is in flight and tells who waits. Any thread may, several at once.
  void finish();
  // In place of run(): gives the arrays back as they were, to be asked for again.
  void abandon();
  // Waits until all steps have run, on behalf of another batch or of nobody. Throws Interrupted
  // when the interrupt check says so, and where it would wait for ever: when the batch was left
  // behind in the process that this one was forked from. What this thread itself runs below is
  // given back first, for it can't go on meanwhile. With `encoded`, until all steps have been given
  // out.
  void wait(const Batch* asking = nullptr, bool encoded = false);
  // Whether it needs a batch that this thread runs below: in a handler that interrupted it.
  bool waits_below() const;
  // Takes a batch that has run for the next one to be made, if nobody else needs it: its lists have
  // memory. The caller holds graph_mutex().
  static void keep(std::shared_ptr<Batch>& batch);
  // The error that a failed node carries.
  std::exception_ptr error_of(const Node* node);

 private:
  // A step whose results are under way.
  struct UnderWay {
    std::shared_ptr<Ticket> ticket;
    std::vector<std::shared_ptr<UnderWay>> reads;  // the steps it reads
    // Once its batch has waited for it, under Lock::batches.
    std::exception_ptr error = nullptr;
  };
  // Where a queue works.
  using Where = std::pair<Backend*, Stream>;
  // The memory of a concatenation or slice update that operands are stored in.
  struct Begun {
    Queue* queue;                              // that allocated it
    std::shared_ptr<Ticket> ticket = nullptr;  // of copies that were made first
    bool overwrites = false;                   // what is updated
    // How far the operands have been counted, and where the next begins.
    std::uint32_t operand = 0;
    std::int64_t start = 0;
  };
  // A leaf that another batch computed, and how often this one's graph reads it.
  struct Awaited {
    Slot slot;
    Ref<Node> node;
    std::uint32_t uses;
  };
  struct Result {
    Ref<Node> node;
    std::shared_ptr<UnderWay> step;
    Where where;
    bool own = true;  // else another batch tells that it is there
  };
  // What a batch in flight waits for.
  struct InFlight {
    std::vector<std::shared_ptr<UnderWay>> steps;
    std::vector<std::shared_ptr<Batch>> dependencies;
  };

  Node& node(Slot s) const { return *nodes_[s]; }
  bool is(Slot s, Tape::Flag flag) const { return flags_[s] & flag; }
  bool is_kept(Slot s) const { return flags_[s] & (Tape::held | Tape::kept); }
  // Calls visit(node) for everything a step reads but constants.
  template <class F>
  void for_each_input(const Step& step, F visit) const {
    for_each_read(step, [&](Slot s) { visit(node(s)); });
  }
  // The queue for a step on a backend. It waits for inputs that are under way elsewhere.
  Queue& prepare(const Step& step, Backend& backend);

  // With calls of compiled functions that were planned before, their parts have no nodes: the batch
  // runs on stand-ins, one for each result of a step, and in the end hands their values over.
  void stand_in(const Tape& folded, std::shared_ptr<const Unfolded> unfolded, const Arrays& asked);
  void hand_over();
  // Finds what is held by this batch alone of what it waited for, so that it may be written over.
  void take_up();
  // Lets go of the memory that a step was the last to read.
  void release(const Step& step);
  // Gives the parts nodes after all, so that what was not done can be asked for again. False when
  // it cannot be.
  bool unfold(std::size_t steps_done);
  // Runs on the nodes of a tape. The caller holds graph_mutex(), as for those above.
  void adopt(const Tape& tape);
  void schedule(Node& node);

  void run_step(const Step& step);
  std::shared_ptr<Ticket> run_program(const Step& step, ProgramRun& run, Backend& on, Queue& queue);
  bool is_long(const Step& step) const;
  std::shared_ptr<Ticket> run_primitive(const Step& step, Node& out, Queue& queue);
  // What a view is of.
  const Node& source_of(const Step& step) const;
  // `sharing`: other results with its memory, which do not keep it.
  bool can_donate(const Step& step, Slot s, const Queue& queue, std::uint32_t sharing = 0) const;
  // Gives a result its region in another's memory (places.cpp). False: it needs memory of its own.
  bool place(Slot s, Queue& queue);
  Where where(const Queue& queue) const;
  // Whether a queue can read a value now.
  bool is_there(const Node& n, const Queue& queue) const;
  // Finds the memory of a slice update: its base's, or some with a copy of what stays of it.
  void begin_update(const Step& update, const Node& base, Queue& queue);
  std::shared_ptr<Ticket> run_update(const Step& step, std::span<Node* const> inputs, Queue& queue);
  // Notes which slice updates may be written over their bases while the graph is all there.
  void find_overwrites();
  bool put_in_region(const Place& place, Begun& begun, Node& part) const;
  // Whether a trace keeps a part of the step's graph, so that its inputs stay.
  bool retains(const Step& step) const;
  void keep_traced();

  // Gives back what has not been done.
  void stop(const std::exception_ptr& why);
  // The same from a handler that interrupted a step: what that uses stays until its threads leave.
  void withdraw();
  // Throws the error of an input that has no value.
  void check_inputs(const Step& step) const;
  void finish_step(const Step& step, Queue& queue, std::shared_ptr<Ticket> ticket);
  void announce(const Step& step, Status status);
  void drop_graph(const Step& step);
  void forget_graph(Node& node);
  void fail(const Step& step, const std::exception_ptr& error, bool retry);
  void note_error(Node& node, const std::exception_ptr& error) noexcept;
  // Under Lock::batches.
  void add_error(const Node& node, const std::exception_ptr& error) noexcept;
  // Waits for what is under way.
  void settle();
  static std::exception_ptr settle(UnderWay& step);
  // Gives the steps to their queues.
  void give_out();
  // All have been given out: lets go of all but what finish() needs.
  void leave();
  // Hands over, and tells who waits.
  void publish();
  void tell();
  void clear();

  const int generation_ = process_generation();
  std::shared_ptr<const Plan> plan_;
  std::size_t next_ = 0;             // the step that runs
  std::vector<Node*> nodes_;         // by slot
  std::vector<std::uint8_t> flags_;  // the tape's
  std::vector<std::uint64_t> constants_;
  std::vector<Ref<Node>> held_;               // what others may let go of before it has its value
  std::shared_ptr<const Unfolded> unfolded_;  // when it runs on stand-ins
  Arrays asked_;
  std::vector<std::pair<Slot, Ref<Node>>> wanted_;  // the nodes that stand-ins stand for
  std::vector<std::shared_ptr<Batch>> dependencies_;
  std::vector<Awaited> awaited_;
  bool traced_ = false;
  std::exception_ptr first_;  // the first error

  std::vector<std::pair<Where, std::unique_ptr<Queue>>> queues_;
  std::vector<std::shared_ptr<UnderWay>> under_way_;
  // Of them and of those that other batches have in flight, what may still be read. From encoded_
  // on under Lock::batches.
  std::unordered_map<const Node*, Result> results_;
  std::unordered_map<const Node*, Begun> begun_;
  std::unordered_set<Slot> free_to_overwrite_;

  struct InUse {  // by the step that was interrupted
    std::vector<Ref<Node>> nodes;
    std::vector<Ref<Buffer>> buffers;
    std::vector<Ref<const Primitive>> primitives;
  } in_use_;

  // Under Lock::batches, as are the errors.
  std::condition_variable done_;
  std::atomic<bool> encoded_{false}, finished_{false};
  std::shared_ptr<const InFlight> in_flight_;
  std::unordered_map<const Node*, std::exception_ptr> errors_;
};

// A row-major value's memory.
void allocate_value(Node& node, Queue& queue);

// Waits for the work given to streams by async_eval, and for what was left in flight.
void wait_for_streams();
// Waits for all batches in flight, whoever began them: they hold memory. False: there was none.
bool wait_for_flights(const Batch* asking = nullptr);
// Another thread finishes the batch.
void finish_later(std::shared_ptr<Batch> batch);

}  // namespace cermet
