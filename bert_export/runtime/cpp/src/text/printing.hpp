// What messages quote.
#pragma once

#include <string>
#include <string_view>

namespace bert_export::text {

// A text in which escapes spell what a terminal would act on, and bytes that are not UTF-8.
std::string printable(std::string_view text);

// A text as a message quotes it: between quotes, of which 60 characters are kept.
std::string shown(std::string_view text);

}  // namespace bert_export::text
