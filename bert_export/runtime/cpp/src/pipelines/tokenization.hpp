// What calls say of truncation, its length and special tokens.
#pragma once

#include <string>

#include "pipelines/opened_bundle.hpp"

namespace bert_export::pipelines {

// What a call does that names no option; fields that the task does not have are the defaults.
EncodeOptions own_tokenization(const Parameters& parameters);

// The same with a call's options. A max_length alone switches truncation on. Throws InputError.
template <typename Options>
EncodeOptions read_tokenization(EncodeOptions own, const Options& options) {
  if (options.max_length) {
    own.max_length = check_whole<std::int64_t>("max_length", *options.max_length, 1);
    own.truncation = Truncation::longest_first;
  }
  own.truncation = options.truncation.value_or(own.truncation);
  own.add_special_tokens = options.add_special_tokens.value_or(own.add_special_tokens);
  return own;
}

// Numbers of an output's last axis. Throws BundleError where it has no known size.
std::size_t width_of(const OpenedBundle& bundle, const std::string& output);

}  // namespace bert_export::pipelines
