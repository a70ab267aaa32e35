// WordPiece tokenization from tokenizer.json, token for token that of the Python package.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bert_export/encoded.hpp"
#include "bert_export/visibility.hpp"

namespace bert_export {

enum class Side { right, left };

// Which text of a pair is cut; `none` cuts nothing and refuses what is too long.
enum class Truncation { longest_first, only_first, only_second, none };

// What a service must know about the tokenizer beyond tokenizer.json: a part of the manifest.
struct TokenizerRecord {
  std::string file = "tokenizer.json";
  // Tokens per row, special tokens included.
  std::int64_t max_length = 512;
  std::string cls_token = "[CLS]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string mask_token = "[MASK]";
  std::string unk_token = "[UNK]";
  bool clean_up_tokenization_spaces = false;
  // Whether the two texts of a pair have types of their own; all types are 0 otherwise.
  bool token_types = true;
  // The end at which a row that is too long is cut.
  Side truncation_side = Side::right;
};

// A text, a pair of texts, or the words of a text that is split already. It owns nothing: the
// characters must outlive the call.
struct Text {
  enum class Kind { single, pair, words };

  Text(std::string_view text) : kind(Kind::single), parts{text} {}  // NOLINT: a text is a Text
  Text(const char* text) : Text(std::string_view(text)) {}          // NOLINT
  Text(const std::string& text) : Text(std::string_view(text)) {}   // NOLINT
  Text(std::string_view text, std::string_view text_pair)
      : kind(Kind::pair), parts{text, text_pair} {}
  static Text split(std::vector<std::string_view> words) {
    return Text(Kind::words, std::move(words));
  }

  Kind kind;
  std::vector<std::string_view> parts;

 private:
  Text(Kind own, std::vector<std::string_view> own_parts)
      : kind(own), parts(std::move(own_parts)) {}
};

struct EncodeOptions {
  // Tokens per row, special tokens included; the record's where it is absent.
  std::optional<std::int64_t> max_length = std::nullopt;
  Truncation truncation = Truncation::longest_first;
  // Tokens that a window shares with the one before.
  std::int64_t stride = 0;
  // Whether the rest of a cut text follows as further windows.
  bool windows = false;
  // Whether [CLS] and [SEP] are added.
  bool add_special_tokens = true;
};

// BERT's tokenizer; every call may come from several threads at once.
class BERT_EXPORT_API Tokenizer {
 public:
  // Reads tokenizer.json. Throws TokenizerError where the file is missing, malformed, contradicts
  // the record or asks for what is not implemented here.
  static Tokenizer from_file(const std::string& path, const TokenizerRecord& record);
  // The tokenizer that the text of a tokenizer.json describes; throws as from_file.
  static Tokenizer from_json(std::string_view json, const TokenizerRecord& record);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  const TokenizerRecord& record() const;
  std::int64_t max_length() const;
  // What stands before a token that continues a word.
  const std::string& continuing_prefix() const;
  // How many tokens there are, added ones included.
  std::int64_t vocab_size() const;
  std::int64_t cls_id() const;
  std::int64_t sep_id() const;
  std::int64_t pad_id() const;
  std::int64_t unk_id() const;
  std::optional<std::int64_t> mask_id() const;
  // Throws TokenizerError where the vocabulary has no mask.
  std::int64_t required_mask_id() const;

  std::optional<std::int64_t> token_to_id(std::string_view token) const;
  // Throws InputError where no token has that id.
  std::string id_to_token(std::int64_t id) const;
  std::vector<std::string> ids_to_tokens(const std::vector<std::int64_t>& ids) const;

  // The tokens of a text, without special tokens of the model and without truncation.
  std::vector<std::string> tokenize(std::string_view text) const;

  // A text's encoding, followed by its further windows with `windows`. Throws InputError where a
  // text is not UTF-8 or too long to be cut as told, or an option does not fit.
  std::vector<Encoded> encode(const Text& text, const EncodeOptions& options = {}) const;

  // The text that tokens spell, by tokenizer.json's own decoder.
  std::string join(const std::vector<std::string>& tokens) const;
  // The text that ids spell; an id without a token spells nothing. `clean_up` also removes spaces
  // before English punctuation and contractions. Throws InputError where an id is negative.
  std::string decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens = true,
                     bool clean_up = true) const;
  // As decode, with spaces cleaned up where the record says so.
  std::string spell(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const;

  // Ids of [CLS] A [SEP], or [CLS] A [SEP] B [SEP] for a pair.
  std::vector<std::int64_t> build_inputs_with_special_tokens(
      const std::vector<std::int64_t>& ids0,
      const std::optional<std::vector<std::int64_t>>& ids1 = std::nullopt) const;
  // 1 for each special token of the built row (or of ids0, which is a whole row already), else 0.
  std::vector<std::int64_t> get_special_tokens_mask(
      const std::vector<std::int64_t>& ids0,
      const std::optional<std::vector<std::int64_t>>& ids1 = std::nullopt,
      bool already_has_special_tokens = false) const;
  // 0 for each token of [CLS] A [SEP], 1 for each of B [SEP].
  std::vector<std::int64_t> create_token_type_ids_from_sequences(
      const std::vector<std::int64_t>& ids0,
      const std::optional<std::vector<std::int64_t>>& ids1 = std::nullopt) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace bert_export
