#include "bert_export/text_generation.hpp"

#include <algorithm>

#include "decoding/sampling.hpp"
#include "pipelines/answering.hpp"
#include "pipelines/generating.hpp"

namespace bert_export {

using pipelines::Growth;
using pipelines::Ids;
using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;

struct TextGeneration::Parts {
  struct Settings {
    std::size_t max_new_tokens;
    std::optional<std::size_t> max_length;
    decoding::Decoding decoding;
    bool return_full_text;
  };

  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "text-generation", options), own(read_parameters(Parameters(bundle), 1)) {
    const Parameters parameters(bundle);
    max_new_tokens = parameters.size("max_new_tokens", 256, 1);
    return_full_text = parameters.flag("return_full_text", true);
    encoding.truncation = parameters.truncation("truncation", Truncation::none);
  }

  Settings settings(const TextGenerationOptions& options) const {
    if (options.max_length) {
      pipelines::check_whole<std::size_t>("max_length", *options.max_length, 1);
    }
    const Ids ends = options.eos_token_id ? pipelines::read_ends(*options.eos_token_id,
                                                                 bundle.manifest().vocab_size)
                                          : Ids{bundle.tokenizer().sep_id()};
    return {pipelines::check_whole<std::size_t>(
                "max_new_tokens",
                options.max_new_tokens.value_or(options.max_length.value_or(max_new_tokens)), 1),
            options.max_length, pipelines::read_decoding(options, own, ends),
            options.return_full_text.value_or(return_full_text)};
  }

  // [CLS] and the prompt's tokens, without the [SEP] that would end it: its place is left for a new
  // token, so a prompt that fits the limit can always grow.
  Row encode(std::string_view prompt) const {
    Row row = pipelines::encode_text(bundle.tokenizer(), prompt, encoding);
    row.encoded.ids.pop_back();
    return row;
  }

  // Tokens that a prompt of so many may have in the end.
  std::size_t longest(std::size_t begun, const Settings& chosen) const {
    const auto limit = static_cast<std::size_t>(bundle.tokenizer().max_length());
    const std::size_t most = std::min(begun + std::min(chosen.max_new_tokens, limit), limit);
    if (!chosen.max_length) return most;
    if (*chosen.max_length <= begun) {
      throw InputError("prompt is as long as max_length allows",
                       {"a max_length above its " + std::to_string(begun) + " tokens",
                        std::to_string(*chosen.max_length),
                        "Raise max_length, or say max_new_tokens"});
    }
    return std::min(most, *chosen.max_length);
  }

  // Prompts that have not grown yet, padded on the left.
  Growth start(const std::vector<const Row*>& prompts, const Settings& chosen) const {
    Growth growth;
    std::size_t widest = 0;
    for (const Row* const prompt : prompts) widest = std::max(widest, prompt->encoded.ids.size());
    for (const Row* const prompt : prompts) {
      const Ids& ids = prompt->encoded.ids;
      Ids padded(widest - ids.size(), bundle.tokenizer().pad_id());
      Ids mask(padded.size(), 0);
      padded.insert(padded.end(), ids.begin(), ids.end());
      mask.resize(widest, 1);
      growth.ids.push_back(std::move(padded));
      growth.mask.push_back(std::move(mask));
      growth.of_prompts.push_back(decoding::start_continuations(
          ids, longest(ids.size(), chosen) - ids.size(), chosen.decoding));
    }
    return growth;
  }

  std::unique_ptr<sessions::Cache> open_cache(const sessions::Session& session) const {
    return sessions::open_cache(session, bundle.graph(), bundle.tokenizer().pad_id());
  }

  std::vector<std::vector<Ids>> complete(const std::vector<const Row*>& rows,
                                         const Settings& chosen,
                                         std::optional<std::size_t> batch_size) const {
    const std::size_t each = chosen.decoding.rows();
    std::vector<std::size_t> lengths;
    for (const Row* const row : rows) {
      lengths.push_back(each * longest(row->encoded.ids.size(), chosen));
    }
    const std::size_t budgets =
        sessions::keeps_cache(bundle.graph()) ? pipelines::cached_budgets : 1;
    return pipelines::complete_rows(
        bundle, rows, lengths, batch_size, {each, budgets},
        [&](const std::vector<const Row*>& prompts) {
          Growth growth = start(prompts, chosen);
          const auto session = bundle.session();
          pipelines::grow([&] { return bundle.session(); }, *open_cache(*session), growth);
          return growth.answers();
        });
  }

  std::string spell(Ids ids, const Ids& added) const {
    ids.insert(ids.end(), added.begin(), added.end());
    return bundle.tokenizer().decode(ids);
  }

  std::vector<std::vector<std::string>> answer(const std::vector<std::string_view>& prompts,
                                               const TextGenerationOptions& options,
                                               bool several) const {
    const Settings chosen = settings(options);
    return pipelines::complete_items(
        bundle, prompts.size(), several,
        [&](std::size_t item) { return std::vector<Row>{encode(prompts[item])}; },
        [&](const std::vector<const Row*>& rows) {
          return complete(rows, chosen, options.batch_size);
        },
        [&](std::size_t item, const std::vector<Row>& rows,
            const std::vector<std::vector<Ids>>& kept) {
          const Ids& prompt = rows.front().encoded.ids;
          const std::string begun = spell(prompt, {});
          std::vector<std::string> texts;
          for (const Ids& added : kept.front()) {
            texts.push_back(chosen.return_full_text ? std::string(prompts[item]) : "");
            texts.back() += decoding::added_text(begun, spell(prompt, added));
          }
          return texts;
        });
  }

  void stream(std::string_view text, const ReceivePiece& receive,
              const TextGenerationOptions& options) const {
    pipelines::check_streamed(options.return_full_text.has_value(), "return_full_text");
    pipelines::check_streamed(options.batch_size.has_value(), "batch_size");
    const Settings chosen = settings(options);
    pipelines::check_streams_one(chosen.decoding);
    const Row row = encode(text);
    const Ids& prompt = row.encoded.ids;
    Growth growth = start({&row}, chosen);
    const auto session = bundle.session();
    pipelines::stream_text([&] { return bundle.session(); }, *open_cache(*session), growth, prompt,
                           spell(prompt, {}), [&](const Ids& ids) { return spell(ids, {}); },
                           receive);
  }

  OpenedBundle bundle;
  pipelines::GenerationParameters own;
  EncodeOptions encoding;
  std::size_t max_new_tokens;
  bool return_full_text;
};

TextGeneration::TextGeneration(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

TextGeneration TextGeneration::open(const std::string& path, const OpenOptions& options) {
  return TextGeneration(std::make_shared<const Parts>(path, options));
}

std::vector<std::string> TextGeneration::operator()(std::string_view item,
                                                    const TextGenerationOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<std::string>> TextGeneration::operator()(
    const std::vector<std::string_view>& items, const TextGenerationOptions& options) const {
  return parts_->answer(items, options, true);
}

void TextGeneration::stream(std::string_view prompt, const ReceivePiece& receive,
                            const TextGenerationOptions& options) const {
  parts_->stream(prompt, receive, options);
}

}  // namespace bert_export
