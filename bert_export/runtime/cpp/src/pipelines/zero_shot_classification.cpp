#include "bert_export/zero_shot_classification.hpp"

#include "decoding/labels.hpp"
#include "pipelines/answering.hpp"
#include "pipelines/hypothesis.hpp"
#include "text/printing.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct ZeroShotClassification::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "zero-shot-classification", options) {
    bundle.check_labels();
    const Parameters own(bundle);
    hypothesis_template = own.string("hypothesis_template", "This example is {}.");
    multi_label = own.flag("multi_label", false);
    encoding.truncation = own.truncation("truncation", Truncation::only_first);
    entailment = find_entailment(own.whole("entailment_id", std::nullopt, 0));
  }

  // The label that says that a hypothesis holds: the manifest's, else the first named so.
  std::size_t find_entailment(std::optional<std::int64_t> stated) const {
    const std::vector<std::string>& labels = bundle.manifest().labels;
    const std::optional<std::size_t> found = stated
                                                 ? std::optional(static_cast<std::size_t>(*stated))
                                                 : decoding::find_entailment(labels);
    if (found && *found < labels.size()) return *found;
    std::string names;
    for (const std::string& label : labels) {
      names += (names.empty() ? "" : ", ") + text::shown(label);
    }
    throw TaskError("zero-shot-classification does not fit the head",
                    {"a label that starts with 'entail'", names.empty() ? "no labels" : names,
                     "Export a checkpoint trained on natural language inference"});
  }

  // A row per label: the text, then the hypothesis.
  std::vector<Row> encode(std::string_view text, const std::vector<std::string>& hypotheses) const {
    if (text.empty()) {
      throw InputError("sequence is empty", {"at least one character", "''"});
    }
    std::vector<Row> rows;
    for (const std::string& hypothesis : hypotheses) {
      rows.push_back(pipelines::encode_text(bundle.tokenizer(), {text, hypothesis}, encoding,
                                            bundle.manifest().max_position_embeddings));
    }
    return rows;
  }

  std::vector<Hypotheses> answer(const std::vector<std::string_view>& texts,
                                 const std::vector<std::string>& candidate_labels,
                                 const ZeroShotClassificationOptions& options, bool several) const {
    if (candidate_labels.empty()) {
      throw InputError("candidate_labels are empty", {"at least one label", "none"});
    }
    const pipelines::Hypothesis phrase(options.hypothesis_template.value_or(hypothesis_template));
    std::vector<std::string> hypotheses;
    for (const std::string& label : candidate_labels) hypotheses.push_back(phrase.of(label));
    const bool each_for_itself = options.multi_label.value_or(multi_label);
    using Logits = std::vector<float>;  // (L,)
    return pipelines::answer_items(
        bundle, texts.size(), several, options.batch_size,
        [&](std::size_t item) { return encode(texts[item], hypotheses); },
        [](const Row&, const RowOutputs& outputs) {
          const decoding::Vector logits = outputs.at("logits");
          return Logits(logits.begin(), logits.end());
        },
        [&](std::size_t item, const std::vector<Row>&, const std::vector<Logits>& kept) {
          std::vector<float> rows;
          for (const Logits& own : kept) rows.insert(rows.end(), own.begin(), own.end());
          const std::vector<float> scores = decoding::score_hypotheses(
              {rows.data(), kept.size(), kept.front().size()}, entailment, each_for_itself);
          return decoding::rank_hypotheses(texts[item], candidate_labels, scores);
        });
  }

  OpenedBundle bundle;
  std::string hypothesis_template;
  bool multi_label;
  EncodeOptions encoding;
  std::size_t entailment;
};

ZeroShotClassification::ZeroShotClassification(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

ZeroShotClassification ZeroShotClassification::open(const std::string& path,
                                                    const OpenOptions& options) {
  return ZeroShotClassification(std::make_shared<const Parts>(path, options));
}

Hypotheses ZeroShotClassification::operator()(std::string_view text,
                                              const std::vector<std::string>& candidate_labels,
                                              const ZeroShotClassificationOptions& options) const {
  return parts_->answer({text}, candidate_labels, options, false).front();
}

std::vector<Hypotheses> ZeroShotClassification::operator()(
    const std::vector<std::string_view>& texts, const std::vector<std::string>& candidate_labels,
    const ZeroShotClassificationOptions& options) const {
  return parts_->answer(texts, candidate_labels, options, true);
}

}  // namespace bert_export
