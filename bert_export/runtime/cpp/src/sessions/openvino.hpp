// OpenVINO's CPU plugin behind the session interface.
#pragma once

#include <memory>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Opens an engine of a bundle's folder. Throws BundleError where OpenVINO cannot read the graph,
// InputError where an option does not fit, TargetError where OpenVINO is not there or too old.
std::unique_ptr<Session> open_openvino(const std::string& folder,
                                       const bundle::EngineRecord& engine,
                                       const SessionOptions& options);

}  // namespace bert_export::sessions
