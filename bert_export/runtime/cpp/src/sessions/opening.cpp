#include "sessions/opening.hpp"

#include <algorithm>
#include <string_view>

#include "bert_export/errors.hpp"
#include "sessions/encoder_decoder.hpp"
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

// A target that can be opened.
struct Opener {
  std::string target;
  Open open;
  // What means something to it.
  std::vector<const char*> options;
  // Whether it was measured ahead of all others on machines like this one.
  bool (*ahead)() = [] { return false; };
};

const std::vector<Opener>& openers() {
  static const std::vector<Opener> all{
      {"native", open_native, {"threads"}, native_is_ahead},
      {"onnxruntime", open_onnxruntime, {"threads", "spinning", "shrink_arena"}},
      {"openvino", open_openvino, {"threads", "hint", "cache", "shapes"}},
#ifdef BERT_EXPORT_WITH_TENSORRT
      {tensorrt_target(), open_tensorrt, {}},
#endif
  };
  return all;
}

const Opener* find_opener(const std::string& target) {
  const auto found = std::find_if(openers().begin(), openers().end(),
                                  [&](const Opener& opener) { return opener.target == target; });
  return found == openers().end() ? nullptr : &*found;
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

// An option that a caller set and that means nothing to a target; null where there is none.
const char* foreign_option(const Opener& opener, const SessionOptions& options) {
  for (const std::string_view option : given_options(options)) {
    const auto& own = opener.options;
    if (std::find(own.begin(), own.end(), option) == own.end()) return option.data();
  }
  return nullptr;
}

}  // namespace

const bundle::EngineRecord& choose_engine(const bundle::Manifest& manifest,
                                          const std::optional<std::string>& target,
                                          const SessionOptions& options) {
  const bundle::EngineRecord& own = manifest.engine(target);
  if (target || manifest.timed || find_opener(own.target) == nullptr) return own;
  for (const bundle::EngineRecord& engine : manifest.engines) {
    const Opener* const opener = find_opener(engine.target);
    const bool equal = opener != nullptr && engine.verified && engine.precision == own.precision;
    if (equal && !foreign_option(*opener, options) && opener->ahead()) return engine;
  }
  return own;
}

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
    if (const char* const option = foreign_option(opener, options)) {
      throw InputError(std::string("option ") + option + " means nothing to target " + engine.target,
                       {meant.empty() ? "no option" : meant, option});
    }
    return open_halves(
        engine, options,
        [&](const bundle::EngineRecord& graph, const SessionOptions& own) {
          return opener.open(folder, graph, own);
        });
  }
  const bool built = engine.target.rfind("tensorrt", 0) == 0;
  throw TargetError("target " + engine.target + " cannot be run",
                    {known, engine.target,
                     built ? "Build the library with -DBERT_EXPORT_TENSORRT=ON and that product's headers"
                           : "Export the bundle with --target onnxruntime"});
}

}  // namespace bert_export::sessions
