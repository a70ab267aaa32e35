#include "calls/call.hpp"

#include <limits>

#include "calls/request.hpp"
#include "text/json_writer.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace bert_export::calls {
namespace {

using text::Json;
using text::list_to_json;
using text::to_json;

using Texts = std::vector<std::string_view>;

Json parse(std::string_view request, const char* name) {
  try {
    return Json::parse(request);
  } catch (const text::JsonError& error) {
    throw InputError(std::string(name) + " is malformed", {"an object of JSON", error.what()});
  }
}

// The answer of a single item, or the list of several.
template <typename Answer, typename Write>
std::string in_shape(bool single, const std::vector<Answer>& answers, const Write& write) {
  return single ? write(answers.front()) : list_to_json(answers, write);
}

// Calls a pipeline as the request does, with one item or with several.
template <typename Pipeline, typename Item, typename Options>
auto ask(const Pipeline& pipeline, bool single, const std::vector<Item>& items,
         const Options& options) {
  if (!single) return pipeline(items, options);
  decltype(pipeline(items, options)) answers;
  answers.push_back(pipeline(items.front(), options));
  return answers;
}

std::string span_to_json(Span span, Span bytes) {
  return "\"start\":" + std::to_string(span.begin) + ",\"end\":" + std::to_string(span.end) +
         ",\"byte_start\":" + std::to_string(bytes.begin) +
         ",\"byte_end\":" + std::to_string(bytes.end);
}

std::string label_to_json(const Label& label) {
  return "{\"label\":" + to_json(label.label) + ",\"score\":" + to_json(label.score) + "}";
}

std::string candidate_to_json(const Candidate& candidate) {
  return "{\"score\":" + to_json(candidate.score) + ",\"token\":" + to_json(candidate.token) +
         ",\"token_str\":" + to_json(candidate.token_str) +
         ",\"sequence\":" + to_json(candidate.sequence) + "}";
}

std::string candidates_to_json(const std::vector<Candidate>& candidates) {
  return list_to_json(candidates, candidate_to_json);
}

std::string next_sentence_to_json(const NextSentence& answer) {
  return std::string("{\"is_next\":") + (answer.is_next ? "true" : "false") +
         ",\"score\":" + to_json(answer.score) + "}";
}

Texts read_texts(const Items& items) {
  return items.read([](const Json& record) { return std::string_view(check_text(record)); });
}

std::vector<TextPair> read_pairs(const Items& items) {
  return items.read([](const Json& record) {
    return TextPair{check_text(field(record, "text")),
                    check_text(field(record, "text_pair"), "text_pair")};
  });
}

// The options `truncation`, `max_length` and `add_special_tokens`, which stand in an object.
template <typename Options>
void read_tokenization(const Json* given, Options& options) {
  if (given == nullptr) return;
  const Request own = Request::for_tokenizer(*given);
  options.truncation = own.truncation("truncation");
  options.max_length = own.whole<std::int64_t>("max_length", 1);
  options.add_special_tokens = own.flag("add_special_tokens");
}

// A text or a pair of texts of a classifier.
Text read_input(const Json& record) {
  if (record.is_string()) return record.string("text");
  if (!record.is_object()) {
    throw InputError("input is of the wrong type",
                     {"a string, or a mapping with 'text'", type_of(record),
                      "Pass a pair as {'text': ..., 'text_pair': ...}"});
  }
  const std::string& text = check_text(field(record, "text"));
  const Json* const pair = record.find("text_pair");
  if (pair == nullptr || pair->is_null()) return text;
  return {text, check_text(*pair, "text_pair")};
}

std::string answer(const TextClassification& pipeline, const Json& json) {
  const Request request(
      json, {"inputs", "top_k", "function_to_apply", "truncation", "max_length", "batch_size"});
  const Json* const inputs = request.find("inputs");
  const bool is_record = inputs != nullptr && inputs->is_object();
  const Items items = is_record ? Items{true, {inputs}} : request.texts("inputs");
  TextClassificationOptions options;
  options.top_k = request.is_null("top_k")
                      ? std::optional<std::size_t>(0)
                      : request.whole<std::size_t>(
                            "top_k", 1, "a positive whole number, or None for all labels");
  options.function_to_apply = request.string("function_to_apply");
  options.truncation = request.truncation("truncation");
  options.max_length = request.whole<std::int64_t>("max_length", 1);
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const bool bare = !options.top_k && pipeline.reports_best_alone();
  const auto write = [&](const std::vector<Label>& labels) {
    return bare ? label_to_json(labels.front()) : list_to_json(labels, label_to_json);
  };
  const std::string written =
      in_shape(items.single, ask(pipeline, items.single, items.read(read_input), options), write);
  return bare && items.single && !is_record ? "[" + written + "]" : written;
}

// Lists of words; a single one is a list of one.
Items read_word_lists(const Request& request) {
  const Json* const inputs = request.find("inputs");
  if (inputs == nullptr || !inputs->is_array()) {
    throw InputError("inputs are of the wrong type",
                     {"a list of words, or a list of such lists, with is_split_into_words",
                      inputs == nullptr ? "nothing" : type_of(*inputs)});
  }
  const text::JsonArray& listed = inputs->array("inputs");
  if (std::any_of(listed.begin(), listed.end(), [](const Json& one) { return one.is_string(); })) {
    return {false, {inputs}};
  }
  Items items;
  for (const Json& one : listed) items.records.push_back(&one);
  return items;
}

Text read_words(const Json& record) {
  if (!record.is_array()) {
    throw InputError("words are of the wrong type", {"a list of strings", type_of(record)});
  }
  Texts words;
  for (const Json& word : record.array("words")) words.push_back(check_text(word, "word"));
  return Text::split(std::move(words));
}

std::string entity_to_json(const Entity& entity) {
  const bool grouped = entity.index == none;
  return std::string(grouped ? "{\"entity_group\":" : "{\"entity\":") + to_json(entity.entity) +
         ",\"score\":" + to_json(entity.score) +
         (grouped ? "" : ",\"index\":" + std::to_string(entity.index)) +
         ",\"word\":" + to_json(entity.word) + "," +
         span_to_json(entity.offsets, entity.byte_offsets) + "}";
}

std::string answer(const TokenClassification& pipeline, const Json& json) {
  const Request request(json, {"inputs", "aggregation_strategy", "ignore_labels", "stride",
                               "is_split_into_words", "delimiter", "batch_size"});
  TokenClassificationOptions options;
  options.aggregation_strategy = request.string("aggregation_strategy");
  options.ignore_labels = request.strings("ignore_labels", "ignored label");
  options.stride = request.is_null("stride") ? std::optional<std::int64_t>(none)
                                             : request.whole<std::int64_t>("stride", 0);
  options.delimiter = request.string("delimiter");
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const bool split = request.flag("is_split_into_words").value_or(false);
  const Items items = split ? read_word_lists(request) : request.texts("inputs");
  const auto read = [&](const Json& record) {
    return split ? read_words(record) : Text(check_text(record));
  };
  return in_shape(
      items.single, ask(pipeline, items.single, items.read(read), options),
      [](const std::vector<Entity>& entities) { return list_to_json(entities, entity_to_json); });
}

std::string answer(const QuestionAnswering& pipeline, const Json& json) {
  const Request request(
      json, {"inputs", "question", "context", "top_k", "doc_stride", "max_answer_len",
             "max_seq_len", "max_question_len", "handle_impossible_answer", "align_to_words",
             "method", "n_best_size", "null_score_diff_threshold", "batch_size"});
  QuestionAnsweringOptions options;
  options.top_k = request.whole<std::size_t>("top_k", 1);
  options.doc_stride = request.whole<std::int64_t>("doc_stride", 0);
  options.max_answer_len = request.whole<std::size_t>("max_answer_len", 1);
  options.max_seq_len = request.whole<std::int64_t>("max_seq_len", 1);
  options.max_question_len = request.whole<std::size_t>("max_question_len", 1);
  options.handle_impossible_answer = request.flag("handle_impossible_answer");
  options.align_to_words = request.flag("align_to_words");
  options.method = request.string("method");
  options.n_best_size = request.whole<std::size_t>("n_best_size", 1);
  options.null_score_diff_threshold = request.number("null_score_diff_threshold");
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  Items items = request.records({"question", "context"});
  items.single = items.records.size() == 1;
  const auto read = [](const Json& record) {
    return Question{check_text(field(record, "question"), "question"),
                    check_text(field(record, "context"), "context")};
  };
  const auto write = [](const Answer& answer) {
    return "{\"score\":" + to_json(answer.score) + "," +
           span_to_json(answer.offsets, answer.byte_offsets) +
           ",\"answer\":" + to_json(answer.answer) + "}";
  };
  return in_shape(items.single, ask(pipeline, items.single, items.read(read), options),
                  [&](const std::vector<Answer>& answers) {
                    return answers.size() == 1 ? write(answers.front())
                                               : list_to_json(answers, write);
                  });
}

std::string answer(const FillMask& pipeline, const Json& json) {
  const Request request(json, {"inputs", "top_k", "targets", "tokenizer_kwargs", "batch_size"});
  FillMaskOptions options;
  options.top_k = request.whole<std::size_t>("top_k", 0);
  options.targets = request.strings("targets", "target");
  read_tokenization(request.find("tokenizer_kwargs"), options);
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.texts("inputs");
  const auto answers = ask(pipeline, items.single, read_texts(items), options);
  // As upstream, a list of one text is answered by that one's answer.
  return in_shape(answers.size() == 1, answers,
                  [](const std::vector<std::vector<Candidate>>& masks) {
                    return masks.size() == 1 ? candidates_to_json(masks.front())
                                             : list_to_json(masks, candidates_to_json);
                  });
}

std::string answer(const NextSentencePrediction& pipeline, const Json& json) {
  const Request request(json, {"inputs", "text", "text_pair", "batch_size"});
  NextSentencePredictionOptions options;
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.records({"text", "text_pair"});
  return in_shape(items.single, ask(pipeline, items.single, read_pairs(items), options),
                  next_sentence_to_json);
}

std::string answer(const MultipleChoice& pipeline, const Json& json) {
  const Request request(json, {"inputs", "prompt", "choices", "batch_size"});
  MultipleChoiceOptions options;
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.records({"prompt", "choices"});
  const auto read = [](const Json& record) {
    ChoiceQuestion question{check_text(field(record, "prompt"), "prompt"), {}};
    const Json& choices = field(record, "choices");
    if (!choices.is_array()) {
      throw InputError("choices are of the wrong type",
                       {"a list of strings", choices.is_null() ? "nothing" : type_of(choices)});
    }
    for (const Json& choice : choices.array("choices")) {
      question.choices.push_back(check_text(choice, "choice"));
    }
    return question;
  };
  return in_shape(items.single, ask(pipeline, items.single, items.read(read), options),
                  [](const Choice& choice) {
                    return "{\"choice\":" + to_json(choice.choice) +
                           ",\"text\":" + to_json(choice.text) +
                           ",\"scores\":" + list_to_json(choice.scores) + "}";
                  });
}

std::string answer(const Pretraining& pipeline, const Json& json) {
  const Request request(json, {"inputs", "text", "text_pair", "top_k", "batch_size"});
  PretrainingOptions options;
  options.top_k = request.whole<std::size_t>("top_k", 0);
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.records({"text", "text_pair"});
  return in_shape(items.single, ask(pipeline, items.single, read_pairs(items), options),
                  [](const PretrainingAnswer& answer) {
                    return "{\"next_sentence\":" + next_sentence_to_json(answer.next_sentence) +
                           ",\"masks\":" + list_to_json(answer.masks, candidates_to_json) + "}";
                  });
}

std::string answer(const FeatureExtraction& pipeline, const Json& json) {
  const Request request(json, {"inputs", "truncation", "tokenize_kwargs", "batch_size"});
  FeatureExtractionOptions options;
  const Json* const tokenization = request.find("tokenize_kwargs");
  read_tokenization(tokenization, options);
  if (const auto truncation = request.truncation("truncation")) {
    if (tokenization != nullptr && tokenization->find("truncation") != nullptr) {
      throw InputError("truncation is given twice", {"", "", "Leave it out of tokenize_kwargs"});
    }
    options.truncation = truncation;
  }
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.texts("inputs");
  return in_shape(items.single, ask(pipeline, items.single, read_texts(items), options),
                  [](const TokenVectors& vectors) {
                    std::vector<std::vector<float>> rows;
                    for (std::size_t token = 0; token < vectors.tokens; ++token) {
                      const float* const row = vectors.numbers.data() + token * vectors.dimension;
                      rows.emplace_back(row, row + vectors.dimension);
                    }
                    return "[" + list_to_json(rows, list_to_json<float>) + "]";
                  });
}

std::string answer(const SentenceEmbedding& pipeline, const Json& json) {
  const Request request(
      json, {"inputs", "normalize", "truncate_dim", "prompt", "prompt_name", "batch_size"});
  SentenceEmbeddingOptions options;
  options.normalize = request.flag("normalize");
  options.truncate_dim = request.whole<std::size_t>("truncate_dim", 1);
  options.prompt = request.string("prompt");
  options.prompt_name = request.string("prompt_name");
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Items items = request.texts("inputs");
  return in_shape(items.single, ask(pipeline, items.single, read_texts(items), options),
                  list_to_json<float>);
}

constexpr const char* rows_expected = "a whole number from 1 to 1024";

// true, false or never.
std::optional<EarlyStopping> read_early_stopping(const Request& request) {
  const Json* const found = request.find("early_stopping");
  if (found == nullptr) return std::nullopt;
  if (found->is_string() && found->string("") == "never") return EarlyStopping::never;
  if (found->is_boolean()) return found->boolean("") ? EarlyStopping::yes : EarlyStopping::no;
  throw InputError("early_stopping is wrong", {"true, false or never", shown(*found)});
}

// An id, or several, of so many that there are.
std::optional<std::vector<std::int64_t>> read_ends(const Request& request,
                                                   std::int64_t vocabulary) {
  const Json* const found = request.find("eos_token_id");
  if (found == nullptr) return std::nullopt;
  std::vector<std::int64_t> ids;
  const auto add = [&](const Json& id) {
    if (!id.is_integer()) {
      throw InputError("eos_token_id is wrong",
                       {"ids from 0 to " + std::to_string(vocabulary - 1), shown(id)});
    }
    ids.push_back(id.integer("an id"));
  };
  if (found->is_array()) {
    for (const Json& id : found->array("ids")) add(id);
  } else {
    add(*found);
  }
  return ids;
}

void read_generation(const Request& request, std::int64_t vocabulary,
                     GenerationOptions& options) {
  options.max_new_tokens = request.whole<std::size_t>("max_new_tokens", 1);
  options.min_new_tokens = request.whole<std::size_t>("min_new_tokens", 0);
  options.do_sample = request.flag("do_sample");
  options.temperature = request.number("temperature");
  options.top_k = request.whole<std::size_t>("top_k", 0);
  options.top_p = request.number("top_p");
  options.seed = request.whole<std::uint64_t>("seed", 0);
  options.num_beams = request.whole<std::size_t>("num_beams", 1, rows_expected);
  options.length_penalty = request.number("length_penalty");
  options.early_stopping = read_early_stopping(request);
  options.repetition_penalty = request.number("repetition_penalty");
  options.no_repeat_ngram_size = request.whole<std::size_t>("no_repeat_ngram_size", 0);
  options.num_return_sequences =
      request.whole<std::size_t>("num_return_sequences", 1, rows_expected);
  options.eos_token_id = read_ends(request, vocabulary);
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
}

Request read_continuation(const TextGeneration& pipeline, const Json& json,
                          TextGenerationOptions& options) {
  Request request(json, {"inputs", "max_new_tokens", "min_new_tokens", "max_length", "do_sample",
                         "temperature", "top_k", "top_p", "seed", "num_beams", "length_penalty",
                         "early_stopping", "repetition_penalty", "no_repeat_ngram_size",
                         "num_return_sequences", "eos_token_id", "return_full_text", "batch_size"});
  read_generation(request, pipeline.vocab_size(), options);
  options.max_length = request.whole<std::size_t>("max_length", 1);
  options.return_full_text = request.flag("return_full_text");
  return request;
}

// A record per text of an answer, under one name.
std::string texts_to_json(const std::string& name, const std::vector<std::string>& texts) {
  return list_to_json(
      texts, [&](const std::string& text) { return "{\"" + name + "\":" + to_json(text) + "}"; });
}

std::string answer(const TextGeneration& pipeline, const Json& json) {
  TextGenerationOptions options;
  const Request request = read_continuation(pipeline, json, options);
  const Items items = request.texts("inputs");
  return in_shape(items.single, ask(pipeline, items.single, read_texts(items), options),
                  [](const std::vector<std::string>& texts) {
                    return texts_to_json("generated_text", texts);
                  });
}

Request read_answering(const Text2TextGeneration& pipeline, const Json& json,
                       Text2TextGenerationOptions& options) {
  Request request(
      json, {"inputs", "truncation", "max_new_tokens", "min_new_tokens", "max_length", "min_length",
             "do_sample", "temperature", "top_k", "top_p", "seed", "num_beams", "length_penalty",
             "early_stopping", "repetition_penalty", "no_repeat_ngram_size", "num_return_sequences",
             "eos_token_id", "batch_size"});
  read_generation(request, pipeline.vocab_size(), options);
  if (request.is_null("max_new_tokens")) {  // as many as the decoder has positions for
    options.max_new_tokens = std::numeric_limits<std::size_t>::max();
  }
  // Bounds on lengths matter where there are none on new tokens.
  if (!options.max_new_tokens) options.max_length = request.whole<std::size_t>("max_length", 2);
  if (!options.min_new_tokens) options.min_length = request.whole<std::size_t>("min_length", 0);
  options.truncation = request.truncation("truncation");
  return request;
}

std::string answer(const Text2TextGeneration& pipeline, const Json& json) {
  Text2TextGenerationOptions options;
  const Request request = read_answering(pipeline, json, options);
  const Items items = request.texts("inputs");
  const auto answers = ask(pipeline, items.single, read_texts(items), options);
  const std::string name =
      pipeline.task() == "summarization" ? "summary_text" : "generated_text";
  const auto write = [&](const std::vector<std::string>& texts) {
    return texts_to_json(name, texts);
  };
  if (items.single) return write(answers.front());
  // As upstream, a text of a list that has one answer is answered by that alone.
  std::vector<std::string> alone;
  for (const std::vector<std::string>& texts : answers) {
    if (texts.size() != 1) return list_to_json(answers, write);
    alone.push_back(texts.front());
  }
  return write(alone);
}

// Labels between commas, without the space around them.
std::vector<std::string> split_labels(std::string_view text) {
  std::vector<std::string> labels(1);
  for (std::size_t place = 0; place < text.size();) {
    const text::Decoded decoded = text::decode_at(text, place);
    const std::size_t bytes = std::max<std::size_t>(decoded.bytes, 1);
    if (text[place] == ',') {
      labels.emplace_back();
    } else {
      labels.back() += text.substr(place, bytes);
    }
    place += bytes;
  }
  std::vector<std::string> kept;
  for (const std::string& label : labels) {
    const std::string stripped(text::stripped(label));
    if (!stripped.empty()) kept.push_back(stripped);
  }
  return kept;
}

std::string answer(const ZeroShotClassification& pipeline, const Json& json) {
  const Request request(
      json, {"sequences", "candidate_labels", "hypothesis_template", "multi_label", "batch_size"});
  ZeroShotClassificationOptions options;
  options.hypothesis_template = request.string("hypothesis_template");
  options.multi_label = request.flag("multi_label");
  options.batch_size = request.whole<std::size_t>("batch_size", 1);
  const Json* const given = request.find("candidate_labels");
  if (given == nullptr) {
    throw InputError("candidate_labels are of the wrong type",
                     {"a list of strings, or a string with commas between the labels", "nothing"});
  }
  const std::vector<std::string> labels =
      given->is_string() ? split_labels(given->string("labels"))
                         : *request.strings("candidate_labels", "candidate label");
  const Items items = request.texts("sequences");
  const Texts texts = items.read(
      [](const Json& record) { return std::string_view(check_text(record, "sequence")); });
  const auto write = [](const Hypotheses& answer) {
    return "{\"sequence\":" + to_json(answer.sequence) +
           ",\"labels\":" + list_to_json(answer.labels) +
           ",\"scores\":" + list_to_json(answer.scores) + "}";
  };
  if (items.single) return write(pipeline(texts.front(), labels, options));
  return list_to_json(pipeline(texts, labels, options), write);
}

}  // namespace

std::string call(const AnyPipeline& pipeline, std::string_view request) {
  const Json json = parse(request, "call");
  return std::visit([&](const auto& own) { return answer(own, json); }, pipeline);
}

void stream(const AnyPipeline& pipeline, std::string_view request, const ReceivePiece& receive) {
  const Json json = parse(request, "call");
  const auto text_of = [](const Request& call) -> const std::string& {
    const Json* const text = call.find("inputs");
    if (text == nullptr) throw InputError("text is of the wrong type", {"a string", "nothing"});
    return check_text(*text);
  };
  if (const auto* const continues = std::get_if<TextGeneration>(&pipeline)) {
    TextGenerationOptions options;
    const Request call = read_continuation(*continues, json, options);
    return continues->stream(text_of(call), receive, options);
  }
  if (const auto* const answers = std::get_if<Text2TextGeneration>(&pipeline)) {
    Text2TextGenerationOptions options;
    const Request call = read_answering(*answers, json, options);
    return answers->stream(text_of(call), receive, options);
  }
  throw TaskError("streaming does not fit the bundle",
                  {"text-generation, text2text-generation or summarization",
                   std::visit([](const auto& other) { return other.task(); }, pipeline)});
}

OpenOptions read_open_options(std::string_view options) {
  OpenOptions read;
  if (options.empty()) return read;
  const Json json = parse(options, "options");
  const Request request(json, {"target", "threads", "spinning", "shrink_arena", "token_budget",
                               "sort", "verify", "library", "hint", "cache", "shapes"});
  read.target = request.string("target");
  read.threads = request.whole<int>("threads", 0).value_or(read.threads);
  read.spinning = request.flag("spinning").value_or(read.spinning);
  read.shrink_arena = request.flag("shrink_arena").value_or(read.shrink_arena);
  read.token_budget = request.whole<std::size_t>("token_budget", 1).value_or(read.token_budget);
  read.sort = request.flag("sort").value_or(read.sort);
  read.verify = request.flag("verify").value_or(read.verify);
  read.library = request.string("library").value_or(read.library);
  read.hint = request.string("hint").value_or(read.hint);
  read.cache = request.string("cache").value_or(read.cache);
  if (const Json* const shapes = request.find("shapes")) {
    try {
      for (const Json& shape : shapes->array("shapes")) {
        read.shapes.emplace_back();
        for (const Json& size : shape.array("a shape")) {
          read.shapes.back().push_back(size.integer("a size"));
        }
      }
    } catch (const text::JsonError& error) {
      throw InputError("shapes are wrong", {"a list of lists of whole numbers", error.what()});
    }
  }
  return read;
}

}  // namespace bert_export::calls
