// Text continued token by token.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/generation.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

// The end is [SEP] where eos_token_id is left out. With max_length alone, max_new_tokens bounds
// nothing; with both the smaller room holds. The tokenizer's limit may end a text sooner.
struct TextGenerationOptions : GenerationOptions {
  // Whether an answer starts with its prompt.
  std::optional<bool> return_full_text = std::nullopt;
};

// Continues prompts until an end token, max_new_tokens or the tokenizer's limit.
class BERT_EXPORT_API TextGeneration : public Pipeline {
 public:
  // As TextClassification::open.
  static TextGeneration open(const std::string& path, const OpenOptions& options = {});

  // What a prompt becomes: num_return_sequences texts, as a rule one. Throws InputError where a
  // prompt leaves no room for a token, a text is malformed or an option out of range.
  std::vector<std::string> operator()(std::string_view prompt,
                                      const TextGenerationOptions& options = {}) const;
  // What each prompt becomes.
  std::vector<std::vector<std::string>> operator()(const std::vector<std::string_view>& prompts,
                                                   const TextGenerationOptions& options = {}) const;

  // Continues one prompt and hands over what is added to it piece by piece, until its end or until
  // `receive` wants no more. A piece comes once no later token can change it and is not empty;
  // together they are what a call with return_full_text of false answers. Throws InputError as a
  // call, and where num_beams or num_return_sequences is above 1, or return_full_text or batch_size
  // is given. What `receive` throws goes to the caller.
  void stream(std::string_view prompt, const ReceivePiece& receive,
              const TextGenerationOptions& options = {}) const;

 private:
  struct Parts;
  explicit TextGeneration(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
