#include "bert_export/pretraining.hpp"

#include "decoding/labels.hpp"
#include "decoding/masks.hpp"
#include "pipelines/answering.hpp"
#include "pipelines/tokenization.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

namespace {

// What is kept of a row's outputs.
struct Kept {
  decoding::Candidates candidates;
  NextSentence next_sentence;
};

}  // namespace

struct Pretraining::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "pretraining", options),
        top_k(Parameters(bundle).size("top_k", 5, 0)),
        mask_id(bundle.tokenizer().required_mask_id()),
        vocabulary(pipelines::width_of(bundle, "prediction_logits")) {
    encoding.truncation = Parameters(bundle).truncation("truncation", Truncation::none);
  }

  std::vector<PretrainingAnswer> answer(const std::vector<TextPair>& pairs,
                                        const PretrainingOptions& options, bool several) const {
    const std::size_t kept_per_mask = options.top_k.value_or(top_k);
    const auto spell = [this](const decoding::Ids& ids, bool skip_special_tokens) {
      return bundle.tokenizer().spell(ids, skip_special_tokens);
    };
    return pipelines::answer_items(
        bundle, pairs.size(), several, options.batch_size,
        [&](std::size_t item) {
          const Text pair(pairs[item].text, pairs[item].text_pair);
          return std::vector<Row>{pipelines::encode_text(bundle.tokenizer(), pair, encoding)};
        },
        [&](const Row& row, const RowOutputs& outputs) {
          const decoding::Vector logits = outputs.at("prediction_logits");
          return Kept{decoding::find_candidates(row.encoded.ids,
                                                {logits.data, logits.size / vocabulary, vocabulary},
                                                mask_id, kept_per_mask),
                      decoding::judge_next_sentence(outputs.at("seq_relationship_logits"))};
        },
        [&](std::size_t, const std::vector<Row>& rows, const std::vector<Kept>& kept) {
          return PretrainingAnswer{
              kept.front().next_sentence,
              decoding::describe_candidates(rows.front().encoded.ids, kept.front().candidates,
                                            bundle.tokenizer().pad_id(), spell)};
        });
  }

  OpenedBundle bundle;
  std::size_t top_k;
  std::int64_t mask_id;
  std::size_t vocabulary;
  EncodeOptions encoding;
};

Pretraining::Pretraining(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

Pretraining Pretraining::open(const std::string& path, const OpenOptions& options) {
  return Pretraining(std::make_shared<const Parts>(path, options));
}

PretrainingAnswer Pretraining::operator()(const TextPair& item,
                                          const PretrainingOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<PretrainingAnswer> Pretraining::operator()(const std::vector<TextPair>& items,
                                                       const PretrainingOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
