// Any bytes are a manifest that keeps its promises, or a BundleError.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "bert_export/errors.hpp"
#include "bundle/manifest.hpp"

namespace bundle = bert_export::bundle;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const bundle::Manifest manifest = bundle::parse_manifest("bundle", text);
    for (const auto& [name, record] : manifest.files) {
      if (name.find('/') != name.npos || name == "..") std::abort();
    }
    if (manifest.tokenizer.max_length > manifest.max_position_embeddings) std::abort();
    manifest.engine();
  } catch (const bert_export::BundleError&) {
  }
  return 0;
}
