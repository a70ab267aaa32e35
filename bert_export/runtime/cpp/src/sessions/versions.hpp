// Versions of the engines that are too old, or known to answer wrongly.
#pragma once

#include <string>

namespace bert_export::sessions {

// By package, the oldest version that answers as it should; the Python package has the same, and says
// what each rests on.
inline constexpr const char* oldest_onnxruntime = "1.25";
inline constexpr const char* oldest_openvino = "2026.3";
inline constexpr const char* oldest_tensorrt = "11";
inline constexpr const char* oldest_tensorrt_rtx = "1.7";

// Throws TargetError where an engine says of itself, as in `1.24.1` or `2026.2.0-21903-52ddc073857`,
// that it is older, or nothing that can be read.
void check_version(const std::string& package, const std::string& oldest, const std::string& found);

}  // namespace bert_export::sessions
