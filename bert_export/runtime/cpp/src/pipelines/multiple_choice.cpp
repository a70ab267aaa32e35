#include "bert_export/multiple_choice.hpp"

#include "decoding/choices.hpp"
#include "pipelines/answering.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

struct MultipleChoice::Parts {
  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "multiple-choice", options) {
    encoding.truncation = Parameters(bundle).truncation("truncation", Truncation::longest_first);
  }

  // A row per choice: the prompt, then the choice.
  std::vector<Row> encode(const ChoiceQuestion& question) const {
    if (question.choices.empty()) {
      throw InputError("choices are empty", {"at least one", "none"});
    }
    std::vector<Row> rows;
    for (const std::string_view choice : question.choices) {
      rows.push_back(
          pipelines::encode_text(bundle.tokenizer(), {question.prompt, choice}, encoding));
    }
    return rows;
  }

  std::vector<Choice> answer(const std::vector<ChoiceQuestion>& questions,
                             const MultipleChoiceOptions& options, bool several) const {
    return pipelines::answer_items(
        bundle, questions.size(), several, options.batch_size,
        [&](std::size_t item) { return encode(questions[item]); },
        [](const Row&, const RowOutputs& outputs) { return outputs.at("logits")[0]; },
        [&](std::size_t item, const std::vector<Row>&, const std::vector<float>& kept) {
          const auto& choices = questions[item].choices;
          return decoding::choose(kept, {choices.begin(), choices.end()});
        });
  }

  OpenedBundle bundle;
  EncodeOptions encoding;
};

MultipleChoice::MultipleChoice(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

MultipleChoice MultipleChoice::open(const std::string& path, const OpenOptions& options) {
  return MultipleChoice(std::make_shared<const Parts>(path, options));
}

Choice MultipleChoice::operator()(const ChoiceQuestion& item,
                                  const MultipleChoiceOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<Choice> MultipleChoice::operator()(const std::vector<ChoiceQuestion>& items,
                                               const MultipleChoiceOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
