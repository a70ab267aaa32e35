// Text that follows from another text: summaries and the like, by an encoder and a decoder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/generation.hpp"
#include "bert_export/open_options.hpp"
#include "bert_export/pipeline.hpp"
#include "bert_export/tokenizer.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

// Bounds on new tokens do not count the token that every answer begins with, bounds on lengths do;
// the decoder's positions may end an answer sooner. A max_new_tokens that is larger than they are
// stands for as many as there are.
struct Text2TextGenerationOptions : GenerationOptions {
  // As min_new_tokens, with the first token counted.
  std::optional<std::size_t> min_length = std::nullopt;
  // How a text that is too long for the encoder is cut; an error where it is not.
  std::optional<Truncation> truncation = std::nullopt;
};

// Answers texts until an end token, max_new_tokens or the decoder's last position. A text is encoded
// once, whatever comes of it.
class BERT_EXPORT_API Text2TextGeneration : public Pipeline {
 public:
  // As TextClassification::open. `task` may be summarization too, for a bundle of either name.
  static Text2TextGeneration open(const std::string& path, const OpenOptions& options = {},
                                  const std::string& task = "text2text-generation");

  // Answers to a text: num_return_sequences of them, as a rule one. Throws InputError where a text is
  // too long or malformed, or an option out of range.
  std::vector<std::string> operator()(std::string_view text,
                                      const Text2TextGenerationOptions& options = {}) const;
  // Answers to each text.
  std::vector<std::vector<std::string>> operator()(
      const std::vector<std::string_view>& texts,
      const Text2TextGenerationOptions& options = {}) const;

  // Answers one text piece by piece, as TextGeneration::stream does; together the pieces are what a
  // call with num_beams of 1 answers. Beams have no first word before they end: where num_beams is
  // left out, it is 1 whatever the bundle says.
  void stream(std::string_view text, const ReceivePiece& receive,
              const Text2TextGenerationOptions& options = {}) const;

 private:
  struct Parts;
  explicit Text2TextGeneration(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace bert_export
