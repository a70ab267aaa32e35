#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "bundle/manifest.hpp"

namespace bert_export {

AnyPipeline open(const std::string& path, const OpenOptions& options) {
  return open_task(path, bundle::read_manifest(path).task, options);
}

AnyPipeline open_task(const std::string& path, const std::string& task,
                      const OpenOptions& options) {
  if (task == "feature-extraction") return FeatureExtraction::open(path, options);
  if (task == "fill-mask") return FillMask::open(path, options);
  if (task == "multiple-choice") return MultipleChoice::open(path, options);
  if (task == "next-sentence-prediction") return NextSentencePrediction::open(path, options);
  if (task == "pretraining") return Pretraining::open(path, options);
  if (task == "question-answering") return QuestionAnswering::open(path, options);
  if (task == "sentence-embedding") return SentenceEmbedding::open(path, options);
  if (task == "text-classification") return TextClassification::open(path, options);
  if (task == "text-generation") return TextGeneration::open(path, options);
  if (task == "token-classification") return TokenClassification::open(path, options);
  if (task == "zero-shot-classification") return ZeroShotClassification::open(path, options);
  if (task == "text2text-generation" || task == "summarization") {
    return Text2TextGeneration::open(path, options, task);
  }
  throw TaskError("task " + task + " is unknown",
                  {"one that this version of the library answers", task, "Upgrade bert-export"});
}

}  // namespace bert_export
