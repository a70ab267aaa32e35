// Which integer instructions a processor has: INT8 is made for one kind and should run on it.
#pragma once

#include <optional>
#include <string>

namespace bert_export::sessions {

// The kind of this machine's processor: x86-64-vnni, x86-64 or arm64.
std::string detect_processor();

// Whether products of a bundle's 8-bit numbers exceed what a machine adds them in.
bool saturates(const std::optional<std::string>& made_for, const std::string& here);

}  // namespace bert_export::sessions
