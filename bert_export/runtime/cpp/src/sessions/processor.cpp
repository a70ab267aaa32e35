#include "sessions/processor.hpp"

#include <fstream>
#include <sstream>

namespace bert_export::sessions {

std::string detect_processor() {
#if defined(__aarch64__)
  return "arm64";
#else
  // Where the flags cannot be read, the processor is taken to have no VNNI: what is made for that is
  // right everywhere.
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream flags(line);
    for (std::string flag; flags >> flag;) {
      if (flag == "avx512_vnni" || flag == "avx_vnni") return "x86-64-vnni";
    }
    break;
  }
  return "x86-64";
#endif
}

bool saturates(const std::optional<std::string>& made_for, const std::string& here) {
  return made_for == "x86-64-vnni" && here == "x86-64";
}

}  // namespace bert_export::sessions
