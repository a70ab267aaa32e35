// Lower case, character by character: no context counts, not even a final sigma's.
#pragma once

#include <string>
#include <string_view>

namespace bert_export::decoding {

// The text must be UTF-8.
std::string lower(std::string_view text);

}  // namespace bert_export::decoding
