#include "bert_export/fill_mask.hpp"

#include <set>

#include "decoding/masks.hpp"
#include "pipelines/answering.hpp"
#include "pipelines/tokenization.hpp"
#include "text/printing.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct FillMask::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "fill-mask", options),
        encoding(pipelines::own_tokenization(Parameters(bundle))),
        top_k(Parameters(bundle).size("top_k", 5, 0)),
        mask_id(bundle.tokenizer().required_mask_id()),
        vocabulary(pipelines::width_of(bundle, "logits")) {}

  std::vector<std::vector<std::vector<Candidate>>> answer(
      const std::vector<std::string_view>& texts, const FillMaskOptions& options,
      bool several) const {
    const EncodeOptions how = pipelines::read_tokenization(encoding, options);
    const std::size_t kept_per_mask = options.top_k.value_or(top_k);
    std::optional<decoding::Ids> targets;
    if (options.targets) targets = target_ids(*options.targets);
    const auto spell = [this](const decoding::Ids& ids, bool skip_special_tokens) {
      return bundle.tokenizer().spell(ids, skip_special_tokens);
    };
    return pipelines::answer_items(
        bundle, texts.size(), several, options.batch_size,
        [&](std::size_t item) {
          return std::vector<Row>{pipelines::encode_text(bundle.tokenizer(), texts[item], how)};
        },
        [&](const Row& row, const RowOutputs& outputs) {
          const decoding::Vector logits = outputs.at("logits");  // (S, V), or (M, V)
          return decoding::find_candidates(row.encoded.ids,
                                           {logits.data, logits.size / vocabulary, vocabulary},
                                           mask_id, kept_per_mask, targets);
        },
        [&](std::size_t item, const std::vector<Row>& rows,
            const std::vector<decoding::Candidates>& kept) {
          if (kept.front().positions.empty()) {
            throw InputError("text has no mask", {bundle.tokenizer().record().mask_token + " in it",
                                                  text::shown(texts[item])});
          }
          return decoding::describe_candidates(rows.front().encoded.ids, kept.front(),
                                               bundle.tokenizer().pad_id(), spell);
        });
  }

  // Ids of words; one that is not a token counts as its first, one without any is left out.
  decoding::Ids target_ids(const std::vector<std::string>& words) const {
    EncodeOptions first;
    first.max_length = 1;
    first.add_special_tokens = false;
    std::set<std::int64_t> found;
    for (const std::string& word : words) {
      if (const auto id = bundle.tokenizer().token_to_id(word)) {
        found.insert(*id);
        continue;
      }
      const Encoded row = bundle.tokenizer().encode(word, first).front();
      if (row.size() > 0) found.insert(row.ids.front());
    }
    if (found.empty()) throw InputError("targets are empty", {"at least one word", "none"});
    return {found.begin(), found.end()};
  }

  OpenedBundle bundle;
  EncodeOptions encoding;
  std::size_t top_k;
  std::int64_t mask_id;
  std::size_t vocabulary;
};

FillMask::FillMask(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

FillMask FillMask::open(const std::string& path, const OpenOptions& options) {
  return FillMask(std::make_shared<const Parts>(path, options));
}

std::vector<std::vector<Candidate>> FillMask::operator()(std::string_view item,
                                                         const FillMaskOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<std::vector<Candidate>>> FillMask::operator()(
    const std::vector<std::string_view>& items, const FillMaskOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
