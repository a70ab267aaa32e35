// Decoding turns the rows and outputs of tests/vectors into their answers:
//
//     test_vectors tests/vectors
//
// Names, strings, places and orders are equal, scores within 1e-6.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <optional>

#include "bert_export/errors.hpp"
#include "bert_export/tokenizer.hpp"
#include "check.hpp"
#include "decoding/choices.hpp"
#include "decoding/embeddings.hpp"
#include "decoding/entities.hpp"
#include "decoding/generation.hpp"
#include "decoding/labels.hpp"
#include "decoding/lower.hpp"
#include "decoding/masks.hpp"
#include "decoding/ranking.hpp"
#include "decoding/sampling.hpp"
#include "decoding/spans.hpp"
#include "pipelines/generating.hpp"
#include "sessions/cache.hpp"
#include "text/json.hpp"
#include "text/utf8.hpp"

namespace {

namespace decoding = bert_export::decoding;
namespace sessions = bert_export::sessions;
namespace utf8 = bert_export::text;
using bert_export::Encoded;
using bert_export::Span;
using bert_export::Tokenizer;
using bert_export::TokenizerRecord;
using bert_export::text::Json;
using Strings = std::vector<std::string>;

constexpr double tolerance = 1e-6;
constexpr std::int64_t pad_id = 0;
constexpr std::int64_t unk_id = 1;
constexpr std::int64_t cls_id = 2;
constexpr std::int64_t sep_id = 3;
constexpr std::int64_t mask_id = 4;

std::string folder;

std::string read_file(const std::string& name) {
  std::ifstream file(folder + "/" + name, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (text.empty()) tests::fail(__FILE__, __LINE__, name + " is not there");
  return text;
}

Strings strings(const Json& json) {
  Strings list;
  for (const Json& item : json.array("a list of texts")) list.push_back(item.string("a text"));
  return list;
}

// Numbers of an output, whatever its axes.
void append_numbers(const Json& json, std::vector<float>& numbers) {
  if (!json.is_array()) {
    numbers.push_back(static_cast<float>(json.number("an output")));
    return;
  }
  for (const Json& item : json.array("")) append_numbers(item, numbers);
}

struct Row {
  std::size_t item;
  Encoded encoded;
  std::map<std::string, std::vector<float>> outputs;
  // The answer so far, where an encoder reads the row.
  std::vector<std::int64_t> decoder_ids;

  // What grows: the answer, or the row itself.
  const std::vector<std::int64_t>& grown() const {
    return decoder_ids.empty() ? encoded.ids : decoder_ids;
  }

  decoding::Vector vector(const std::string& name) const { return outputs.at(name); }
  decoding::Matrix matrix(const std::string& name, std::size_t columns) const {
    const std::vector<float>& numbers = outputs.at(name);
    return {numbers.data(), numbers.size() / columns, columns};
  }
};

template <typename Number>
void read_numbers(const Json& row, const char* name, std::vector<Number>& numbers) {
  const Json* const field = row.find(name);
  if (field == nullptr) return;
  for (const Json& number : field->array(name)) {
    numbers.push_back(static_cast<Number>(number.is_null() ? -1 : number.integer(name)));
  }
}

Row read_row(const Json& row, const Json& outputs) {
  Row read{static_cast<std::size_t>(row.at("item").integer("item")), {}, {}, {}};
  read_numbers(row, "input_ids", read.encoded.ids);
  read_numbers(row, "token_type_ids", read.encoded.type_ids);
  read_numbers(row, "decoder_input_ids", read.decoder_ids);
  read_numbers(row, "word_ids", read.encoded.word_ids);
  read_numbers(row, "sequence_ids", read.encoded.sequence_ids);
  read_numbers(row, "special_tokens_mask", read.encoded.special_tokens_mask);
  if (const Json* const tokens = row.find("tokens")) read.encoded.tokens = strings(*tokens);
  if (const Json* const offsets = row.find("offsets")) {
    for (const Json& span : offsets->array("offsets")) {
      const auto place = [&](std::size_t side) {
        return static_cast<std::uint32_t>(span.array("a span")[side].integer("a place"));
      };
      read.encoded.offsets.push_back({place(0), place(1)});
    }
  }
  for (const auto& [name, numbers] : outputs.object("outputs")) {
    append_numbers(numbers, read.outputs[name]);
  }
  return read;
}

// Vectors count code points alone; bytes follow from the text that a token is of.
void set_byte_offsets(Encoded& encoded, const std::function<std::string(std::size_t)>& text_of) {
  for (std::size_t token = 0; token < encoded.size(); ++token) {
    const std::string text = text_of(token);
    const auto byte = [&](std::uint32_t place) {
      return static_cast<std::uint32_t>(utf8::byte_of(text, place));
    };
    const Span span = encoded.offsets[token];
    encoded.byte_offsets.push_back({byte(span.begin), byte(span.end)});
  }
}

// A call of a task's pipeline.
struct Case {
  const Json* json;
  Tokenizer tokenizer;
  Strings labels;
  std::vector<Row> rows;

  // An option of the call; else the manifest's; nullptr where neither says.
  const Json* setting(const char* name) const {
    for (const Json* const place : {json->find("options"), json->find("postprocessing")}) {
      const Json* const found = place->find(name);
      if (found != nullptr && !found->is_null()) return found;
    }
    return nullptr;
  }
  // An option of the call that may be null.
  const Json* option(const char* name) const { return json->at("options").find(name); }

  std::size_t whole(const char* name, std::size_t absent) const {
    const Json* const found = setting(name);
    return found == nullptr ? absent : static_cast<std::size_t>(found->integer(name));
  }
  double number(const char* name, double absent) const {
    const Json* const found = setting(name);
    return found == nullptr ? absent : found->number(name);
  }
  bool flag(const char* name, bool absent) const {
    const Json* const found = setting(name);
    return found == nullptr ? absent : found->boolean(name);
  }
  std::string text(const char* name, const std::string& absent) const {
    const Json* const found = setting(name);
    return found == nullptr ? absent : decoding::lower(found->string(name));
  }

  std::vector<Row*> rows_of(std::size_t item) {
    std::vector<Row*> own;
    for (Row& row : rows) {
      if (row.item == item) own.push_back(&row);
    }
    return own;
  }
};

// The items of a call, and whether it is answered by an answer instead of a list of them.
struct Items {
  std::vector<const Json*> items;
  bool single;
};

Items items_of(const Case& call, bool one_is_single) {
  const Json& input = call.json->at("input");
  const bool split = call.flag("is_split_into_words", false);
  if (!input.is_array()) return {{&input}, true};
  if (split && input.array("")[0].is_string()) return {{&input}, false};
  Items items{{}, one_is_single && input.array("").size() == 1};
  for (const Json& item : input.array("")) items.items.push_back(&item);
  return items;
}

void expect_equal(const std::string& found, const Json& expected) {
  if (found != expected.string("a text")) {
    tests::fail(__FILE__, __LINE__, "'" + found + "' is not '" + expected.string("") + "'");
  }
}

void expect_close(double found, const Json& expected) {
  const double wanted = expected.number("a score");
  if (!(std::abs(found - wanted) <= tolerance)) {
    tests::fail(__FILE__, __LINE__, std::to_string(found) + " is not " + std::to_string(wanted));
  }
}

void expect_whole(std::int64_t found, const Json& expected) {
  if (found != expected.integer("a whole number")) {
    tests::fail(__FILE__, __LINE__, std::to_string(found) + " is not " +
                                        std::to_string(expected.integer("")));
  }
}

void expect_size(std::size_t found, const Json& expected) {
  expect_whole(static_cast<std::int64_t>(found),
               Json(Json::Value(static_cast<std::int64_t>(expected.array("a list").size()))));
}

void expect_keys(const Json& expected, const Strings& keys) {
  Strings found;
  for (const auto& member : expected.object("an answer")) found.push_back(member.first);
  CHECK(found == keys);
}

// Bytes name the same part of the text as code points do.
void expect_place(Span offsets, Span bytes, const std::string& text, const Json& expected) {
  expect_whole(offsets.begin, expected.at("start"));
  expect_whole(offsets.end, expected.at("end"));
  CHECK_EQUAL(bytes.begin, utf8::byte_of(text, offsets.begin));
  CHECK_EQUAL(bytes.end, utf8::byte_of(text, offsets.end));
}

void expect_label(const bert_export::Label& found, const Json& expected) {
  expect_keys(expected, {"label", "score"});
  expect_equal(found.label, expected.at("label"));
  expect_close(found.score, expected.at("score"));
}

void check_labels(Case& call, const Json& item, std::size_t index, const Json& answer) {
  static const std::map<std::string, decoding::Activation> activations = {
      {"none", decoding::Activation::none},
      {"sigmoid", decoding::Activation::sigmoid},
      {"softmax", decoding::Activation::softmax},
  };
  std::optional<std::string> problem;
  if (const Json* const type = call.setting("problem_type")) problem = type->string("");
  const std::string name = call.text("function_to_apply", "default");
  const decoding::Activation activation =
      name == "default" ? decoding::choose_activation(problem, call.labels.size())
                        : activations.at(name);
  const Json* const asked = call.option("top_k");
  std::optional<std::size_t> top_k;
  if (asked == nullptr || !asked->is_null()) top_k = call.whole("top_k", 1);
  const auto logits = call.rows_of(index).at(0)->vector("logits");
  const auto ranked =
      decoding::rank_labels(decoding::score_labels(logits, activation), call.labels, top_k);
  (void)item;
  if (answer.is_object()) return expect_label(ranked.at(0), answer);
  expect_size(ranked.size(), answer);
  for (std::size_t place = 0; place < ranked.size(); ++place) {
    expect_label(ranked[place], answer.array("")[place]);
  }
}

std::string stripped(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

void check_hypotheses(Case& call, const Json& item, std::size_t index, const Json& answer) {
  Strings labels;
  const Json& asked = *call.option("candidate_labels");
  if (asked.is_string()) {
    std::string rest = asked.string("") + ",";
    for (std::size_t comma = rest.find(','); comma != rest.npos; comma = rest.find(',')) {
      const std::string label = stripped(rest.substr(0, comma));
      if (!label.empty()) labels.push_back(label);
      rest = rest.substr(comma + 1);
    }
  } else {
    labels = strings(asked);
  }
  std::vector<float> logits;
  for (const Row* const row : call.rows_of(index)) {
    const auto own = row->vector("logits");
    logits.insert(logits.end(), own.begin(), own.end());
  }
  const auto entailment = decoding::find_entailment(call.labels);
  CHECK(entailment.has_value());
  const auto scores =
      decoding::score_hypotheses({logits.data(), labels.size(), call.labels.size()}, *entailment,
                                 call.flag("multi_label", false));
  const auto found = decoding::rank_hypotheses(item.string(""), labels, scores);
  expect_keys(answer, {"sequence", "labels", "scores"});
  expect_equal(found.sequence, answer.at("sequence"));
  expect_size(found.labels.size(), answer.at("labels"));
  for (std::size_t place = 0; place < labels.size(); ++place) {
    expect_equal(found.labels[place], answer.at("labels").array("")[place]);
    expect_close(found.scores[place], answer.at("scores").array("")[place]);
  }
}

void check_tags(Case& call, const Json& item, std::size_t index, const Json& answer) {
  static const std::map<std::string, decoding::Aggregation> aggregations = {
      {"none", decoding::Aggregation::none},   {"simple", decoding::Aggregation::simple},
      {"first", decoding::Aggregation::first}, {"average", decoding::Aggregation::average},
      {"max", decoding::Aggregation::max},
  };
  decoding::TaggingOptions options;
  options.aggregation = aggregations.at(call.text("aggregation_strategy", "none"));
  if (const Json* const ignored = call.setting("ignore_labels")) {
    options.ignore_labels = strings(*ignored);
  }
  options.unk_id = unk_id;
  options.prefix = call.tokenizer.continuing_prefix();
  const Json* const delimiter = call.setting("delimiter");
  const Strings words = item.is_array() ? strings(item) : Strings{};
  const auto text =
      item.is_array()
          ? decoding::TaggedText::from_words(words, delimiter ? delimiter->string("") : " ")
          : decoding::TaggedText{item.string(""), {}, {}, false};
  std::vector<decoding::TaggedWindow> windows;
  for (Row* const row : call.rows_of(index)) {
    set_byte_offsets(row->encoded, [&](std::size_t token) {
      const std::int32_t word = row->encoded.word_ids[token];
      if (!item.is_array()) return text.text;
      return word < 0 ? std::string() : words[static_cast<std::size_t>(word)];
    });
    windows.push_back({&row->encoded, row->matrix("logits", call.labels.size())});
  }
  const auto join = [&](const Strings& tokens) { return call.tokenizer.join(tokens); };
  const auto table = decoding::TagTable::from_labels(call.labels);
  const auto found = decoding::decode_entities(text, windows, table, options, join);
  expect_size(found.size(), answer);
  const bool grouped = options.aggregation != decoding::Aggregation::none;
  for (std::size_t place = 0; place < found.size(); ++place) {
    const Json& expected = answer.array("")[place];
    expect_keys(expected, grouped
                              ? Strings{"entity_group", "score", "word", "start", "end"}
                              : Strings{"entity", "score", "index", "word", "start", "end"});
    expect_equal(found[place].entity, expected.at(grouped ? "entity_group" : "entity"));
    expect_close(found[place].score, expected.at("score"));
    expect_equal(found[place].word, expected.at("word"));
    expect_place(found[place].offsets, found[place].byte_offsets, text.text, expected);
    if (!grouped) expect_whole(found[place].index, expected.at("index"));
  }
}

void check_spans(Case& call, const Json& item, std::size_t index, const Json& answer) {
  const std::string& context = item.at("context").string("");
  std::vector<decoding::Window> windows;
  for (Row* const row : call.rows_of(index)) {
    set_byte_offsets(row->encoded, [&](std::size_t token) {
      return row->encoded.sequence_ids[token] == 1 ? context : item.at("question").string("");
    });
    windows.push_back(decoding::read_window(row->encoded, row->vector("start_logits"),
                                            row->vector("end_logits"), cls_id));
  }
  std::vector<bert_export::Answer> found;
  if (call.text("method", "pipeline") == "squad_v2") {
    decoding::SquadOptions options;
    options.top_k = call.whole("top_k", 1);
    const Json* const longest = call.option("max_answer_len");
    options.max_answer_len = longest != nullptr && !longest->is_null()
                                 ? static_cast<std::size_t>(longest->integer(""))
                                 : call.whole("squad_v2_max_answer_len", 30);
    options.n_best_size = call.whole("n_best_size", 20);
    options.null_score_diff_threshold = call.number("null_score_diff_threshold", 0.0);
    found = decoding::decode_squad_v2(context, windows, options);
  } else {
    decoding::AnswerOptions options;
    options.top_k = call.whole("top_k", 1);
    options.max_answer_len = call.whole("max_answer_len", 15);
    options.handle_impossible_answer = call.flag("handle_impossible_answer", false);
    options.align_to_words = call.flag("align_to_words", true);
    found = decoding::decode_answers(context, windows, options);
  }
  const auto expect = [&](const bert_export::Answer& one, const Json& expected) {
    expect_keys(expected, {"score", "start", "end", "answer"});
    expect_close(one.score, expected.at("score"));
    expect_equal(one.answer, expected.at("answer"));
    expect_place(one.offsets, one.byte_offsets, context, expected);
  };
  if (answer.is_object()) {
    CHECK_EQUAL(found.size(), std::size_t{1});
    return expect(found[0], answer);
  }
  expect_size(found.size(), answer);
  for (std::size_t place = 0; place < found.size(); ++place) {
    expect(found[place], answer.array("")[place]);
  }
}

void check_choices(Case& call, const Json& item, std::size_t index, const Json& answer) {
  std::vector<float> logits;
  for (const Row* const row : call.rows_of(index)) logits.push_back(row->vector("logits")[0]);
  const auto found = decoding::choose(logits, strings(item.at("choices")));
  expect_keys(answer, {"choice", "text", "scores"});
  expect_whole(static_cast<std::int64_t>(found.choice), answer.at("choice"));
  expect_equal(found.text, answer.at("text"));
  expect_size(found.scores.size(), answer.at("scores"));
  for (std::size_t place = 0; place < found.scores.size(); ++place) {
    expect_close(found.scores[place], answer.at("scores").array("")[place]);
  }
}

void expect_verdict(decoding::Vector logits, const Json& answer) {
  const auto found = decoding::judge_next_sentence(logits);
  expect_keys(answer, {"is_next", "score"});
  CHECK_EQUAL(found.is_next, answer.at("is_next").boolean(""));
  expect_close(found.score, answer.at("score"));
}

void check_next_sentence(Case& call, const Json&, std::size_t index, const Json& answer) {
  expect_verdict(call.rows_of(index).at(0)->vector("logits"), answer);
}

void check_embedding(Case& call, const Json&, std::size_t index, const Json& answer) {
  std::optional<std::size_t> cut;
  if (const Json* const asked = call.option("truncate_dim"); asked && !asked->is_null()) {
    cut = static_cast<std::size_t>(asked->integer(""));
  }
  const Json* const asked = call.option("normalize");
  const bool normalize = asked != nullptr && !asked->is_null() && asked->boolean("");
  const auto vector = call.rows_of(index).at(0)->vector("sentence_embedding");
  const auto found = decoding::finish_vector(vector, cut, normalize);
  expect_size(found.size(), answer);
  for (std::size_t place = 0; place < found.size(); ++place) {
    expect_close(found[place], answer.array("")[place]);
  }
}

// The ids that candidates are taken from: of words, or of their first tokens.
std::optional<decoding::Ids> targets_of(const Case& call) {
  const Json* const asked = call.option("targets");
  if (asked == nullptr || asked->is_null()) return std::nullopt;
  std::vector<std::int64_t> ids;
  for (const std::string& word : asked->is_string() ? Strings{asked->string("")} : strings(*asked)) {
    std::optional<std::int64_t> id = call.tokenizer.token_to_id(word);
    if (!id) {
      const Strings tokens = call.tokenizer.tokenize(word);
      if (!tokens.empty()) id = call.tokenizer.token_to_id(tokens.front());
    }
    if (id) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// An answer has a list per mask, or that of the only one.
void expect_masks(const Case& call, const Row& row, const char* output, bool nested,
                  const Json& answer) {
  const auto size = static_cast<std::size_t>(call.tokenizer.vocab_size());
  const auto candidates =
      decoding::find_candidates(row.encoded.ids, row.matrix(output, size), mask_id,
                                call.whole("top_k", 5), targets_of(call));
  const auto spell = [&](const decoding::Ids& ids, bool skip) {
    return call.tokenizer.spell(ids, skip);
  };
  const auto found = decoding::describe_candidates(row.encoded.ids, candidates, pad_id, spell);
  const bool listed = nested || found.size() != 1;
  if (listed) expect_size(found.size(), answer);
  for (std::size_t mask = 0; mask < found.size(); ++mask) {
    const Json& expected = listed ? answer.array("")[mask] : answer;
    expect_size(found[mask].size(), expected);
    for (std::size_t place = 0; place < found[mask].size(); ++place) {
      const Json& one = expected.array("")[place];
      expect_keys(one, {"score", "token", "token_str", "sequence"});
      expect_close(found[mask][place].score, one.at("score"));
      expect_whole(found[mask][place].token, one.at("token"));
      expect_equal(found[mask][place].token_str, one.at("token_str"));
      expect_equal(found[mask][place].sequence, one.at("sequence"));
    }
  }
}

void check_masks(Case& call, const Json&, std::size_t index, const Json& answer) {
  expect_masks(call, *call.rows_of(index).at(0), "logits", false, answer);
}

void check_pretraining(Case& call, const Json&, std::size_t index, const Json& answer) {
  const Row& row = *call.rows_of(index).at(0);
  expect_keys(answer, {"next_sentence", "masks"});
  expect_verdict(row.vector("seq_relationship_logits"), answer.at("next_sentence"));
  expect_masks(call, row, "prediction_logits", true, answer.at("masks"));
}

// A graph that knows an item's rows: it scores each as recorded.
class RecordedSession : public sessions::Session {
 public:
  explicit RecordedSession(const std::vector<Row*>& rows) {
    for (const Row* const row : rows) {
      const auto logits = row->outputs.find("logits");
      if (logits != row->outputs.end()) known_.emplace(row->grown(), &logits->second);
    }
  }

  sessions::Outputs run(const sessions::Feeds& feeds) const override {
    const sessions::Feed& ids = feeds.at("input_ids");
    const sessions::Feed& mask = feeds.at("attention_mask");
    const auto size = static_cast<std::ptrdiff_t>(ids.shape.back());
    sessions::Output logits;
    for (std::int64_t row = 0; row < ids.shape.front(); ++row) {
      const auto start = ids.numbers.begin() + row * size;
      const auto marks = mask.numbers.begin() + row * size;
      const std::vector<std::int64_t> own(start, start + std::count(marks, marks + size, 1));
      const auto found = known_.find(own);
      if (found == known_.end()) tests::fail(__FILE__, __LINE__, "a row was never recorded");
      logits.numbers.insert(logits.numbers.end(), found->second->begin(), found->second->end());
    }
    logits.shape = {ids.shape.front(),
                    static_cast<std::int64_t>(logits.numbers.size()) / ids.shape.front()};
    sessions::Outputs outputs;
    outputs.emplace("logits", std::move(logits));
    return outputs;
  }

 private:
  std::map<std::vector<std::int64_t>, const std::vector<float>*> known_;
};

decoding::Decoding decoding_of(const Case& call, const decoding::Ids& ends_of_task,
                               std::size_t beams_of_task) {
  decoding::Decoding chosen;
  chosen.ends = ends_of_task;
  if (const Json* const ends = call.setting("eos_token_id")) {
    chosen.ends.clear();
    if (!ends->is_array()) chosen.ends.push_back(ends->integer(""));
    if (ends->is_array()) {
      for (const Json& end : ends->array("")) chosen.ends.push_back(end.integer(""));
    }
  }
  if (call.flag("do_sample", false)) {
    chosen.sampling = decoding::Sampling{call.number("temperature", 1.0), call.whole("top_k", 50),
                                         call.number("top_p", 1.0), call.whole("seed", 0)};
  }
  chosen.num_beams = call.whole("num_beams", beams_of_task);
  chosen.num_return_sequences = call.whole("num_return_sequences", 1);
  chosen.length_penalty = call.number("length_penalty", 1.0);
  chosen.repetition_penalty = call.number("repetition_penalty", 1.0);
  chosen.no_repeat_ngram_size = call.whole("no_repeat_ngram_size", 0);
  chosen.min_new_tokens = call.whole("min_new_tokens", 0);
  if (const Json* const stopping = call.setting("early_stopping")) {
    chosen.early_stopping = stopping->is_string()       ? bert_export::EarlyStopping::never
                            : stopping->boolean("") ? bert_export::EarlyStopping::yes
                                                    : bert_export::EarlyStopping::no;
  }
  return chosen;
}

// The new tokens of each answer behind its beginning, at most so many.
std::vector<decoding::Ids> generate(Case& call, std::size_t index, const decoding::Ids& begun,
                                    const decoding::Decoding& chosen, std::size_t most) {
  const auto session = std::make_shared<RecordedSession>(call.rows_of(index));
  bert_export::pipelines::Growth growth;
  growth.ids = {begun};
  growth.mask = {decoding::Ids(begun.size(), 1)};
  growth.of_prompts.push_back(decoding::start_continuations(begun, most, chosen));
  const bert_export::bundle::GraphRecord keeps_nothing{};
  bert_export::pipelines::grow([&] { return session; },
                               *sessions::open_cache(*session, keeps_nothing, pad_id), growth);
  return growth.answers().front();
}

// One answer, or a list of them, of one text each.
void expect_texts(const std::vector<std::string>& found, const Json& answer) {
  const std::vector<Json> listed =
      answer.is_array() ? answer.array("") : std::vector<Json>{answer};
  CHECK_EQUAL(found.size(), listed.size());
  for (std::size_t place = 0; place < found.size(); ++place) {
    expect_keys(listed[place], {"generated_text"});
    expect_equal(found[place], listed[place].at("generated_text"));
  }
}

// The text with what new tokens add to its spelling.
void check_generation(Case& call, const Json& item, std::size_t index, const Json& answer) {
  const decoding::Ids prompt = call.rows_of(index).front()->encoded.ids;
  const auto limit = std::min(static_cast<std::size_t>(call.tokenizer.max_length()),
                              call.whole("max_length", 1000));
  const std::size_t room = call.whole("max_new_tokens", call.whole("max_length", 256));
  std::vector<std::string> found;
  const std::string begun = call.tokenizer.decode(prompt);
  for (const decoding::Ids& added :
       generate(call, index, prompt, decoding_of(call, {sep_id}, 1),
                std::min(room, limit - prompt.size()))) {
    decoding::Ids whole = prompt;
    whole.insert(whole.end(), added.begin(), added.end());
    found.push_back(call.flag("return_full_text", true) ? item.string("a text") : "");
    found.back() += decoding::added_text(begun, call.tokenizer.decode(whole));
  }
  expect_texts(found, answer);
}

// What an answer's tokens spell.
void check_text_to_text(Case& call, const Json&, std::size_t index, const Json& answer) {
  decoding::Decoding chosen = decoding_of(call, {}, 4);
  const decoding::Ids start{static_cast<std::int64_t>(call.whole("decoder_start_token_id", cls_id))};
  chosen.min_new_tokens = call.whole("min_length", chosen.min_new_tokens + 1) - 1;
  const auto positions = static_cast<std::size_t>(call.tokenizer.max_length());
  const std::size_t most = call.whole("max_new_tokens", call.whole("max_length", 257) - 1);
  std::vector<std::string> found;
  for (decoding::Ids ids : generate(call, index, start, chosen, std::min(most, positions - 1))) {
    ids.insert(ids.begin(), start.front());
    found.push_back(call.tokenizer.decode(ids, true, false));
  }
  expect_texts(found, answer);
}

using Check = void (*)(Case&, const Json&, std::size_t, const Json&);

struct Task {
  const char* name;
  Check check;
  // Whether a list of one item is answered by its answer.
  bool one_is_single;
};

constexpr Task tasks[] = {
    {"text-classification", check_labels, false},
    {"zero-shot-classification", check_hypotheses, false},
    {"token-classification", check_tags, false},
    {"question-answering", check_spans, true},
    {"multiple-choice", check_choices, false},
    {"next-sentence-prediction", check_next_sentence, false},
    {"sentence-embedding", check_embedding, false},
    {"fill-mask", check_masks, true},
    {"pretraining", check_pretraining, false},
    {"text-generation", check_generation, false},
    {"text2text-generation", check_text_to_text, false},
};

// A field of the case's tokenizer record, else of the file's.
const Json& record_field(const Json& whole, const Json& own, const char* name) {
  const Json* const found = own.at("tokenizer").find(name);
  return found == nullptr ? whole.at("tokenizer").at(name) : *found;
}

Case read_case(const Json& whole, const Json& own) {
  TokenizerRecord record;
  record.file = record_field(whole, own, "file").string("file");
  record.max_length = record_field(whole, own, "max_length").integer("max_length");
  record.clean_up_tokenization_spaces =
      record_field(whole, own, "clean_up_tokenization_spaces").boolean("");
  Case call{&own, Tokenizer::from_json(read_file(record.file), record), strings(own.at("labels")), {}};
  const auto& outputs = own.at("outputs").array("outputs");
  const auto& rows = own.at("rows").array("rows");
  for (std::size_t index = 0; index < rows.size(); ++index) {
    call.rows.push_back(read_row(rows[index], outputs[index]));
  }
  return call;
}

int check_task(const Task& task) {
  const Json whole = Json::parse(read_file(std::string(task.name) + ".json"));
  int failed = 0;
  int answered = 0;
  for (const Json& own : whole.at("cases").array("cases")) {
    if (own.find("error") != nullptr && own.at("error").boolean("")) continue;
    ++answered;
    try {
      Case call = read_case(whole, own);
      const Items items = items_of(call, task.one_is_single);
      const Json& answer = own.at("answer");
      for (std::size_t index = 0; index < items.items.size(); ++index) {
        const Json& one = items.single ? answer : answer.array("answers")[index];
        task.check(call, *items.items[index], index, one);
      }
    } catch (const tests::Failure& failure) {
      std::cerr << task.name << ": " << own.at("name").string("") << ": " << failure.what << '\n';
      ++failed;
    } catch (const std::exception& error) {
      std::cerr << task.name << ": " << own.at("name").string("") << ": threw " << error.what()
                << '\n';
      ++failed;
    }
  }
  std::cout << task.name << ": " << answered - failed << " of " << answered << " answers are right\n";
  return failed == 0 && answered >= 20 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: test_vectors tests/vectors\n";
    return 2;
  }
  folder = arguments[1];
  int failed = 0;
  for (const Task& task : tasks) failed += check_task(task);
  return failed == 0 ? 0 : 1;
}
