// Every engine behind one interface.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Which of a bundle's engines answers on this machine: that of a named target, else the bundle's
// default, unless that was not found by timing and a verified engine of its precision, to which all
// given options mean something, was measured ahead of the others on machines like this one. Throws
// BundleError where the bundle does not serve the target.
const bundle::EngineRecord& choose_engine(const bundle::Manifest& manifest,
                                          const std::optional<std::string>& target,
                                          const SessionOptions& options);

// Opens an engine of a bundle's folder with what its target runs on. Throws BundleError where the
// engine cannot read the graph or it is not the one of the manifest, InputError where an option does
// not fit or means nothing to the target, TargetError where the engine is not there or too old.
std::unique_ptr<Session> open_session(const std::string& folder,
                                      const bundle::EngineRecord& engine,
                                      const SessionOptions& options);

}  // namespace bert_export::sessions
