#include "pipelines/tokenization.hpp"

namespace bert_export::pipelines {

EncodeOptions own_tokenization(const Parameters& parameters) {
  EncodeOptions own;
  own.truncation = parameters.truncation("truncation", Truncation::none);
  own.max_length = parameters.whole("max_length", std::nullopt, 1);
  own.add_special_tokens = parameters.flag("add_special_tokens", true);
  return own;
}

std::size_t width_of(const OpenedBundle& bundle, const std::string& output) {
  for (const bundle::TensorSpec& spec : bundle.graph().outputs) {
    if (spec.name != output || spec.shape.empty()) continue;
    if (const auto* const size = std::get_if<std::int64_t>(&spec.shape.back())) {
      return static_cast<std::size_t>(*size);
    }
  }
  throw BundleError(
      "bundle has a graph of another interface",
      {output + " whose last axis has a known size", "none", "Export the bundle again"});
}

}  // namespace bert_export::pipelines
