#include "sessions/opening.hpp"

#include <algorithm>

#include "bert_export/errors.hpp"
#include "sessions/native.hpp"
#include "sessions/onnxruntime.hpp"
#include "sessions/openvino.hpp"
#ifdef BERT_EXPORT_WITH_TENSORRT
#include "sessions/tensorrt.hpp"
#endif

namespace bert_export::sessions {
namespace {

using Open = std::unique_ptr<Session> (*)(const std::string&, const bundle::EngineRecord&,
                                          const SessionOptions&);

// A target that can be opened, and the options that mean something to it.
struct Opener {
  std::string target;
  Open open;
  std::vector<const char*> options;
};

const std::vector<Opener>& openers() {
  static const std::vector<Opener> all{
      {"native", open_native, {"threads"}},
      {"onnxruntime", open_onnxruntime, {"threads", "spinning", "shrink_arena"}},
      {"openvino", open_openvino, {"threads", "hint", "cache", "shapes"}},
#ifdef BERT_EXPORT_WITH_TENSORRT
      {tensorrt_target(), open_tensorrt, {}},
#endif
  };
  return all;
}

// The options that a caller set to something else than the default.
std::vector<const char*> given_options(const SessionOptions& options) {
  const SessionOptions plain;
  std::vector<const char*> given;
  if (options.threads != plain.threads) given.push_back("threads");
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
    known += (known.empty() ? "" : " or ") + opener.target;
    if (engine.target != opener.target) continue;
    std::string meant;
    for (const char* const option : opener.options) {
      meant += (meant.empty() ? "some of " : ", ") + std::string(option);
    }
    for (const std::string option : given_options(options)) {
      if (std::find(opener.options.begin(), opener.options.end(), option) != opener.options.end()) {
        continue;
      }
      throw InputError("option " + option + " means nothing to target " + engine.target,
                       {meant.empty() ? "no option" : meant, option});
    }
    return opener.open(folder, engine, options);
  }
  const bool built = engine.target.rfind("tensorrt", 0) == 0;
  throw TargetError("target " + engine.target + " cannot be run",
                    {known, engine.target,
                     built ? "Build the library with -DBERT_EXPORT_TENSORRT=ON and that product's headers"
                           : "Export the bundle with --target onnxruntime"});
}

}  // namespace bert_export::sessions
