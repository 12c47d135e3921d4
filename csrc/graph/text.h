// A text that grows; where there is no memory for it, it raises instead of ending early.
#pragma once

#include <sstream>

namespace cermet {

class Text : public std::ostringstream {
 public:
  Text() { exceptions(badbit); }
};

}  // namespace cermet
