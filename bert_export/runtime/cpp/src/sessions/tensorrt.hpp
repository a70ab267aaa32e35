// TensorRT, or TensorRT for RTX, behind the session interface. Never run on a GPU so far.
#pragma once

#include <memory>
#include <string>

#include "sessions/session.hpp"

namespace bert_export::sessions {

// The target whose engines are opened: the headers of which product the build was given.
const char* tensorrt_target();

// Opens the engine that was built for a bundle's entry. Throws TargetError where none was built,
// TensorRT or CUDA is not there or too old, or the engine is of another release or GPU, BundleError
// where the file is missing or its tensors are not those of the manifest.
std::unique_ptr<Session> open_tensorrt(const std::string& folder,
                                       const bundle::EngineRecord& engine,
                                       const SessionOptions& options);

}  // namespace bert_export::sessions
