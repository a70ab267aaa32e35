// Comparing a bundle's files with their recorded hashes.
#pragma once

#include <string>

#include "bundle/manifest.hpp"

namespace bert_export::bundle {

// Throws BundleError where a file is missing, truncated or altered, or a graph or the tokenizer is
// not among the files.
void verify_files(const std::string& folder, const Manifest& manifest);

}  // namespace bert_export::bundle
