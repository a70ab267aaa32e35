#include "decoding/generation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "decoding/ranking.hpp"

namespace bert_export::decoding {
namespace {

// Added to the score of what must not be chosen, as the upstream library does.
constexpr float unwanted = -1e9F;

// Logarithms of the probabilities.
std::vector<float> log_softmax(const float* logits, std::size_t size) {
  const float highest = *std::max_element(logits, logits + size);
  double sum = 0;
  for (std::size_t token = 0; token < size; ++token) sum += std::exp(logits[token] - highest);
  const auto whole = static_cast<float>(std::log(sum));
  std::vector<float> logs(logits, logits + size);
  for (float& log : logs) log = log - highest - whole;
  return logs;
}

// What a beam's score is divided by, within bounds that leave the quotient a number.
float divisor(std::size_t length, double penalty) {
  return static_cast<float>(
      std::clamp(std::pow(static_cast<double>(length), penalty), 1e-28, 1e28));
}

}  // namespace

std::size_t Decoding::rows() const { return std::max(num_beams, num_return_sequences); }

bool Decoding::is_end(std::int64_t token) const {
  return std::find(ends.begin(), ends.end(), token) != ends.end();
}

std::vector<float> Decoding::allowed(Vector scores, const Ids& text, std::size_t added) const {
  std::vector<float> own(scores.begin(), scores.end());
  penalize_repetition(own, text, repetition_penalty);
  block_ngrams(own, text, no_repeat_ngram_size);
  if (added < min_new_tokens) block_tokens(own, ends);
  return own;
}

Single::Single(Ids prompt, std::size_t most, const Decoding& decoding, RandomNumbers numbers)
    : text_(std::move(prompt)),
      begun_(text_.size()),
      most_(most),
      decoding_(decoding),
      numbers_(numbers) {
  parents_ = {0};
}

void Single::advance(Matrix scores) {
  const std::vector<float> allowed =
      decoding_.allowed({scores.row(0), scores.columns}, text_, text_.size() - begun_);
  const std::size_t token =
      decoding_.sampling
          ? draw_token(filter_logits(allowed, *decoding_.sampling), numbers_.next())
          : argmax(allowed.data(), allowed.size());
  text_.push_back(static_cast<std::int64_t>(token));
  tokens_ = {text_.back()};
  done_ = decoding_.is_end(text_.back()) || text_.size() == begun_ + most_;
}

std::vector<Ids> Single::answers() const {
  return {Ids(text_.begin() + static_cast<std::ptrdiff_t>(begun_), text_.end())};
}

BeamSearch::BeamSearch(const Ids& prompt, std::size_t most, const Decoding& decoding)
    : decoding_(decoding),
      begun_(prompt.size()),
      most_(most),
      // The beams are alike at first: only the first may be continued.
      running_(decoding.num_beams, Beam{prompt, unwanted}),
      ended_(decoding.num_beams, Ended{{}, unwanted, false}) {
  running_.front().score = 0;
}

void BeamSearch::advance(Matrix scores) {
  const std::vector<Candidate> candidates = best_candidates(scores);
  ++added_;
  const std::vector<Beam> parents = running_;
  run_on(candidates);
  end(candidates, parents);
  improves_ = improves_ && may_improve();
  const bool complete = all_ended() && decoding_.early_stopping == EarlyStopping::yes;
  const bool stopped = std::all_of(candidates.begin(), candidates.end(),
                                   [](const Candidate& each) { return each.stopped; });
  done_ = !improves_ || complete || stopped;
}

// Two candidates per beam and end, so that enough are left where many end.
std::vector<BeamSearch::Candidate> BeamSearch::best_candidates(Matrix scores) const {
  const std::size_t beams = running_.size();
  const std::size_t vocabulary = scores.columns;
  std::vector<float> total;
  total.reserve(beams * vocabulary);
  for (std::size_t beam = 0; beam < beams; ++beam) {
    // The prompt's scores are those of all beams.
    const float* const own = scores.row(scores.rows == 1 ? 0 : beam);
    const std::vector<float> allowed =
        decoding_.allowed(log_softmax(own, vocabulary), running_[beam].text, added_);
    for (const float log : allowed) total.push_back(log + running_[beam].score);
  }
  const std::size_t count = std::max<std::size_t>(2, 1 + decoding_.ends.size()) * beams;
  std::vector<Candidate> candidates;
  for (const std::size_t place :
       largest(total.size(), count, [&](std::size_t index) { return total[index]; })) {
    const auto token = static_cast<std::int64_t>(place % vocabulary);
    candidates.push_back({place / vocabulary, token, total[place],
                          decoding_.is_end(token) || added_ + 1 == most_});
  }
  return candidates;
}

// The best candidates that have not stopped are run next.
void BeamSearch::run_on(const std::vector<Candidate>& candidates) {
  const auto score = [&](std::size_t index) {
    return candidates[index].score + (candidates[index].stopped ? unwanted : 0.0F);
  };
  std::vector<Beam> next;
  tokens_.clear();
  parents_.clear();
  for (const std::size_t index : largest(candidates.size(), running_.size(), score)) {
    const Candidate& each = candidates[index];
    next.push_back({running_[each.parent].text, score(index)});
    next.back().text.push_back(each.token);
    tokens_.push_back(each.token);
    parents_.push_back(each.parent);
  }
  running_ = std::move(next);
}

// The best candidates that stopped, among the best that ended before.
void BeamSearch::end(const std::vector<Candidate>& candidates, const std::vector<Beam>& parents) {
  const bool full = all_ended() && decoding_.early_stopping == EarlyStopping::yes;
  const float length = divisor(added_, decoding_.length_penalty);
  const std::size_t beams = ended_.size();
  for (std::size_t index = 0; index < candidates.size(); ++index) {
    const Candidate& each = candidates[index];
    const bool real = each.stopped && index < beams;
    const int reasons = int{full} + int{!improves_} + int{!real};
    const Ids& text = parents[each.parent].text;
    Ended ended{{text.begin() + static_cast<std::ptrdiff_t>(begun_), text.end()},
                each.score / length + static_cast<float>(reasons) * unwanted,
                real};
    ended.added.push_back(each.token);
    ended_.push_back(std::move(ended));
  }
  std::vector<Ended> kept;
  for (const std::size_t index :
       largest(ended_.size(), beams, [&](std::size_t place) { return ended_[place].score; })) {
    kept.push_back(std::move(ended_[index]));
  }
  ended_ = std::move(kept);
}

bool BeamSearch::all_ended() const {
  return std::all_of(ended_.begin(), ended_.end(), [](const Ended& each) { return each.real; });
}

bool BeamSearch::may_improve() const {
  const bool longest =
      decoding_.early_stopping == EarlyStopping::never && decoding_.length_penalty > 0;
  const float possible =
      running_.front().score / divisor(longest ? most_ : added_, decoding_.length_penalty);
  float worst = ended_.front().score;
  for (const Ended& each : ended_) worst = std::min(worst, each.score);
  return std::any_of(ended_.begin(), ended_.end(), [&](const Ended& each) {
    return possible > (each.real ? worst : unwanted);
  });
}

std::vector<Ids> BeamSearch::answers() const {
  std::vector<Ids> best;
  for (std::size_t place = 0; place < decoding_.num_return_sequences; ++place) {
    best.push_back(ended_[place].added);
  }
  return best;
}

std::vector<std::unique_ptr<Continuation>> start_continuations(const Ids& prompt, std::size_t most,
                                                               const Decoding& decoding) {
  std::vector<std::unique_ptr<Continuation>> started;
  if (decoding.num_beams > 1) {
    started.push_back(std::make_unique<BeamSearch>(prompt, most, decoding));
    return started;
  }
  for (std::size_t place = 0; place < decoding.num_return_sequences; ++place) {
    // The likeliest tokens need no numbers, and so no entropy of the system.
    const RandomNumbers numbers =
        decoding.sampling ? RandomNumbers(decoding.sampling->seed, place) : RandomNumbers(0, 0);
    started.push_back(std::make_unique<Single>(prompt, most, decoding, numbers));
  }
  return started;
}

}  // namespace bert_export::decoding
