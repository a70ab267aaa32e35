#include "bert_export/next_sentence_prediction.hpp"

#include "decoding/labels.hpp"
#include "pipelines/answering.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct NextSentencePrediction::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "next-sentence-prediction", options) {
    encoding.truncation = Parameters(bundle).truncation("truncation", Truncation::longest_first);
  }

  std::vector<NextSentence> answer(const std::vector<TextPair>& pairs,
                                   const NextSentencePredictionOptions& options,
                                   bool several) const {
    return pipelines::answer_items(
        bundle, pairs.size(), several, options.batch_size,
        [&](std::size_t item) {
          const Text pair(pairs[item].text, pairs[item].text_pair);
          return std::vector<Row>{pipelines::encode_text(bundle.tokenizer(), pair, encoding)};
        },
        [](const Row&, const RowOutputs& outputs) {
          return decoding::judge_next_sentence(outputs.at("logits"));
        },
        [](std::size_t, const std::vector<Row>&, const std::vector<NextSentence>& kept) {
          return kept.front();
        });
  }

  OpenedBundle bundle;
  EncodeOptions encoding;
};

NextSentencePrediction::NextSentencePrediction(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

NextSentencePrediction NextSentencePrediction::open(const std::string& path,
                                                    const OpenOptions& options) {
  return NextSentencePrediction(std::make_shared<const Parts>(path, options));
}

NextSentence NextSentencePrediction::operator()(
    const TextPair& item, const NextSentencePredictionOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<NextSentence> NextSentencePrediction::operator()(
    const std::vector<TextPair>& items, const NextSentencePredictionOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
