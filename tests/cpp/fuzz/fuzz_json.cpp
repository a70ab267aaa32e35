// Any bytes are JSON or a JsonError.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto json = bert_export::text::Json::parse(text);
    json.find("a");
    json.integer("a number");
  } catch (const bert_export::text::JsonError&) {
  }
  return 0;
}
