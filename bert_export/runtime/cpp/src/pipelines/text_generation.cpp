#include "bert_export/text_generation.hpp"

#include <algorithm>

#include "decoding/sampling.hpp"
#include "pipelines/answering.hpp"
#include "pipelines/key_value_cache.hpp"
#include "pipelines/random.hpp"
#include "text/printing.hpp"

namespace bert_export {

using pipelines::KeyValueCache;
using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

namespace {

using Ids = std::vector<std::int64_t>;

// A prompt that grows.
struct Growing {
  Ids ids;
  std::size_t begun;
  // Tokens that it has at most.
  std::size_t end;
  pipelines::RandomNumbers random;
};

}  // namespace

struct TextGeneration::Parts {
  struct Settings {
    std::size_t max_new_tokens;
    bool do_sample;
    decoding::Sampling sampling;
    std::optional<std::uint64_t> seed;
    bool return_full_text;
  };

  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "text-generation", options) {
    const Parameters own(bundle);
    max_new_tokens = own.size("max_new_tokens", 256, 1);
    do_sample = own.flag("do_sample", false);
    temperature = own.number("temperature", 1.0);
    top_k = own.size("top_k", 50, 0);
    top_p = own.number("top_p", 1.0);
    return_full_text = own.flag("return_full_text", true);
    // What this runtime does not do must not be silently left out.
    refuse_other(own.size("num_beams", 1, 1) == 1, "num_beams", "1");
    refuse_other(own.size("num_return_sequences", 1, 1) == 1, "num_return_sequences", "1");
    refuse_other(own.size("no_repeat_ngram_size", 0, 0) == 0, "no_repeat_ngram_size", "0");
    refuse_other(own.size("min_new_tokens", 0, 0) == 0, "min_new_tokens", "0");
    refuse_other(own.number("repetition_penalty", 1.0) == 1.0, "repetition_penalty", "1");
    encoding.truncation = own.truncation("truncation", Truncation::none);
  }

  static void refuse_other(bool same, const char* name, const char* wanted) {
    if (same) return;
    throw BundleError(std::string("bundle's postprocessing says a ") + name +
                          " that the C++ runtime does not have",
                      {wanted, "another", "Load the bundle in Python"});
  }

  Settings settings(const TextGenerationOptions& options) const {
    Settings chosen{};
    chosen.max_new_tokens = pipelines::check_whole<std::size_t>(
        "max_new_tokens", options.max_new_tokens.value_or(max_new_tokens), 1);
    chosen.sampling = {
        pipelines::check_number("temperature", options.temperature.value_or(temperature)),
        options.top_k.value_or(top_k),
        pipelines::check_number("top_p", options.top_p.value_or(top_p))};
    if (chosen.sampling.temperature <= 0) {
      throw InputError("temperature is out of range",
                       {"a number above 0", text::shown(chosen.sampling.temperature),
                        "Use do_sample=False for the likeliest token"});
    }
    if (chosen.sampling.top_p < 0 || chosen.sampling.top_p > 1) {
      throw InputError("top_p is out of range", {"0 to 1", text::shown(chosen.sampling.top_p)});
    }
    chosen.do_sample = options.do_sample.value_or(do_sample);
    chosen.seed = options.seed;
    chosen.return_full_text = options.return_full_text.value_or(return_full_text);
    return chosen;
  }

  // [CLS] and the prompt's tokens, without the [SEP] that would end it: its place is left for a new
  // token, so a prompt that fits the limit can always grow.
  Row encode(std::string_view prompt) const {
    Row row = pipelines::encode_text(bundle.tokenizer(), prompt, encoding);
    row.encoded.ids.pop_back();
    return row;
  }

  // The new tokens of each prompt of a batch, a final [SEP] included where there is one.
  std::vector<Ids> continue_prompts(const std::vector<const Row*>& prompts,
                                    const Settings& chosen) const {
    const auto limit = static_cast<std::size_t>(bundle.tokenizer().max_length());
    std::vector<Growing> rows;
    for (const Row* const prompt : prompts) {
      const Ids& ids = prompt->encoded.ids;
      rows.push_back({ids, ids.size(),
                      std::min(ids.size() + std::min(chosen.max_new_tokens, limit), limit),
                      pipelines::RandomNumbers(chosen.do_sample ? chosen.seed : 0)});
    }
    std::vector<Growing*> active;
    for (Growing& row : rows) active.push_back(&row);
    std::optional<KeyValueCache> cache;
    if (KeyValueCache::fits(bundle.graph())) {
      cache.emplace(bundle.graph(), bundle.tokenizer().pad_id());
    }
    bool begun = false;
    while (!active.empty()) {
      const std::vector<std::int64_t> tokens =
          cache ? next_tokens(*cache, active, begun, chosen) : next_tokens(active, chosen);
      begun = true;
      std::vector<Growing*> still;
      std::vector<std::size_t> kept;
      for (std::size_t place = 0; place < active.size(); ++place) {
        active[place]->ids.push_back(tokens[place]);
        const bool ended = tokens[place] == bundle.tokenizer().sep_id();
        const bool grows = !ended && active[place]->ids.size() < active[place]->end;
        if (!grows) continue;
        still.push_back(active[place]);
        kept.push_back(place);
      }
      if (cache && !kept.empty() && kept.size() < active.size()) cache->select(kept);
      active = std::move(still);
    }
    std::vector<Ids> added;
    for (const Growing& row : rows) {
      added.emplace_back(row.ids.begin() + static_cast<std::ptrdiff_t>(row.begun), row.ids.end());
    }
    return added;
  }

  // With a cache the graph runs the prompts once, then each row's last token alone.
  std::vector<std::int64_t> next_tokens(KeyValueCache& cache, const std::vector<Growing*>& rows,
                                        bool begun, const Settings& chosen) const {
    std::vector<Ids> inputs;
    for (const Growing* const row : rows) {
      inputs.push_back(begun ? Ids{row->ids.back()} : row->ids);
    }
    const sessions::Output logits = cache.step(*bundle.session(), inputs);  // (A, V)
    const std::size_t vocabulary = logits.numbers.size() / rows.size();
    std::vector<std::int64_t> tokens;
    for (std::size_t place = 0; place < rows.size(); ++place) {
      const decoding::Vector own(logits.numbers.data() + place * vocabulary, vocabulary);
      tokens.push_back(static_cast<std::int64_t>(choose_token(own, *rows[place], chosen)));
    }
    return tokens;
  }

  // Graphs of older bundles keep nothing: all tokens are run again.
  std::vector<std::int64_t> next_tokens(const std::vector<Growing*>& rows,
                                        const Settings& chosen) const {
    std::vector<Row> inputs(rows.size());
    std::vector<const Row*> padded;
    std::size_t longest = 0;
    for (std::size_t place = 0; place < rows.size(); ++place) {
      inputs[place].encoded.ids = rows[place]->ids;
      inputs[place].encoded.type_ids.assign(rows[place]->ids.size(), 0);
      longest = std::max(longest, rows[place]->ids.size());
      padded.push_back(&inputs[place]);
    }
    const sessions::Outputs outputs = bundle.session()->run(pipelines::pad_rows(
        padded, bundle.tokenizer().pad_id(), longest, bundle.graph().inputs, std::nullopt));
    const sessions::Output& logits = outputs.at("logits");  // (A, V), or (A, S, V)
    const auto vocabulary = static_cast<std::size_t>(logits.shape.back());
    const std::size_t stride = logits.numbers.size() / rows.size();
    std::vector<std::int64_t> tokens;
    for (std::size_t place = 0; place < rows.size(); ++place) {
      const std::size_t last = stride == vocabulary ? 0 : rows[place]->ids.size() - 1;
      const decoding::Vector own(logits.numbers.data() + place * stride + last * vocabulary,
                                 vocabulary);
      tokens.push_back(static_cast<std::int64_t>(choose_token(own, *rows[place], chosen)));
    }
    return tokens;
  }

  static std::size_t choose_token(decoding::Vector logits, Growing& row, const Settings& chosen) {
    if (!chosen.do_sample) {
      return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) -
                                      logits.begin());
    }
    return decoding::draw_token(decoding::filter_logits(logits, chosen.sampling),
                                row.random.next());
  }

  std::vector<Ids> complete(const std::vector<const Row*>& rows, const Settings& chosen,
                            std::optional<std::size_t> batch_size) const {
    const auto limit = static_cast<std::size_t>(bundle.tokenizer().max_length());
    std::vector<std::size_t> lengths;
    for (const Row* const row : rows) {
      lengths.push_back(
          std::min(row->encoded.size() + std::min(chosen.max_new_tokens, limit), limit));
    }
    std::vector<Ids> added(rows.size());
    bundle.in_batches(lengths, batch_size, [&](const std::vector<std::size_t>& batch) {
      std::vector<const Row*> own;
      for (const std::size_t index : batch) own.push_back(rows[index]);
      std::vector<Ids> found = continue_prompts(own, chosen);
      for (std::size_t place = 0; place < batch.size(); ++place) {
        added[batch[place]] = std::move(found[place]);
      }
    });
    return added;
  }

  std::vector<std::string> answer(const std::vector<std::string_view>& prompts,
                                  const TextGenerationOptions& options, bool several) const {
    const Settings chosen = settings(options);
    return pipelines::complete_items(
        bundle, prompts.size(), several,
        [&](std::size_t item) { return std::vector<Row>{encode(prompts[item])}; },
        [&](const std::vector<const Row*>& rows) {
          return complete(rows, chosen, options.batch_size);
        },
        [&](std::size_t item, const std::vector<Row>& rows, const std::vector<Ids>& kept) {
          Ids whole = rows.front().encoded.ids;
          const std::string begun = bundle.tokenizer().decode(whole);
          whole.insert(whole.end(), kept.front().begin(), kept.front().end());
          const std::string added = decoding::added_text(begun, bundle.tokenizer().decode(whole));
          return chosen.return_full_text ? std::string(prompts[item]) + added : added;
        });
  }

  OpenedBundle bundle;
  EncodeOptions encoding;
  std::size_t max_new_tokens;
  bool do_sample;
  double temperature;
  std::size_t top_k;
  double top_p;
  bool return_full_text;
};

TextGeneration::TextGeneration(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

TextGeneration TextGeneration::open(const std::string& path, const OpenOptions& options) {
  return TextGeneration(std::make_shared<const Parts>(path, options));
}

std::string TextGeneration::operator()(std::string_view item,
                                       const TextGenerationOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::string> TextGeneration::operator()(const std::vector<std::string_view>& items,
                                                    const TextGenerationOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
