#include "decoding/spans.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>

#include "decoding/lower.hpp"
#include "decoding/ranking.hpp"
#include "decoding/softmax.hpp"

namespace bert_export::decoding {
namespace {

constexpr std::size_t spare_candidates = 10;
constexpr std::int32_t context_text = 1;  // of the two texts of a row, the one that holds the answer

// A span of tokens, the first and the last, and how likely it is.
struct TokenSpan {
  std::size_t first;
  std::size_t last;
  float score;
};

bool better(const Answer& left, const Answer& right) { return left.score > right.score; }

// Probabilities of the tokens that share them; 0 elsewhere.
std::vector<float> open_softmax(Vector logits, const std::vector<bool>& open) {
  std::vector<float> masked(logits.begin(), logits.end());
  for (std::size_t place = 0; place < masked.size(); ++place) {
    if (!open[place]) masked[place] = -std::numeric_limits<float>::infinity();
  }
  return softmax(masked);
}

// The likeliest spans inside the context, likeliest first; of equal ones the earlier, then the
// shorter first.
std::vector<TokenSpan> best_spans(const std::vector<float>& start, const std::vector<float>& end,
                                  const std::vector<bool>& context, std::size_t top_k,
                                  std::size_t max_answer_len) {
  std::vector<TokenSpan> spans;
  for (std::size_t first = 0; first < context.size(); ++first) {
    const std::size_t beyond = std::min(first + max_answer_len, context.size());
    for (std::size_t last = first; last < beyond && context[first]; ++last) {
      if (context[last]) spans.push_back({first, last, start[first] * end[last]});
    }
  }
  std::vector<TokenSpan> best;
  const auto score = [&](std::size_t index) { return spans[index].score; };
  for (const std::size_t index : largest(spans.size(), top_k, score)) best.push_back(spans[index]);
  return best;
}

// An answer that is a span of tokens of the context, perhaps widened to the words of its first and
// last token.
Answer locate(std::string_view text, const Encoded& encoding, std::size_t first, std::size_t last,
              bool align_to_words, double score) {
  const std::vector<std::int32_t>& words = encoding.word_ids;
  if (align_to_words && words[first] != none && words[last] != none) {
    // A word's tokens follow each other, and a special token stands between two texts.
    const std::int32_t opening = words[first];
    const std::int32_t closing = words[last];
    while (first > 0 && words[first - 1] == opening) --first;
    while (last + 1 < words.size() && words[last + 1] == closing) ++last;
  }
  const Span bytes{encoding.byte_offsets[first].begin, encoding.byte_offsets[last].end};
  const std::size_t size = bytes.end > bytes.begin ? bytes.end - bytes.begin : 0;
  return {score,
          {encoding.offsets[first].begin, encoding.offsets[last].end},
          bytes,
          std::string(text.substr(std::min<std::size_t>(bytes.begin, text.size()), size))};
}

// Which tokens have nowhere more context than in their window: the lesser of a token's left and
// right context, plus a hundredth of the window's length; the earlier of equal windows.
std::vector<std::vector<bool>> most_context(const std::vector<Window>& windows) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::pair<double, std::size_t>> best;
  const auto for_each_token = [&](auto visit) {
    for (std::size_t number = 0; number < windows.size(); ++number) {
      const std::vector<bool>& context = windows[number].context;
      const auto tokens =
          static_cast<std::size_t>(std::count(context.begin(), context.end(), true));
      std::size_t left = 0;
      for (std::size_t place = 0; place < context.size(); ++place) {
        if (!context[place]) continue;
        const Span span = windows[number].encoding->offsets[place];
        const double score = static_cast<double>(std::min(left, tokens - 1 - left)) +
                             0.01 * static_cast<double>(tokens);
        visit(number, place, std::make_pair(span.begin, span.end), score);
        ++left;
      }
    }
  };
  for_each_token([&](std::size_t number, std::size_t, auto span, double score) {
    const auto [known, added] = best.try_emplace(span, score, number);
    if (!added && score > known->second.first) known->second = {score, number};
  });
  std::vector<std::vector<bool>> masks;
  for (const Window& window : windows) masks.emplace_back(window.context.size(), false);
  for_each_token([&](std::size_t number, std::size_t place, auto span, double) {
    masks[number][place] = best.at(span).second == number;
  });
  return masks;
}

// Every span between an n-best start and an n-best end, by its logit, highest first.
std::vector<Answer> squad_spans(std::string_view text, const std::vector<Window>& windows,
                                const SquadOptions& options) {
  std::vector<Answer> spans;
  const std::vector<std::vector<bool>> most = most_context(windows);
  for (std::size_t number = 0; number < windows.size(); ++number) {
    const Window& window = windows[number];
    const auto best = [&](Vector logits) {
      return largest(logits.size, options.n_best_size, [&](std::size_t i) { return logits[i]; });
    };
    const std::vector<std::size_t> ends = best(window.end_logits);
    for (const std::size_t first : best(window.start_logits)) {
      for (const std::size_t last : ends) {
        const bool fits = last >= first && last - first < options.max_answer_len;
        if (!fits || !most[number][first] || !window.context[last]) continue;
        const float logit = window.start_logits[first] + window.end_logits[last];
        spans.push_back(locate(text, *window.encoding, first, last, false, logit));
      }
    }
  }
  std::stable_sort(spans.begin(), spans.end(), better);
  return spans;
}

}  // namespace

Window read_window(const Encoded& encoding, Vector start_logits, Vector end_logits,
                   std::int64_t cls_id) {
  Window window{&encoding, {}, {}, start_logits, end_logits};
  for (std::size_t place = 0; place < encoding.size(); ++place) {
    window.context.push_back(encoding.sequence_ids[place] == context_text);
    window.open.push_back(window.context.back() || encoding.ids[place] == cls_id);
  }
  return window;
}

std::vector<Answer> decode_answers(std::string_view text, const std::vector<Window>& windows,
                                   const AnswerOptions& options) {
  // A span may equal another once it is widened to words, so that more are needed.
  const std::size_t candidates =
      options.align_to_words ? 2 * options.top_k + spare_candidates : options.top_k;
  std::vector<Answer> found;
  std::unordered_map<std::string, std::size_t> known;  // by the answer in lower case
  double null_score = std::numeric_limits<double>::infinity();
  for (const Window& window : windows) {
    const std::vector<float> start = open_softmax(window.start_logits, window.open);
    const std::vector<float> end = open_softmax(window.end_logits, window.open);
    null_score = std::min(null_score, static_cast<double>(start[0] * end[0]));
    for (const TokenSpan& span :
         best_spans(start, end, window.context, candidates, options.max_answer_len)) {
      Answer answer = locate(text, *window.encoding, span.first, span.last, options.align_to_words,
                             span.score);
      const auto [place, added] = known.try_emplace(lower(answer.answer), found.size());
      if (added) {
        found.push_back(std::move(answer));
      } else {
        found[place->second].score += span.score;
      }
    }
  }
  if (options.handle_impossible_answer) found.push_back({null_score, {}, {}, ""});
  std::stable_sort(found.begin(), found.end(), better);
  if (found.size() > options.top_k) found.resize(options.top_k);
  if (found.empty()) found.push_back({0.0, {}, {}, ""});
  return found;
}

std::vector<Answer> decode_squad_v2(std::string_view text, const std::vector<Window>& windows,
                                    const SquadOptions& options) {
  Answer null{std::numeric_limits<double>::infinity(), {}, {}, ""};
  for (const Window& window : windows) {
    const float logit = window.start_logits[0] + window.end_logits[0];
    null.score = std::min(null.score, static_cast<double>(logit));
  }
  // The n-best list: of equal texts the likeliest, and "no answer" behind those that equal it.
  std::vector<Answer> ranked;
  for (Answer& span : squad_spans(text, windows, options)) {
    if (ranked.size() == options.n_best_size) break;
    const auto equals = [&](const Answer& answer) { return answer.answer == span.answer; };
    const bool listed = std::any_of(ranked.begin(), ranked.end(), equals);
    if (!span.answer.empty() && !listed) ranked.push_back(std::move(span));
  }
  const Answer best = ranked.empty() ? null : ranked.front();
  ranked.push_back(null);
  std::stable_sort(ranked.begin(), ranked.end(), better);
  if (ranked.size() > options.n_best_size) ranked.resize(options.n_best_size);
  // The prediction comes first, and "no answer" is on the list in any case.
  const bool answers = null.score - best.score <= options.null_score_diff_threshold;
  const Answer& prediction = answers ? best : null;
  std::vector<Answer> listed{prediction};
  for (const Answer& answer : ranked) {
    if (answer.answer != prediction.answer) listed.push_back(answer);
  }
  const auto is_null = [](const Answer& answer) { return answer.answer.empty(); };
  if (std::none_of(listed.begin(), listed.end(), is_null)) listed.push_back(null);
  std::vector<double> scores;
  for (const Answer& answer : listed) scores.push_back(answer.score);
  scores = softmax(scores.data(), scores.size());
  for (std::size_t index = 0; index < listed.size(); ++index) listed[index].score = scores[index];
  if (listed.size() > options.top_k) listed.resize(options.top_k);
  return listed;
}

}  // namespace bert_export::decoding
