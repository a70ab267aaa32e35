#include "tokenization/pipeline.hpp"

#include "tokenization/characters.hpp"
#include "tokenization/pre_tokenizer.hpp"

namespace bert_export::tokenization {
namespace {

Span span_of(Slice characters) {
  return {characters[0].span.begin, characters[characters.size() - 1].span.end};
}

// A field of the file, as if it were null where it is missing.
const text::Json& optional_field(const text::Json& json, const char* name) {
  static const text::Json null;
  const text::Json* const found = json.find(name);
  return found == nullptr ? null : *found;
}

}  // namespace

Pipeline::Pipeline(const text::Json& json)
    : model(WordPiece::from_json(json.at("model"))),
      normalizer(Normalizer::from_json(optional_field(json, "normalizer"))),
      added(AddedVocabulary::from_json(optional_field(json, "added_tokens"), model, normalizer)),
      post_processor(PostProcessor::from_json(optional_field(json, "post_processor"))),
      decoder(Decoder::from_json(optional_field(json, "decoder"))) {
  check_pre_tokenizer(optional_field(json, "pre_tokenizer"));
}

Tokens Pipeline::tokenize(std::string_view text) const {
  Tokens tokens;
  append(text, none, tokens);
  return tokens;
}

Tokens Pipeline::tokenize(const std::vector<std::string_view>& words) const {
  Tokens tokens;
  for (std::size_t index = 0; index < words.size(); ++index) {
    append(words[index], static_cast<std::int32_t>(index), tokens);
  }
  return tokens;
}

void Pipeline::append(std::string_view text, std::int32_t word, Tokens& tokens) const {
  const Characters raw = read_characters(text);
  const ByteOffsets byte_offsets(text, raw.size());
  std::int32_t number = 0;  // of the word, where the text did not come split
  const auto push = [&](std::int64_t id, std::string_view spelled, Slice characters) {
    const Span offsets = span_of(characters);
    const std::int32_t own = word == none ? number : word;
    tokens.tokens.push_back({id, spelled, offsets, byte_offsets(offsets), own});
  };
  const auto push_added = [&](const AddedVocabulary::Part& part) {
    push(part.token->id, part.token->content, part.characters);
    ++number;
  };
  const auto push_word = [&](Slice characters, const std::vector<WordPiece::Piece>& pieces) {
    for (const WordPiece::Piece& piece : pieces) {
      push(model.id(piece.entry), model.token(piece.entry),
           characters.part(piece.begin, piece.end));
    }
    ++number;
  };
  std::vector<Slice> words;
  const auto push_words = [&] {
    model.tokenize(words, push_word);
    words.clear();
  };
  // Some added tokens are looked for in the raw text, others in what is normalized between them.
  std::vector<AddedVocabulary::Part> raw_parts;
  added.split_raw(slice_of(raw), raw_parts);
  for (const AddedVocabulary::Part& raw_part : raw_parts) {
    if (raw_part.token != nullptr) {
      push_added(raw_part);
      continue;
    }
    const Characters normalized = normalizer.normalize(raw_part.characters);
    std::vector<AddedVocabulary::Part> parts;
    added.split_normalized(slice_of(normalized), parts);
    for (const AddedVocabulary::Part& part : parts) {
      if (part.token != nullptr) {
        push_added(part);
      } else {
        for_each_word(part.characters, [&](Slice characters) {
          words.push_back(characters);
          if (words.size() == WordPiece::together) push_words();
        });
        push_words();
      }
    }
  }
}

}  // namespace bert_export::tokenization
