// Special tokens around one text or two: the templates of tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bert_export/encoded.hpp"
#include "text/json.hpp"
#include "tokenization/tokens.hpp"
#include "tokenization/truncation.hpp"

namespace bert_export::tokenization {

// A text's tokens, and the windows over them.
struct Cut {
  const Tokens* text;
  std::vector<Range> windows;
};

class PostProcessor {
 public:
  // Reads the field `post_processor`. Throws JsonError where it is malformed, Unsupported where it
  // is of another kind.
  static PostProcessor from_json(const text::Json& json);

  // How many special tokens stand around one text, or around two.
  std::size_t added(bool paired) const;

  // The rows of one text or two: first those of the first windows, then the further ones in the
  // order in which `tokenizers` has them.
  std::vector<Encoded> process(const std::vector<Cut>& texts, bool add_special_tokens,
                               bool further_windows) const;

 private:
  // A text, or special tokens.
  struct Piece {
    static constexpr int special = -1;

    int text;  // 0, 1 or special
    std::int64_t type_id;
    std::vector<std::int64_t> ids;
    std::vector<std::string> tokens;
  };
  using Template = std::vector<Piece>;

  static PostProcessor bert(const text::Json& json);
  static Template read_template(const text::Json& pieces, const text::Json& special_tokens,
                                const char* name);
  static Piece read_special(const std::string& name, const text::Json& special_tokens);

  Template single_;
  Template pair_;
};

}  // namespace bert_export::tokenization
