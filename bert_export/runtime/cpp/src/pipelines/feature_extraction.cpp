#include "bert_export/feature_extraction.hpp"

#include "pipelines/answering.hpp"
#include "pipelines/tokenization.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct FeatureExtraction::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "feature-extraction", options),
        encoding(pipelines::own_tokenization(Parameters(bundle))),
        dimension(pipelines::width_of(bundle, "last_hidden_state")) {}

  std::vector<TokenVectors> answer(const std::vector<std::string_view>& texts,
                                   const FeatureExtractionOptions& options, bool several) const {
    const EncodeOptions how = pipelines::read_tokenization(encoding, options);
    return pipelines::answer_items(
        bundle, texts.size(), several, options.batch_size,
        [&](std::size_t item) {
          return std::vector<Row>{pipelines::encode_text(bundle.tokenizer(), texts[item], how)};
        },
        [&](const Row& row, const RowOutputs& outputs) {
          const decoding::Vector states = outputs.at("last_hidden_state");  // (S, H)
          return TokenVectors{row.encoded.size(), dimension, {states.begin(), states.end()}};
        },
        [](std::size_t, const std::vector<Row>&, const std::vector<TokenVectors>& kept) {
          return kept.front();
        });
  }

  OpenedBundle bundle;
  EncodeOptions encoding;
  std::size_t dimension;
};

FeatureExtraction::FeatureExtraction(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

FeatureExtraction FeatureExtraction::open(const std::string& path, const OpenOptions& options) {
  return FeatureExtraction(std::make_shared<const Parts>(path, options));
}

TokenVectors FeatureExtraction::operator()(std::string_view item,
                                           const FeatureExtractionOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<TokenVectors> FeatureExtraction::operator()(
    const std::vector<std::string_view>& items, const FeatureExtractionOptions& options) const {
  return parts_->answer(items, options, true);
}

std::size_t FeatureExtraction::dimension() const { return parts_->dimension; }

}  // namespace bert_export
