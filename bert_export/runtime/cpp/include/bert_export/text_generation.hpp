// Text continued token by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

struct TextGenerationOptions {
  // Tokens that a prompt grows by at most; the tokenizer's limit may end it sooner.
  std::optional<std::size_t> max_new_tokens = std::nullopt;
  // Draw tokens at random instead of taking the likeliest; the next four matter only then.
  std::optional<bool> do_sample = std::nullopt;
  // Above 1 flattens, below 1 sharpens the distribution.
  std::optional<double> temperature = std::nullopt;
  // Draw among that many of the likeliest tokens; 0 for all.
  std::optional<std::size_t> top_k = std::nullopt;
  // Draw among the likeliest tokens that together reach this probability.
  std::optional<double> top_p = std::nullopt;
  // Makes an answer repeatable, whichever prompts surround it; the numbers are those of numpy's
  // default generator.
  std::optional<std::uint64_t> seed = std::nullopt;
  // Whether an answer starts with its prompt.
  std::optional<bool> return_full_text = std::nullopt;
  // Rows per graph call at most, besides the token budget.
  std::optional<std::size_t> batch_size = std::nullopt;
};

// Continues prompts until [SEP], max_new_tokens or the tokenizer's limit.
class BERT_EXPORT_API TextGeneration : public Pipeline {
 public:
  // As TextClassification::open.
  static TextGeneration open(const std::string& path, const OpenOptions& options = {});

  // What a prompt becomes. Throws InputError where a prompt leaves no room for a token, a text is
  // malformed or an option out of range.
  std::string operator()(std::string_view prompt, const TextGenerationOptions& options = {}) const;
  // What each prompt becomes.
  std::vector<std::string> operator()(const std::vector<std::string_view>& prompts,
                                      const TextGenerationOptions& options = {}) const;

 private:
  struct Parts;
  explicit TextGeneration(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
