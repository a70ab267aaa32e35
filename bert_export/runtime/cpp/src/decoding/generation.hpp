// How one prompt grows: the next tokens from the scores of the last ones, step by step.
//
// A Continuation keeps what one prompt became so far. It is told the scores of the rows that it runs
// and says which rows it runs next: one for the likeliest or a drawn token, several for beam search.
// It knows nothing of a graph or of the prompts beside it, so an answer does not depend on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "bert_export/generation.hpp"
#include "decoding/logits.hpp"
#include "decoding/matrix.hpp"
#include "decoding/random.hpp"
#include "decoding/sampling.hpp"

namespace bert_export::decoding {

// How tokens are chosen.
struct Decoding {
  // Ids of the tokens that end a text.
  Ids ends = {};
  // Tokens before one of them may come.
  std::size_t min_new_tokens = 0;
  // See penalize_repetition and block_ngrams.
  double repetition_penalty = 1.0;
  std::size_t no_repeat_ngram_size = 0;
  // How tokens are drawn; the likeliest are taken where it is absent.
  std::optional<Sampling> sampling = std::nullopt;
  // Texts that are kept side by side.
  std::size_t num_beams = 1;
  // A beam's score is divided by its new tokens to the power of this.
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::no;
  // Continuations of a prompt.
  std::size_t num_return_sequences = 1;

  // Rows of the graph that one prompt needs.
  std::size_t rows() const;
  bool is_end(std::int64_t token) const;
  // Scores (V,) of the token behind a text, -inf where it must not come; `added` of the text's tokens
  // are new.
  std::vector<float> allowed(Vector scores, const Ids& text, std::size_t added) const;
};

// A prompt that grows.
class Continuation {
 public:
  Continuation() = default;
  Continuation(const Continuation&) = delete;
  Continuation& operator=(const Continuation&) = delete;
  virtual ~Continuation() = default;

  // Chooses the next tokens from the logits behind every row's last one, (R, V); of the prompt alone
  // first.
  virtual void advance(Matrix scores) = 0;
  // The new tokens of each answer, with the one that ended it.
  virtual std::vector<Ids> answers() const = 0;

  // The next token of every row that is run, and which of the rows before each of them continues.
  const Ids& tokens() const { return tokens_; }
  const std::vector<std::size_t>& parents() const { return parents_; }
  // Whether it grows no more; there are no rows then.
  bool done() const { return done_; }

 protected:
  Ids tokens_;
  std::vector<std::size_t> parents_;
  bool done_ = false;
};

// One text: the likeliest token each time, or a drawn one.
class Single : public Continuation {
 public:
  // `most` tokens come at most. `decoding` must outlive it.
  Single(Ids prompt, std::size_t most, const Decoding& decoding, RandomNumbers numbers);

  void advance(Matrix scores) override;
  std::vector<Ids> answers() const override;

 private:
  Ids text_;
  std::size_t begun_;
  std::size_t most_;
  const Decoding& decoding_;
  RandomNumbers numbers_;
};

// The best of several texts that grow side by side; scores and endings are those of upstream's
// generate with num_beams.
class BeamSearch : public Continuation {
 public:
  // As Single.
  BeamSearch(const Ids& prompt, std::size_t most, const Decoding& decoding);

  void advance(Matrix scores) override;
  // The best texts, best first.
  std::vector<Ids> answers() const override;

 private:
  // A text that grows.
  struct Beam {
    Ids text;
    float score;
  };
  // A text that ended, or stands where none has yet.
  struct Ended {
    Ids added;
    float score;
    bool real;
  };
  // A beam with one token more.
  struct Candidate {
    std::size_t parent;
    std::int64_t token;
    float score;
    bool stopped;
  };

  std::vector<Candidate> best_candidates(Matrix scores) const;
  void run_on(const std::vector<Candidate>& candidates);
  void end(const std::vector<Candidate>& candidates, const std::vector<Beam>& parents);
  bool all_ended() const;
  // Whether the best running text may become better than the worst that ended.
  bool may_improve() const;

  const Decoding& decoding_;
  std::size_t begun_;
  std::size_t most_;
  std::size_t added_ = 0;
  std::vector<Beam> running_;
  std::vector<Ended> ended_;
  bool improves_ = true;
};

// What grows out of one prompt: a beam search, or as many texts as are asked for.
std::vector<std::unique_ptr<Continuation>> start_continuations(const Ids& prompt, std::size_t most,
                                                               const Decoding& decoding);

}  // namespace bert_export::decoding
