// JSON out of values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bert_export::text {

// The text must be UTF-8.
std::string to_json(std::string_view text);
// The shortest digits that give the number again; null for what is no finite number.
std::string to_json(float number);
std::string to_json(double number);
inline std::string to_json(std::int64_t number) { return std::to_string(number); }
inline std::string to_json(std::size_t number) { return std::to_string(number); }

template <typename Item, typename Write>
std::string list_to_json(const std::vector<Item>& items, const Write& write) {
  std::string list = "[";
  for (const Item& item : items) {
    if (list.size() > 1) list += ',';
    list += write(item);
  }
  return list + "]";
}

template <typename Item>
std::string list_to_json(const std::vector<Item>& items) {
  return list_to_json(items, [](const Item& item) { return to_json(item); });
}

}  // namespace bert_export::text
