#include "tokenization/decoder.hpp"

#include <string_view>
#include <utility>

#include "tokenization/unsupported.hpp"

namespace bert_export::tokenization {
namespace {

using Replacement = std::pair<std::string_view, std::string_view>;

// In the order of `tokenizers`' WordPiece decoder.
constexpr Replacement decoder_cleanup[] = {
    {" .", "."},     {" ?", "?"},     {" !", "!"},           {" ,", ","},
    {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"},         {" do not", " don't"},
    {" 's", "'s"},   {" 've", "'ve"}, {" 're", "'re"},
};

constexpr Replacement spaces_cleanup[] = {
    {" .", "."},     {" ?", "?"},   {" !", "!"}, {" ,", ","},     {" ' ", "'"},
    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

void replace_all(std::string& text, const Replacement& replacement) {
  std::size_t place = text.find(replacement.first);
  if (place == text.npos) return;
  std::string replaced;
  std::size_t copied = 0;
  for (; place != text.npos; place = text.find(replacement.first, copied)) {
    replaced.append(text, copied, place - copied).append(replacement.second);
    copied = place + replacement.first.size();
  }
  text = replaced.append(text, copied, text.npos);
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

}  // namespace

Decoder Decoder::from_json(const text::Json& json) {
  Decoder decoder;
  if (json.is_null()) {
    decoder.plain_ = true;
    return decoder;
  }
  const std::string& type = json.at("type").string("the decoder's type");
  if (type != "WordPiece") throw Unsupported("decoder", "WordPiece", type);
  decoder.prefix_ = json.at("prefix").string("prefix");
  decoder.cleanup_ = json.at("cleanup").boolean("cleanup");
  return decoder;
}

std::string Decoder::decode(const std::vector<std::string>& tokens) const {
  std::string text;
  for (std::size_t index = 0; index < tokens.size(); ++index) {
    std::string token = tokens[index];
    if (index > 0) {
      const bool continues = !plain_ && starts_with(token, prefix_);
      token = continues ? token.substr(prefix_.size()) : " " + token;
    }
    if (cleanup_) {
      for (const Replacement& replacement : decoder_cleanup) replace_all(token, replacement);
    }
    text += token;
  }
  return text;
}

std::string clean_up_spaces(std::string text) {
  for (const Replacement& replacement : spaces_cleanup) replace_all(text, replacement);
  return text;
}

}  // namespace bert_export::tokenization
