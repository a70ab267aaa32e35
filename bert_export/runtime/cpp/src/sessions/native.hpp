// The native target's programs behind the session interface.
#pragma once

#include <memory>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Opens an engine of a bundle's folder. Throws BundleError where the program is not legal or not the
// one of the manifest, InputError where an option does not fit.
std::unique_ptr<Session> open_native(const std::string& folder, const bundle::EngineRecord& engine,
                                     const SessionOptions& options);

// Whether it was measured ahead of every other engine on machines like this one.
bool native_is_ahead();

}  // namespace bert_export::sessions
