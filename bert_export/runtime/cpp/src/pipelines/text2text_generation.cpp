#include "bert_export/text2text_generation.hpp"

#include <algorithm>
#include <limits>

#include "pipelines/answering.hpp"
#include "pipelines/generating.hpp"
#include "sessions/encoder_decoder.hpp"

namespace bert_export {

// A text is encoded once. Its answers begin with one token, and a step runs the newest token of each
// alone. Texts of like length are answered together.
struct Text2TextGeneration::Parts {
  using Growth = pipelines::Growth;
  using Ids = pipelines::Ids;
  using Row = pipelines::Row;

  struct Settings {
    // Behind the token that an answer begins with.
    std::size_t max_new_tokens;
    decoding::Decoding decoding;
    EncodeOptions encoding;
  };

  // Those of transformers' pipelines, whatever the checkpoint says.
  static constexpr std::int64_t default_tokens = 256;
  static constexpr std::size_t default_beams = 4;

  Parts(const std::string& path, const OpenOptions& options, const std::string& task)
      : bundle(path, task, options),
        own(pipelines::read_parameters(pipelines::Parameters(bundle), default_beams)) {
    if (!bundle.graph().encoder) {
      throw BundleError("bundle has a graph of another interface",
                        {"an encoder beside the decoder", "none", "Export the bundle again"});
    }
    const pipelines::Parameters parameters(bundle);
    max_new_tokens = parameters.whole("max_new_tokens", default_tokens, 1);
    start_id = parameters.whole("decoder_start_token_id", std::nullopt, 0)
                   .value_or(bundle.tokenizer().cls_id());
    ends = parameters.ids("eos_token_id");
    prefix = parameters.string("prefix", "");
    encoding.truncation = parameters.truncation("truncation", Truncation::none);
    positions = static_cast<std::size_t>(
        std::max<std::int64_t>(bundle.graph().longest.value_or(bundle.tokenizer().max_length()), 1));
  }

  Settings settings(const Text2TextGenerationOptions& options) const {
    GenerationOptions asked = options;
    if (options.max_length && !options.max_new_tokens) {
      asked.max_new_tokens =
          pipelines::check_whole<std::size_t>("max_length", *options.max_length, 2) - 1;
    }
    if (options.min_length && !options.min_new_tokens) {
      asked.min_new_tokens = std::max<std::size_t>(*options.min_length, 1) - 1;
    }
    Settings chosen{positions, {}, encoding};
    if (asked.max_new_tokens) {
      chosen.max_new_tokens =
          pipelines::check_whole<std::size_t>("max_new_tokens", *asked.max_new_tokens, 1);
    } else if (max_new_tokens) {
      chosen.max_new_tokens = static_cast<std::size_t>(*max_new_tokens);
    }
    chosen.max_new_tokens =
        std::min(chosen.max_new_tokens, std::max<std::size_t>(positions, 2) - 1);
    chosen.decoding = pipelines::read_decoding(
        asked, own,
        options.eos_token_id
            ? pipelines::read_ends(*options.eos_token_id, bundle.manifest().vocab_size)
            : ends);
    if (options.truncation) chosen.encoding.truncation = *options.truncation;
    return chosen;
  }

  // The empty cache of answers to texts, which are encoded here.
  std::unique_ptr<sessions::Cache> encode_texts(const sessions::Session& session,
                                                const std::vector<const Row*>& rows) const {
    std::size_t longest = 0;
    for (const Row* const row : rows) longest = std::max(longest, row->encoded.size());
    const std::int64_t pad_id = bundle.tokenizer().pad_id();
    const auto& halves = dynamic_cast<const sessions::EncoderDecoderSession&>(session);
    return sessions::open_cache(
        session, bundle.graph(), pad_id,
        halves.encode(pipelines::pad_rows(rows, pad_id, bundle.padded_length(longest),
                                          bundle.graph().encoder->inputs, std::nullopt)));
  }

  // Answers to so many texts that have not grown yet.
  Growth start(std::size_t texts, const Settings& chosen) const {
    Growth growth;
    growth.ids.assign(texts, {start_id});
    growth.mask.assign(texts, {1});
    for (std::size_t text = 0; text < texts; ++text) {
      growth.of_prompts.push_back(
          decoding::start_continuations({start_id}, chosen.max_new_tokens, chosen.decoding));
    }
    return growth;
  }

  Row encode(std::string_view text, const Settings& chosen) const {
    const std::string whole = prefix + std::string(text);
    return pipelines::encode_text(bundle.tokenizer(), whole, chosen.encoding);
  }

  std::vector<std::vector<Ids>> complete(const std::vector<const Row*>& rows,
                                         const Settings& chosen,
                                         std::optional<std::size_t> batch_size) const {
    const std::size_t each = chosen.decoding.rows();
    std::vector<std::size_t> lengths;
    for (const Row* const row : rows) {
      lengths.push_back(each * (row->encoded.size() + chosen.max_new_tokens));
    }
    return pipelines::complete_rows(
        bundle, rows, lengths, batch_size, {each, pipelines::cached_budgets},
        [&](const std::vector<const Row*>& texts) {
          Growth growth = start(texts.size(), chosen);
          const auto session = bundle.session();
          pipelines::grow([&] { return bundle.session(); }, *encode_texts(*session, texts),
                          growth);
          return growth.answers();
        });
  }

  std::vector<std::vector<std::string>> answer(const std::vector<std::string_view>& texts,
                                               const Text2TextGenerationOptions& options,
                                               bool several) const {
    const Settings chosen = settings(options);
    return pipelines::complete_items(
        bundle, texts.size(), several,
        [&](std::size_t item) { return std::vector<Row>{encode(texts[item], chosen)}; },
        [&](const std::vector<const Row*>& rows) {
          return complete(rows, chosen, options.batch_size);
        },
        [&](std::size_t, const std::vector<Row>&, const std::vector<std::vector<Ids>>& kept) {
          std::vector<std::string> spelled;
          for (const Ids& added : kept.front()) {
            Ids ids{start_id};
            ids.insert(ids.end(), added.begin(), added.end());
            spelled.push_back(spell(ids));
          }
          return spelled;
        });
  }

  std::string spell(const Ids& ids) const { return bundle.tokenizer().decode(ids, true, false); }

  void stream(std::string_view text, const ReceivePiece& receive,
              Text2TextGenerationOptions options) const {
    pipelines::check_streamed(options.batch_size.has_value(), "batch_size");
    options.num_beams = options.num_beams.value_or(1);
    options.num_return_sequences = options.num_return_sequences.value_or(1);
    const Settings chosen = settings(options);
    pipelines::check_streams_one(chosen.decoding);
    const Row row = encode(text, chosen);
    Growth growth = start(1, chosen);
    const auto session = bundle.session();
    pipelines::stream_text([&] { return bundle.session(); }, *encode_texts(*session, {&row}), growth,
                           {start_id}, "", [&](const Ids& ids) { return spell(ids); }, receive);
  }

  pipelines::OpenedBundle bundle;
  pipelines::GenerationParameters own;
  std::optional<std::int64_t> max_new_tokens;
  // Of the token that every answer begins with.
  std::int64_t start_id;
  Ids ends;
  std::string prefix;
  EncodeOptions encoding;
  // Tokens that an answer may have, its first among them.
  std::size_t positions;
};

Text2TextGeneration::Text2TextGeneration(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

Text2TextGeneration Text2TextGeneration::open(const std::string& path, const OpenOptions& options,
                                              const std::string& task) {
  return Text2TextGeneration(std::make_shared<const Parts>(path, options, task));
}

std::vector<std::string> Text2TextGeneration::operator()(
    std::string_view item, const Text2TextGenerationOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<std::string>> Text2TextGeneration::operator()(
    const std::vector<std::string_view>& items, const Text2TextGenerationOptions& options) const {
  return parts_->answer(items, options, true);
}

void Text2TextGeneration::stream(std::string_view text, const ReceivePiece& receive,
                                 const Text2TextGenerationOptions& options) const {
  parts_->stream(text, receive, options);
}

}  // namespace bert_export
