// JSON of what the library answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bert_export/encoded.hpp"
#include "text/json_writer.hpp"

namespace tests {

using bert_export::text::to_json;
std::string to_json(bert_export::Span span);
std::string to_json(const bert_export::Encoded& row);

inline std::string to_json(std::int32_t number) { return std::to_string(number); }
inline std::string to_json(std::uint8_t number) { return std::to_string(number); }

template <typename Item>
std::string to_json(const std::vector<Item>& items) {
  std::string list = "[";
  for (const Item& item : items) {
    if (list.size() > 1) list += ',';
    list += to_json(item);
  }
  return list + "]";
}

}  // namespace tests
