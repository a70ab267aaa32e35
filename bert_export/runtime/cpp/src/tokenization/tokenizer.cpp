#include "bert_export/tokenizer.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "bert_export/errors.hpp"
#include "text/json.hpp"
#include "text/printing.hpp"
#include "tokenization/pipeline.hpp"
#include "tokenization/truncation.hpp"
#include "tokenization/unsupported.hpp"

namespace bert_export {

using tokenization::Cut;
using tokenization::Kept;
using tokenization::Pipeline;
using tokenization::Tokens;

namespace {

using Ids = std::vector<std::int64_t>;

std::optional<std::int64_t> find_id(const Pipeline& pipeline, std::string_view token) {
  const std::optional<std::int64_t> added = pipeline.added.token_to_id(token);
  return added ? added : pipeline.model.token_to_id(token);
}

std::int64_t require(const Pipeline& pipeline, const TokenizerRecord& record,
                     const std::string& token) {
  if (const std::optional<std::int64_t> id = find_id(pipeline, token)) return *id;
  throw TokenizerError("tokenizer " + record.file + " lacks the special token " + token,
                       {token + " in the vocabulary", "a vocabulary without it"});
}

const std::string* find_token(const Pipeline& pipeline, std::int64_t id) {
  if (const tokenization::AddedToken* const added = pipeline.added.find(id)) return &added->content;
  return pipeline.model.id_to_token(id);
}

Pipeline read_pipeline(std::string_view json, const TokenizerRecord& record) {
  try {
    return Pipeline(text::Json::parse(json));
  } catch (const text::JsonError& error) {
    throw TokenizerError("tokenizer " + record.file + " is malformed",
                         {"a tokenizer.json", error.what()});
  } catch (const tokenization::Unsupported& error) {
    throw TokenizerError("tokenizer " + record.file + " has a " + error.part + " of another kind",
                         {error.implemented, error.asked});
  }
}

// The tokens of a text, or of each text of a pair.
std::vector<Tokens> tokenize_parts(const Pipeline& pipeline, const Text& text) {
  std::vector<Tokens> parts;
  if (text.kind == Text::Kind::words) {
    parts.push_back(pipeline.tokenize(text.parts));
  } else {
    for (const std::string_view part : text.parts) parts.push_back(pipeline.tokenize(part));
  }
  return parts;
}

// What a message quotes of a text.
std::string shown(const Text& text) {
  switch (text.kind) {
    case Text::Kind::single: return text::shown(text.parts[0]);
    case Text::Kind::pair: return text::shown(text.parts, "()");
    case Text::Kind::words: return text::shown(text.parts, "[]");
  }
  return "";
}

const char* name_of(Truncation truncation) {
  switch (truncation) {
    case Truncation::longest_first: return "longest_first";
    case Truncation::only_first: return "only_first";
    case Truncation::only_second: return "only_second";
    case Truncation::none: return "none";
  }
  return "unknown";
}

void refuse_stride(const Text& text, std::size_t first, std::size_t second, std::size_t limit,
                   const EncodeOptions& options) {
  throw InputError(
      "text " + shown(text) + " cannot be cut to max_length " + std::to_string(limit),
      {"room for more than " + std::to_string(options.stride) +
           " tokens of the text that is cut (" + name_of(options.truncation) + ")",
       "a pair of " + std::to_string(first) + " and " + std::to_string(second) + " tokens",
       "Shorten the text that is kept whole, or lower the stride"});
}

// Refuses a text that cannot be cut to `room` tokens with that stride.
void check_room(const Text& text, std::size_t first, std::size_t second, std::size_t room,
                std::size_t limit, const EncodeOptions& options) {
  const bool paired = text.kind == Text::Kind::pair;
  if (options.truncation == Truncation::only_second && !paired && room > 0) {
    throw InputError("text " + shown(text) + " is too long and has no second text to cut",
                     {"at most " + std::to_string(limit) + " tokens",
                      std::to_string(first + limit - room) + " tokens"});
  }
  if (!paired || room == 0) return;
  const auto stride = static_cast<std::size_t>(options.stride);
  bool fits = true;
  if (options.truncation == Truncation::longest_first) {
    const Kept kept = tokenization::keep(first, second, room, options.truncation);
    const auto cuts_badly = [=](std::size_t size, std::size_t left) {
      return left < size && left > 0 && left <= stride;
    };
    fits = !cuts_badly(first, kept.first) && !cuts_badly(second, kept.second);
  } else {
    const std::size_t excess = first + second - room;
    const std::size_t cut = options.truncation == Truncation::only_first ? first : second;
    fits = cut > excess + stride;
  }
  if (!fits) refuse_stride(text, first, second, limit, options);
}

// `framing` counts the special tokens around one text, `added` those that are added to this one: the
// room for a stride is what `tokenizers` takes it to be, less than the former even without the latter.
void check_options(const EncodeOptions& options, std::size_t limit, std::size_t added,
                   std::size_t framing) {
  const std::size_t least = std::max<std::size_t>(added, 1);
  if (limit < least) {
    throw InputError("max_length is too small",
                     {"at least " + std::to_string(least), std::to_string(limit)});
  }
  const std::int64_t room =
      static_cast<std::int64_t>(limit) - static_cast<std::int64_t>(std::max(added, framing));
  if (options.stride < 0 || (options.stride > 0 && options.stride >= room)) {
    throw InputError("stride " + std::to_string(options.stride) + " does not fit max_length " +
                         std::to_string(limit),
                     {"0 to " + std::to_string(std::max<std::int64_t>(room - 1, 0)),
                      std::to_string(options.stride)});
  }
}

}  // namespace

struct Tokenizer::Parts {
  Parts(std::string_view json, const TokenizerRecord& own)
      : record(own),
        pipeline(read_pipeline(json, own)),
        cls_id(require(pipeline, own, own.cls_token)),
        sep_id(require(pipeline, own, own.sep_token)),
        pad_id(require(pipeline, own, own.pad_token)),
        unk_id(require(pipeline, own, own.unk_token)),
        mask_id(find_id(pipeline, own.mask_token)) {
    for (const std::string* const token :
         {&own.unk_token, &own.sep_token, &own.pad_token, &own.cls_token, &own.mask_token}) {
      pipeline.added.mark_special(*token, pipeline.model);
    }
    vocab_size =
        static_cast<std::int64_t>(pipeline.model.size() + pipeline.added.beyond(pipeline.model));
  }

  std::size_t limit(std::optional<std::int64_t> max_length) const {
    if (max_length && *max_length > record.max_length) {
      throw InputError("max_length is above the model's",
                       {"at most " + std::to_string(record.max_length),
                        std::to_string(*max_length)});
    }
    return static_cast<std::size_t>(
        std::max<std::int64_t>(max_length.value_or(record.max_length), 0));
  }

  TokenizerRecord record;
  Pipeline pipeline;
  std::int64_t cls_id;
  std::int64_t sep_id;
  std::int64_t pad_id;
  std::int64_t unk_id;
  std::optional<std::int64_t> mask_id;
  std::int64_t vocab_size = 0;
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_file(const std::string& path, const TokenizerRecord& record) {
  std::ifstream file(path, std::ios::binary);
  const std::string json{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    throw TokenizerError("tokenizer " + path + " cannot be read", {"a UTF-8 file", "no such file"});
  }
  return from_json(json, record);
}

Tokenizer Tokenizer::from_json(std::string_view json, const TokenizerRecord& record) {
  Tokenizer tokenizer(std::make_unique<const Parts>(json, record));
  // What else frames texts is no BERT.
  const Ids single = tokenizer.encode("")[0].ids;
  const Encoded pair = tokenizer.encode({"", ""})[0];
  if (single != tokenizer.build_inputs_with_special_tokens({}) ||
      pair.ids != tokenizer.build_inputs_with_special_tokens({}, Ids{})) {
    std::string got;
    for (const std::string& token : tokenizer.ids_to_tokens(pair.ids)) {
      got += (got.empty() ? "" : " ") + token;
    }
    throw TokenizerError("tokenizer " + record.file + " does not frame texts as BERT does",
                         {record.cls_token + " A " + record.sep_token + " B " + record.sep_token,
                          got.empty() ? "no special tokens" : got});
  }
  return tokenizer;
}

const TokenizerRecord& Tokenizer::record() const { return parts_->record; }
std::int64_t Tokenizer::max_length() const { return parts_->record.max_length; }
const std::string& Tokenizer::continuing_prefix() const {
  return parts_->pipeline.model.continuing_prefix();
}
std::int64_t Tokenizer::vocab_size() const { return parts_->vocab_size; }
std::int64_t Tokenizer::cls_id() const { return parts_->cls_id; }
std::int64_t Tokenizer::sep_id() const { return parts_->sep_id; }
std::int64_t Tokenizer::pad_id() const { return parts_->pad_id; }
std::int64_t Tokenizer::unk_id() const { return parts_->unk_id; }
std::optional<std::int64_t> Tokenizer::mask_id() const { return parts_->mask_id; }

std::int64_t Tokenizer::required_mask_id() const {
  if (parts_->mask_id) return *parts_->mask_id;
  throw TokenizerError("tokenizer " + parts_->record.file + " has no mask token",
                       {parts_->record.mask_token + " in the vocabulary", "a vocabulary without it"});
}

std::optional<std::int64_t> Tokenizer::token_to_id(std::string_view token) const {
  return find_id(parts_->pipeline, token);
}

std::string Tokenizer::id_to_token(std::int64_t id) const {
  if (const std::string* const token = find_token(parts_->pipeline, id)) return *token;
  throw InputError("token id " + std::to_string(id) + " is not in the vocabulary",
                   {"0 to " + std::to_string(parts_->vocab_size - 1), std::to_string(id)});
}

std::vector<std::string> Tokenizer::ids_to_tokens(const Ids& ids) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) tokens.push_back(id_to_token(id));
  return tokens;
}

std::vector<std::string> Tokenizer::tokenize(std::string_view text) const {
  const Tokens tokens = parts_->pipeline.tokenize(text);
  std::vector<std::string> spelled;
  for (const tokenization::Token& token : tokens.tokens) spelled.emplace_back(token.text);
  return spelled;
}

std::vector<Encoded> Tokenizer::encode(const Text& text, const EncodeOptions& options) const {
  const Pipeline& pipeline = parts_->pipeline;
  const std::size_t limit = parts_->limit(options.max_length);
  const bool paired = text.kind == Text::Kind::pair;
  const std::size_t added =
      options.add_special_tokens ? pipeline.post_processor.added(paired) : 0;
  const bool cuts = options.truncation != Truncation::none;
  if (cuts) check_options(options, limit, added, pipeline.post_processor.added(false));
  const std::vector<Tokens> parts = tokenize_parts(pipeline, text);
  const std::size_t first = parts[0].size();
  const std::size_t second = paired ? parts[1].size() : 0;
  const std::size_t total = first + second + added;
  if (total > limit && !cuts) {
    throw InputError("text " + shown(text) + " is too long",
                     {"at most " + std::to_string(limit) + " tokens, special tokens included",
                      std::to_string(total) + " tokens", "Shorten it, or turn truncation on"});
  }
  Kept kept{first, second};
  if (total > limit) {
    const std::size_t room = limit - added;
    check_room(text, first, second, room, limit, options);
    kept = paired ? tokenization::keep(first, second, room, options.truncation) : Kept{room, 0};
  }
  const auto stride = static_cast<std::size_t>(std::max<std::int64_t>(options.stride, 0));
  const Side side = parts_->record.truncation_side;
  std::vector<Cut> texts{{&parts[0], tokenization::windows_over(first, kept.first, stride, side)}};
  if (paired) {
    texts.push_back({&parts[1], tokenization::windows_over(second, kept.second, stride, side)});
  }
  std::vector<Encoded> rows =
      pipeline.post_processor.process(texts, options.add_special_tokens, options.windows);
  if (!parts_->record.token_types) {
    for (Encoded& row : rows) std::fill(row.type_ids.begin(), row.type_ids.end(), 0);
  }
  return rows;
}

std::string Tokenizer::join(const std::vector<std::string>& tokens) const {
  return parts_->pipeline.decoder.decode(tokens);
}

std::string Tokenizer::decode(const Ids& ids, bool skip_special_tokens, bool clean_up) const {
  const auto least = std::min_element(ids.begin(), ids.end());
  if (least != ids.end() && *least < 0) {
    throw InputError("token ids are out of range", {"none below 0", std::to_string(*least)});
  }
  const Pipeline& pipeline = parts_->pipeline;
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    const std::string* const token = find_token(pipeline, id);
    if (token == nullptr) continue;
    if (!skip_special_tokens || !pipeline.added.is_special(*token)) tokens.push_back(*token);
  }
  std::string text = join(tokens);
  return clean_up ? tokenization::clean_up_spaces(std::move(text)) : text;
}

std::string Tokenizer::spell(const Ids& ids, bool skip_special_tokens) const {
  return decode(ids, skip_special_tokens, parts_->record.clean_up_tokenization_spaces);
}

Ids Tokenizer::build_inputs_with_special_tokens(const Ids& ids0,
                                                const std::optional<Ids>& ids1) const {
  Ids row{cls_id()};
  row.insert(row.end(), ids0.begin(), ids0.end());
  row.push_back(sep_id());
  if (ids1) {
    row.insert(row.end(), ids1->begin(), ids1->end());
    row.push_back(sep_id());
  }
  return row;
}

Ids Tokenizer::get_special_tokens_mask(const Ids& ids0, const std::optional<Ids>& ids1,
                                       bool already_has_special_tokens) const {
  if (already_has_special_tokens) {
    if (ids1) {
      throw InputError("ids of a second text do not fit a whole row", {"ids0 alone", "both"});
    }
    const auto is_special = [this](std::int64_t id) {
      return id == cls_id() || id == sep_id() || id == pad_id() || id == unk_id() || id == mask_id();
    };
    Ids mask;
    for (const std::int64_t id : ids0) mask.push_back(is_special(id) ? 1 : 0);
    return mask;
  }
  Ids mask{1};
  mask.insert(mask.end(), ids0.size(), 0);
  mask.push_back(1);
  if (ids1) {
    mask.insert(mask.end(), ids1->size(), 0);
    mask.push_back(1);
  }
  return mask;
}

Ids Tokenizer::create_token_type_ids_from_sequences(const Ids& ids0,
                                                    const std::optional<Ids>& ids1) const {
  Ids types(ids0.size() + 2, 0);
  if (ids1) types.insert(types.end(), ids1->size() + 1, parts_->record.token_types ? 1 : 0);
  return types;
}

}  // namespace bert_export
