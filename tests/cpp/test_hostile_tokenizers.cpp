// Texts and files that no tokenizer should be given.
#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "check.hpp"

using bert_export::InputError;
using bert_export::Tokenizer;
using bert_export::TokenizerError;
using bert_export::TokenizerRecord;

namespace {

constexpr std::string_view small = R"({"added_tokens": [
  {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
   "normalized": false, "special": true}],
 "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
 "pre_tokenizer": {"type": "BertPreTokenizer"},
 "post_processor": {"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
  "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
           {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
           {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
  "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                     "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
 "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
 "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
           "max_input_chars_per_word": 100,
           "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "##a": 6}}})";

Tokenizer read(std::string_view json) { return Tokenizer::from_json(json, TokenizerRecord{}); }

std::string with(std::string_view from, std::string_view to) {
  std::string json(small);
  const std::size_t place = json.find(from);
  if (place == std::string::npos) tests::fail(__FILE__, __LINE__, "the text is not in the file");
  return json.replace(place, from.size(), to);
}

std::string refusal(const std::string& json) {
  return tests::message_of<TokenizerError>([&] { read(json); });
}

}  // namespace

TEST(a_file_cut_at_every_byte_is_refused) {
  for (std::size_t size = 0; size < small.size(); ++size) {
    CHECK(refusal(std::string(small.substr(0, size))).find("tokenizer.json is malformed") == 10);
  }
  CHECK_EQUAL(read(small).vocab_size(), 7);
}

TEST(what_is_not_implemented_is_refused_by_name) {
  CHECK_EQUAL(refusal(with("\"type\": \"WordPiece\", \"unk", "\"type\": \"Unigram\", \"unk")),
              "tokenizer tokenizer.json has a model of another kind: expected WordPiece, got Unigram.");
  CHECK_EQUAL(refusal(with("\"type\": \"WordPiece\", \"prefix", "\"type\": \"ByteLevel\", \"prefix")),
              "tokenizer tokenizer.json has a decoder of another kind: expected WordPiece, got ByteLevel.");
  CHECK_EQUAL(refusal(with("BertPreTokenizer", "Whitespace")),
              "tokenizer tokenizer.json has a pre-tokenizer of another kind: expected BertPreTokenizer, got Whitespace.");
  CHECK_EQUAL(refusal(with("BertNormalizer", "NFKC")),
              "tokenizer tokenizer.json has a normalizer of another kind: expected BertNormalizer, "
              "Lowercase, NFD, StripAccents or a Sequence of them, got NFKC.");
  CHECK_EQUAL(refusal(with("TemplateProcessing", "RobertaProcessing")),
              "tokenizer tokenizer.json has a post-processor of another kind: expected "
              "TemplateProcessing or BertProcessing, got RobertaProcessing.");
}

TEST(contradictions_are_refused) {
  CHECK(refusal(with("\"a\": 5", "\"a\": -5")).find("out of range") != std::string::npos);
  CHECK(refusal(with("\"a\": 5", "\"a\": 4294967296")).find("out of range") != std::string::npos);
  CHECK(refusal(with("\"a\": 5", "\"a\": 4")).find("that of two tokens") != std::string::npos);
  CHECK(refusal(with("\"id\": 2", "\"id\": 9")).find("not the next, 2") != std::string::npos);
  CHECK(refusal(with("\"[SEP]\": 3, ", "")).find("lacks the special token [SEP]") !=
        std::string::npos);
  CHECK(refusal(with("\"ids\": [3]", "\"ids\": [4]")).find("does not frame texts as BERT does") !=
        std::string::npos);
  CHECK(refusal(with("\"ids\": [3]", "\"ids\": [3, 3]")).find("other numbers") != std::string::npos);
}

TEST(a_missing_file_is_refused) {
  CHECK_EQUAL(tests::message_of<TokenizerError>(
                  [] { Tokenizer::from_file("/nowhere/tokenizer.json", {}); }),
              "tokenizer /nowhere/tokenizer.json cannot be read: expected a UTF-8 file, got no such file.");
}

TEST(a_text_that_is_not_utf8_is_refused) {
  const Tokenizer tokenizer = read(small);
  CHECK_EQUAL(tests::message_of<InputError>([&] { tokenizer.encode("a \xff"); }),
              "text 'a \\xff' is not valid Unicode: expected UTF-8, got '\\xff' at byte 2.");
  CHECK_EQUAL(tests::message_of<InputError>([&] { tokenizer.tokenize("\xed\xa0\x80"); }).substr(0, 5),
              "text ");
}

TEST(a_nul_is_a_character) {
  const Tokenizer tokenizer = read(small);
  const auto rows = tokenizer.encode(std::string_view("a\0a", 3));
  CHECK_EQUAL(rows[0].tokens, (std::vector<std::string>{"[CLS]", "a", "##a", "[SEP]"}));
  CHECK_EQUAL(rows[0].offsets[2].begin, 2U);
}

TEST(a_word_of_a_million_characters_is_unknown) {
  const Tokenizer tokenizer = read(small);
  const std::string text(1000000, 'a');
  const auto rows = tokenizer.encode(text);
  CHECK_EQUAL(rows[0].tokens[1], "[UNK]");
  CHECK_EQUAL(rows[0].offsets[1].end, 1000000U);
}

TEST(a_run_of_a_million_marks_is_sorted) {
  const Tokenizer tokenizer =
      read(with("\"strip_accents\": null", "\"strip_accents\": true"));
  std::string text = "a";
  for (int mark = 0; mark < 250000; ++mark) text += "\xcc\x81\xcc\xa3\xcc\xb4\xcd\x84";
  const auto rows = tokenizer.encode(text);
  CHECK_EQUAL(rows[0].tokens[1], "a");
}

TEST(a_long_text_has_all_its_windows) {
  const Tokenizer tokenizer = read(small);
  std::string text;
  for (int word = 0; word < 500000; ++word) text += "a ";
  bert_export::EncodeOptions options;
  options.windows = true;
  options.stride = 10;
  const auto rows = tokenizer.encode(text, options);
  CHECK_EQUAL(rows.size(), std::size_t{1000});
  CHECK_EQUAL(rows.back().offsets[rows.back().size() - 2].end, 999999U);
}
