// ONNX Runtime behind the session interface.
#pragma once

#include <memory>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// Opens an engine of a bundle's folder. Throws BundleError where ONNX Runtime cannot read the graph or
// it is not the one of the manifest, TargetError where ONNX Runtime is not there or too old.
std::unique_ptr<Session> open_onnxruntime(const std::string& folder,
                                          const bundle::EngineRecord& engine,
                                          const SessionOptions& options);

}  // namespace bert_export::sessions
