// Every engine behind one interface.
#pragma once

#include <memory>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Opens an engine of a bundle's folder with what its target runs on. Throws BundleError where the
// engine cannot read the graph or it is not the one of the manifest, InputError where an option does
// not fit or means nothing to the target, TargetError where the engine is not there or too old.
std::unique_ptr<Session> open_session(const std::string& folder,
                                      const bundle::EngineRecord& engine,
                                      const SessionOptions& options);

}  // namespace bert_export::sessions
