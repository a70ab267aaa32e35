// What happens to a text before it is split: the normalizers of tokenizer.json.
#pragma once

#include <vector>

#include "text/json.hpp"
#include "tokenization/characters.hpp"

namespace bert_export::tokenization {

// Steps in the order of tokenizer.json; BERT's own normalizer is several.
class Normalizer {
 public:
  // Changes nothing.
  Normalizer() = default;
  // Reads the field `normalizer`. Throws JsonError where it is malformed, Unsupported where it asks
  // for what is not implemented.
  static Normalizer from_json(const text::Json& json);

  // Normalizes a part of a text on its own.
  Characters normalize(Slice raw) const;

 private:
  enum class Step { clean, space_chinese, decompose, strip_nonspacing_marks, strip_marks, lower_case };

  static void add_steps(const text::Json& json, std::vector<Step>& steps);
  static void add_bert_steps(const text::Json& json, std::vector<Step>& steps);

  std::vector<Step> steps_;
};

}  // namespace bert_export::tokenization
