// Rewrites of a graph that is about to be planned, which change no bit of what it gives.
#pragma once

#include <unordered_set>

#include "plan/tape.h"

namespace cermet {

// Makes a chain of slice updates that nobody else refers to one node, without the updates that
// later ones overwrite. The caller holds graph_mutex().
void join_updates(Node& last);

// Does elementwise work on parts of what is put together, and on slices, where values between need
// no memory then (pieces.cpp). Says whether it did; then the tape is to be recorded anew. What is
// among `outer` stays as it is, and nothing follows from its numbers.
bool flow_through(const Tape& tape, const std::unordered_set<const Node*>& outer);

}  // namespace cermet
