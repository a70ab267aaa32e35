#include "bert_export/question_answering.hpp"

#include <algorithm>

#include "decoding/spans.hpp"
#include "pipelines/answering.hpp"
#include "text/utf8.hpp"

namespace bert_export {

using pipelines::OpenedBundle;
using pipelines::Parameters;
using pipelines::Row;
using pipelines::RowOutputs;

namespace {

// A row's logits of starts and ends, (S,) each.
struct Logits {
  std::vector<float> start;
  std::vector<float> end;
};

std::vector<float> copy(decoding::Vector numbers) { return {numbers.begin(), numbers.end()}; }

}  // namespace

struct QuestionAnswering::Parts {
  // How a call cuts the context and decodes its answers.
  struct Settings {
    std::int64_t length;
    std::int64_t stride;
    std::size_t max_question_len;
    bool as_squad;
    decoding::AnswerOptions answers;
    decoding::SquadOptions squad;
  };

  Parts(const std::string& path, const OpenOptions& options)
      : bundle(path, "question-answering", options),
        special_tokens(bundle.tokenizer()
                           .build_inputs_with_special_tokens({}, std::vector<std::int64_t>())
                           .size()) {
    const Parameters own(bundle);
    top_k = own.size("top_k", 1, 1);
    doc_stride = static_cast<std::int64_t>(own.size("doc_stride", 128, 0));
    max_answer_len = own.size("max_answer_len", 15, 1);
    squad_v2_max_answer_len = own.size("squad_v2_max_answer_len", 30, 1);
    max_seq_len = static_cast<std::int64_t>(own.size("max_seq_len", 384, 1));
    max_question_len = own.size("max_question_len", 64, 1);
    handle_impossible_answer = own.flag("handle_impossible_answer", false);
    align_to_words = own.flag("align_to_words", true);
    method = own.string("method", "pipeline");
    n_best_size = own.size("n_best_size", 20, 1);
    null_score_diff_threshold = own.number("null_score_diff_threshold", 0.0);
  }

  Settings settings(const QuestionAnsweringOptions& options) const {
    using pipelines::check_whole;
    Settings chosen{};
    const std::string how =
        pipelines::check_word("method", options.method.value_or(method), {"pipeline", "squad_v2"},
                              "one of pipeline, squad_v2");
    chosen.as_squad = how == "squad_v2";
    const std::size_t most = check_whole<std::size_t>("top_k", options.top_k.value_or(top_k), 1);
    if (options.doc_stride) check_whole<std::int64_t>("doc_stride", *options.doc_stride, 0);
    const std::size_t longest = check_whole<std::size_t>(
        "max_answer_len",
        options.max_answer_len.value_or(chosen.as_squad ? squad_v2_max_answer_len : max_answer_len),
        1);
    if (options.max_seq_len) {
      check_whole<std::int64_t>("max_seq_len", *options.max_seq_len,
                                static_cast<std::int64_t>(special_tokens) + 2);
    }
    chosen.max_question_len = check_whole<std::size_t>(
        "max_question_len", options.max_question_len.value_or(max_question_len), 1);
    chosen.answers = {most, longest,
                      options.handle_impossible_answer.value_or(handle_impossible_answer),
                      options.align_to_words.value_or(align_to_words)};
    const double threshold = pipelines::check_number(
        "null_score_diff_threshold",
        options.null_score_diff_threshold.value_or(null_score_diff_threshold));
    chosen.squad = {
        most, longest,
        check_whole<std::size_t>("n_best_size", options.n_best_size.value_or(n_best_size), 1),
        threshold};
    read_lengths(options, chosen);
    return chosen;
  }

  // Tokens of a window, and of the overlap of two.
  void read_lengths(const QuestionAnsweringOptions& options, Settings& chosen) const {
    const std::int64_t limit = bundle.tokenizer().max_length();
    chosen.length = options.max_seq_len.value_or(std::min(limit, max_seq_len));
    if (chosen.length > limit) {
      throw InputError("max_seq_len is above the model's limit",
                       {"at most " + std::to_string(limit), std::to_string(chosen.length)});
    }
    chosen.stride = options.doc_stride.value_or(std::min(chosen.length / 2, doc_stride));
    if (chosen.stride > chosen.length) {
      throw InputError("doc_stride is larger than max_seq_len",
                       {"at most " + std::to_string(chosen.length), std::to_string(chosen.stride)});
    }
  }

  // The first tokens of a text, without special ones.
  Encoded tokenize(std::string_view text, std::int64_t length) const {
    EncodeOptions how;
    how.max_length = length;
    how.add_special_tokens = false;
    return bundle.tokenizer().encode(text, how).front();
  }

  std::vector<Row> encode_pair(std::string_view question, std::string_view context,
                               std::int64_t length, std::int64_t stride) const {
    EncodeOptions how;
    how.max_length = length;
    how.truncation = Truncation::only_second;
    how.stride = stride;
    how.windows = true;
    std::vector<Row> rows;
    for (Encoded& window : bundle.tokenizer().encode({question, context}, how)) {
      rows.push_back({std::move(window)});
    }
    return rows;
  }

  std::vector<Row> encode(const Question& asked, const Settings& chosen) const {
    for (const auto& [name, text] :
         {std::pair("question", asked.question), std::pair("context", asked.context)}) {
      if (text.empty()) {
        throw InputError(std::string(name) + " is empty", {"at least one character", "''"});
      }
    }
    const Encoded question = tokenize(asked.question, chosen.length);
    const auto taken = static_cast<std::int64_t>(question.size());
    const std::int64_t room = chosen.length - static_cast<std::int64_t>(special_tokens);
    if (room - taken > chosen.stride) {
      return encode_pair(asked.question, asked.context, chosen.length, chosen.stride);
    }
    // A question that leaves no room for overlapping windows: where both texts fit into one window
    // they stay whole, otherwise the question is cut, and the overlap to half of what is left.
    const Encoded context = tokenize(asked.context, chosen.length);
    if (taken + static_cast<std::int64_t>(context.size()) <= room) {
      return encode_pair(asked.question, asked.context, chosen.length, 0);
    }
    const std::int64_t kept =
        std::min({taken, static_cast<std::int64_t>(chosen.max_question_len), room / 2});
    const std::size_t stop =
        kept == 0 ? 0 : question.byte_offsets[static_cast<std::size_t>(kept - 1)].end;
    return encode_pair(asked.question.substr(0, stop), asked.context, chosen.length,
                       std::min(chosen.stride, (room - kept) / 2));
  }

  std::vector<std::vector<Answer>> answer(const std::vector<Question>& questions,
                                          const QuestionAnsweringOptions& options,
                                          bool several) const {
    const Settings chosen = settings(options);
    return pipelines::answer_items(
        bundle, questions.size(), several, options.batch_size,
        [&](std::size_t item) { return encode(questions[item], chosen); },
        [](const Row&, const RowOutputs& outputs) {
          return Logits{copy(outputs.at("start_logits")), copy(outputs.at("end_logits"))};
        },
        [&](std::size_t item, const std::vector<Row>& rows, const std::vector<Logits>& kept) {
          std::vector<decoding::Window> windows;
          for (std::size_t row = 0; row < rows.size(); ++row) {
            windows.push_back(decoding::read_window(rows[row].encoded, kept[row].start,
                                                    kept[row].end, bundle.tokenizer().cls_id()));
          }
          const std::string_view context = questions[item].context;
          return chosen.as_squad ? decoding::decode_squad_v2(context, windows, chosen.squad)
                                 : decoding::decode_answers(context, windows, chosen.answers);
        });
  }

  OpenedBundle bundle;
  // How many frame a question and a context.
  std::size_t special_tokens;
  std::size_t top_k;
  std::int64_t doc_stride;
  std::size_t max_answer_len;
  std::size_t squad_v2_max_answer_len;
  std::int64_t max_seq_len;
  std::size_t max_question_len;
  bool handle_impossible_answer;
  bool align_to_words;
  std::string method;
  std::size_t n_best_size;
  double null_score_diff_threshold;
};

QuestionAnswering::QuestionAnswering(std::shared_ptr<const Parts> parts)
    : Pipeline({parts, &parts->bundle}), parts_(std::move(parts)) {}

QuestionAnswering QuestionAnswering::open(const std::string& path, const OpenOptions& options) {
  return QuestionAnswering(std::make_shared<const Parts>(path, options));
}

std::vector<Answer> QuestionAnswering::operator()(const Question& item,
                                                  const QuestionAnsweringOptions& options) const {
  return parts_->answer({item}, options, false).front();
}

std::vector<std::vector<Answer>> QuestionAnswering::operator()(
    const std::vector<Question>& items, const QuestionAnsweringOptions& options) const {
  return parts_->answer(items, options, true);
}

}  // namespace bert_export
