// The template of zero-shot hypotheses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bert_export::pipelines {

// A text with placeholders for a label: {} once, or {0} any number of times; {{ and }} stand for
// braces.
class Hypothesis {
 public:
  // Throws InputError where the template has no placeholder or cannot be filled in.
  explicit Hypothesis(std::string_view pattern);

  std::string of(std::string_view label) const;

 private:
  // What stands between the labels, one more than there are of them.
  std::vector<std::string> parts_;
};

}  // namespace bert_export::pipelines
