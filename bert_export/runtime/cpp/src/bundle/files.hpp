// Files of a bundle.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace bert_export::bundle {

// Of the large constants of all graphs.
inline constexpr const char* weights_file = "weights.data";

// Reads a regular file chunk by chunk; waits for no pipe and reads no device. Returns what went
// wrong, or nothing.
std::string read_chunks(const std::string& path, const std::function<void(std::string_view)>& visit);

bool is_file(const std::string& path);
bool is_folder(const std::string& path);

}  // namespace bert_export::bundle
