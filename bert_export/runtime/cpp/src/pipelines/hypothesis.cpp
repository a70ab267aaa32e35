#include "pipelines/hypothesis.hpp"

#include "bert_export/errors.hpp"
#include "text/printing.hpp"

namespace bert_export::pipelines {
namespace {

[[noreturn]] void refuse(std::string_view pattern, const std::string& why) {
  throw InputError("hypothesis_template " + text::shown(pattern) + " cannot be filled in",
                   {"one placeholder such as {}", why});
}

}  // namespace

Hypothesis::Hypothesis(std::string_view pattern) : parts_(1) {
  bool is_numbered = false;
  for (std::size_t place = 0; place < pattern.size(); ++place) {
    const char one = pattern[place];
    const bool doubled = place + 1 < pattern.size() && pattern[place + 1] == one;
    if (one != '{' && one != '}') {
      parts_.back() += one;
    } else if (doubled) {
      parts_.back() += one;
      ++place;
    } else if (one == '}') {
      refuse(pattern, "ValueError: Single '}' encountered in format string");
    } else {
      const std::size_t end = pattern.find('}', place);
      if (end == std::string_view::npos) {
        refuse(pattern, place + 1 == pattern.size()
                            ? "ValueError: Single '{' encountered in format string"
                            : "ValueError: expected '}' before end of string");
      }
      const std::string_view name = pattern.substr(place + 1, end - place - 1);
      if (!name.empty() && name != "0") {
        refuse(pattern, "the placeholder " + text::shown(name) + ", which names no label");
      }
      if (parts_.size() > 1 && (name.empty() || !is_numbered)) {
        refuse(pattern,
               name.empty() && !is_numbered ? "two of them" : "numbered ones beside others");
      }
      is_numbered = !name.empty();
      parts_.emplace_back();
      place = end;
    }
  }
  if (parts_.size() == 1) {
    throw InputError("hypothesis_template " + text::shown(pattern) + " has no placeholder",
                     {"{} where the label goes", "none"});
  }
}

std::string Hypothesis::of(std::string_view label) const {
  std::string text = parts_.front();
  for (std::size_t part = 1; part < parts_.size(); ++part) {
    text.append(label).append(parts_[part]);
  }
  return text;
}

}  // namespace bert_export::pipelines
