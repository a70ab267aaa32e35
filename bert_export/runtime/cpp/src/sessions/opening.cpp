#include "sessions/opening.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "sessions/native.hpp"
#include "sessions/onnxruntime.hpp"
#include "sessions/openvino.hpp"

namespace bert_export::sessions {
namespace {

using Open = std::unique_ptr<Session> (*)(const std::string&, const bundle::EngineRecord&,
                                          const SessionOptions&);

// A target that can be opened, and the options that mean something to it besides threads.
struct Opener {
  const char* target;
  Open open;
  std::vector<const char*> options;
};

const std::vector<Opener>& openers() {
  static const std::vector<Opener> all{
      {"native", open_native, {}},
      {"onnxruntime", open_onnxruntime, {"spinning", "shrink_arena"}},
      {"openvino", open_openvino, {"hint", "cache", "shapes"}},
  };
  return all;
}

// The options that a caller set to something else than the default.
std::vector<const char*> given_options(const SessionOptions& options) {
  const SessionOptions plain;
  std::vector<const char*> given;
  if (options.spinning != plain.spinning) given.push_back("spinning");
  if (options.shrink_arena != plain.shrink_arena) given.push_back("shrink_arena");
  if (options.hint != plain.hint) given.push_back("hint");
  if (options.cache != plain.cache) given.push_back("cache");
  if (options.shapes != plain.shapes) given.push_back("shapes");
  return given;
}

}  // namespace

std::unique_ptr<Session> open_session(const std::string& folder, const bundle::EngineRecord& engine,
                                      const SessionOptions& options) {
  std::string known;
  for (const Opener& opener : openers()) {
    known += (known.empty() ? "" : " or ") + std::string(opener.target);
    if (engine.target != opener.target) continue;
    std::string meant = "threads";
    for (const char* const option : opener.options) meant += std::string(", ") + option;
    for (const std::string option : given_options(options)) {
      if (std::find(opener.options.begin(), opener.options.end(), option) != opener.options.end()) {
        continue;
      }
      throw InputError("option " + option + " means nothing to target " + engine.target,
                       {"some of " + meant, option});
    }
    return opener.open(folder, engine, options);
  }
  throw TargetError("target " + engine.target + " cannot be run",
                    {known, engine.target, "Export the bundle with --target onnxruntime"});
}

}  // namespace bert_export::sessions
