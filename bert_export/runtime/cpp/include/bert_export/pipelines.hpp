// Every task's pipeline, and a bundle's own whatever its task.
#pragma once

#include <string>
#include <variant>

#include "bert_export/feature_extraction.hpp"
#include "bert_export/fill_mask.hpp"
#include "bert_export/multiple_choice.hpp"
#include "bert_export/next_sentence_prediction.hpp"
#include "bert_export/pretraining.hpp"
#include "bert_export/question_answering.hpp"
#include "bert_export/sentence_embedding.hpp"
#include "bert_export/text2text_generation.hpp"
#include "bert_export/text_classification.hpp"
#include "bert_export/text_generation.hpp"
#include "bert_export/token_classification.hpp"
#include "bert_export/visibility.hpp"
#include "bert_export/zero_shot_classification.hpp"

namespace bert_export {

using AnyPipeline =
    std::variant<FeatureExtraction, FillMask, MultipleChoice, NextSentencePrediction, Pretraining,
                 QuestionAnswering, SentenceEmbedding, Text2TextGeneration, TextClassification,
                 TextGeneration, TokenClassification, ZeroShotClassification>;

// Opens a bundle with the pipeline of its own task; std::visit and std::get_if tell which it is.
//
//     const auto opened = bert_export::open("bundle");
//     if (const auto* tagger = std::get_if<bert_export::TokenClassification>(&opened)) ...
//
// Throws as TextClassification::open, and TaskError where this library does not know the task.
BERT_EXPORT_API AnyPipeline open(const std::string& path, const OpenOptions& options = {});

// As open, for a task by its name: a bundle for text classification will do for zero-shot
// classification.
BERT_EXPORT_API AnyPipeline open_task(const std::string& path, const std::string& task,
                                      const OpenOptions& options = {});

}  // namespace bert_export
