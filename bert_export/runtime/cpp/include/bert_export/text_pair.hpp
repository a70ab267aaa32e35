// A pair of texts, for the tasks that read just that.
#pragma once

#include <string_view>

namespace bert_export {

// Two texts, of which the second may follow the first. It owns nothing: the characters must outlive
// the call.
struct TextPair {
  std::string_view text;
  std::string_view text_pair;
};

}  // namespace bert_export
