// What messages quote.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bert_export::text {

// A text in which escapes spell what a terminal would act on, and bytes that are not UTF-8.
std::string printable(std::string_view text);

// A text as a message quotes it: between quotes, of which 60 characters are kept.
std::string shown(std::string_view text);

// What a library says, without line breaks.
std::string one_line(const std::string& text);

// A number as a message quotes it.
std::string shown(double number);

// Several texts between brackets, such as "()", of which 60 characters are kept.
std::string shown(const std::vector<std::string_view>& texts, std::string_view brackets);

}  // namespace bert_export::text
